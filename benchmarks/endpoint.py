"""What the endpoint delivers: tokens per second by concurrency, what HTTP costs, chip time against the simulation.

    python benchmarks/endpoint.py [--model demo] [--chip flagship] [--output 128] [--rounds 3]

Targets: 32 streams give at least 4 times the tokens/s of one; the layers above the engine take at most 10 % of a step;
latencies in chip time within 5 % of `tapeout simulate` for the same load. Rates are the best of the rounds,
since other work on the machine only ever lowers them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import endpoint_load
from tapeout.serving.endpoint.server import Running, running
from tapeout.serving.endpoint.settings import Settings
from tapeout.serving.simulate import simulate
from tapeout.serving.synthetic import ClosedLoop, Lengths

LOAD = Path(endpoint_load.__file__)
PROMPT = 32
PACE = 5000.0  # wall seconds to a chip second


def load(at: Running, streams: int, requests: int, output: int, seed: int) -> dict[str, Any]:
    """What the load generator, a process of its own, measures."""
    options = {"streams": streams, "requests": requests, "prompt": PROMPT, "output": output, "seed": seed}
    command = [
        sys.executable,
        str(LOAD),
        at.url,
        *(x for k, v in options.items() for x in (f"--{k}", str(v))),
    ]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return found


def bare(at: Running, batch: int, output: int) -> tuple[float, float]:
    """Wall and processor seconds a token of the backend alone: the same prompts and answers, one batch."""
    backend = at.endpoint.served.backend
    work = [(backend.sequence(), list(range(20 + i, 20 + i + PROMPT))) for i in range(batch)]
    began, cpu = time.perf_counter(), time.process_time()
    logits = backend.step(work)
    for _ in range(output - 1):
        logits = backend.step([(s, [int(x.argmax())]) for (s, _), x in zip(work, logits, strict=True)])
    tokens = batch * output
    return (time.perf_counter() - began) / tokens, (time.process_time() - cpu) / tokens


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--chip", default="flagship")
    parser.add_argument("--output", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="of the arithmetic, 0 for every core")
    a = parser.parse_args()
    settings = Settings(
        model=a.model, chip=a.chip, port=0, max_sequences=64, threads=a.threads, log_level="error"
    )
    figures: dict[int, list[tuple[float, ...]]] = {n: [] for n in (1, 8, 32)}
    with running(settings) as at:
        load(at, 32, 32, 8, 99)
        for round in range(a.rounds):
            for n, found in figures.items():
                before = time.process_time()
                result = load(at, n, 2 * n, a.output, round * 100 + n)
                cpu = time.process_time() - before
                tokens = result["tokens"]
                found.append((result["seconds"] / tokens, cpu / tokens, *bare(at, n, a.output)))
        print("          tokens/s            above the backend, share of its time")
        print(
            f"{'streams':>8} {'served':>9} {'backend':>9} {'wall':>10} {'processor':>10}  {'µs a token':>10}"
        )
        rates = {}
        for n, found in figures.items():
            wall, cpu, bare_wall, bare_cpu = (min(column) for column in zip(*found, strict=True))
            rates[n] = 1 / wall
            print(
                f"{n:8} {1 / wall:9,.0f} {1 / bare_wall:9,.0f} {wall / bare_wall - 1:10.0%} "
                f"{cpu / bare_cpu - 1:10.0%} {(cpu - bare_cpu) * 1e6:10.0f}"
            )
        print(f"32 streams over one: {rates[32] / rates[1]:.2f} (target 4)")
    closed_loop(a.model, a.chip)


def closed_loop(model: str, chip: str) -> None:
    """Latencies in chip time against the simulation of the same load, at a pace that the host keeps up with. The
    first request of each client, which in the simulation all come at once, is left out."""
    clients, count = 8, 64
    prompt, output = Lengths(PROMPT, "uniform", low=0.5), Lengths(24, "uniform", low=0.5)
    wanted = ClosedLoop(clients, count, prompt, output, seed=3).requests()
    lengths = list(zip(wanted.prompt.tolist(), wanted.output.tolist(), strict=True))
    settings = Settings(model=model, chip=chip, port=0, log_level="error", pace=PACE, prefix_caching=False)
    with running(settings) as at:
        rows = asyncio.run(endpoint_load.closed_loop(at.url, clients, lengths, 7))["requests"]
        late = at.endpoint.engine.clock.late_seconds / PACE
        turnaround = think_seconds(rows)
        think = ClosedLoop(clients, count, prompt, output, turnaround, seed=3)
        limits = {"max_sequences": settings.max_sequences, "max_step_tokens": settings.max_step_tokens}
        found = simulate(at.endpoint.served.model, chip, think, **limits).outcome.records.rows()
    first = found["first_token_s"]
    print(
        f"chip time, {clients} clients: turnaround {turnaround * 1e6:.2f} µs, host late by {late * 1e6:.1f} µs in all"
    )
    later = sorted((r["tapeout"] for r in rows), key=lambda t: t["arrival_s"])[clients:]
    for name, key, values in (
        ("TTFT", "ttft_s", first - found["arrival_s"]),
        ("TPOT", "tpot_s", (found["finish_s"] - first) / (found["output_tokens"] - 1)),
        ("end to end", "e2e_s", found["finish_s"] - found["arrival_s"]),
    ):
        measured = statistics.fmean(t[key] for t in later)
        mean = float(np.mean(values[clients:]))
        change = f"{measured / mean - 1:+.1%}"
        print(f"  {name:10} measured {measured * 1e6:9.2f} µs, simulated {mean * 1e6:9.2f} µs: {change}")


def think_seconds(rows: list[dict[str, Any]]) -> float:
    """Mean chip seconds between the end of a client's request and the arrival of its next."""
    gaps = []
    for number in {r["client"] for r in rows}:
        own = sorted((r["tapeout"] for r in rows if r["client"] == number), key=lambda t: t["arrival_s"])
        gaps += [b["arrival_s"] - a["finish_s"] for a, b in pairwise(own)]
    return max(statistics.fmean(gaps), 0.0) if gaps else 0.0


if __name__ == "__main__":
    main()
