"""What the endpoint delivers: tokens per second by concurrency, what HTTP costs, chip time against the simulation.

    python benchmarks/endpoint.py [--model demo] [--chip flagship] [--output 128] [--rounds 3]

Targets: 32 streams give at least 4 times the tokens/s of one; the layers above the engine take at most 10 % of a step;
latencies in chip time within 5 % of `tapeout simulate` for the same load. Rates are the best of the rounds,
since other work on the machine only ever lowers them.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.serving.endpoint.server import Running, running
from tapeout.serving.endpoint.settings import Settings
from tapeout.serving.simulate import simulate
from tapeout.serving.synthetic import ClosedLoop, Lengths

LOAD = Path(__file__).with_name("endpoint_load.py")
PROMPT = 32


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


def bare(at: Running, batch: int, steps: int) -> float:
    """Seconds of a decode step of the backend alone, in batches as the endpoint runs them."""
    backend = at.endpoint.served.backend
    work = [(backend.sequence(), list(range(20 + i, 20 + i + PROMPT))) for i in range(batch)]
    logits = backend.step(work)
    began = time.perf_counter()
    for _ in range(steps):
        logits = backend.step([(s, [int(x.argmax())]) for (s, _), x in zip(work, logits, strict=True)])
    return (time.perf_counter() - began) / steps


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="demo")
    parser.add_argument("--chip", default="flagship")
    parser.add_argument("--output", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=0)
    a = parser.parse_args()
    settings = Settings(
        model=a.model, chip=a.chip, port=0, max_sequences=64, threads=a.threads, log_level="error"
    )
    rates: dict[int, list[float]] = {1: [], 8: [], 32: []}
    bare_steps: dict[int, list[float]] = {n: [] for n in rates}
    steps: dict[int, list[float]] = {n: [] for n in rates}
    above: dict[int, list[float]] = {n: [] for n in rates}
    with running(settings) as at:
        engine = at.endpoint.engine
        load(at, 32, 32, 8, 99)
        for round in range(a.rounds):
            for n in rates:
                before = engine.steps, engine.step_seconds, engine.busy_seconds
                found = load(at, n, 2 * n if n > 1 else 3, a.output, round * 100 + n)
                done = engine.steps - before[0]
                inside, busy = engine.step_seconds - before[1], engine.busy_seconds - before[2]
                rates[n].append(found["tokens"] / found["seconds"])
                steps[n].append(found["seconds"] / done)
                above[n].append((busy - inside) / inside)
                bare_steps[n].append(bare(at, n, 40))
        print(
            f"{'streams':>8} {'tokens/s':>9} {'ms/step':>8} {'bare ms':>8} {'over HTTP':>10} {'in the engine':>14}"
        )
        for n in rates:
            s, b = min(steps[n]), min(bare_steps[n])
            print(
                f"{n:8} {max(rates[n]):9,.0f} {s * 1e3:8.2f} {b * 1e3:8.2f} {s / b - 1:10.1%} {min(above[n]):14.1%}"
            )
        print(f"32 streams over one: {max(rates[32]) / max(rates[1]):.2f} (target 4)")
        closed_loop(at, a.chip, a.output)


def closed_loop(at: Running, chip: str, output: int) -> None:
    """Latencies in chip time against the simulation of the same load."""
    clients, count = 16, 96
    rows = [r for r in load(at, clients, count, output, 7)["requests"]]
    turnaround = think_seconds(rows)
    predicted = simulate(
        at.endpoint.served.model, chip, ClosedLoop(clients, count, Lengths(PROMPT), Lengths(output), turnaround),
        max_sequences=64, max_step_tokens=512,
    ).outcome.records.rows()  # fmt: skip
    first = predicted["first_token_s"]
    tpot = (predicted["finish_s"] - first) / (predicted["output_tokens"] - 1)
    print(f"chip time, {clients} clients, turnaround {turnaround * 1e6:.1f} µs of chip time")
    for name, key, values in (
        ("TTFT", "ttft_s", first - predicted["arrival_s"]),
        ("TPOT", "tpot_s", tpot),
        ("end to end", "e2e_s", predicted["finish_s"] - predicted["arrival_s"]),
    ):
        measured = statistics.fmean(r["tapeout"][key] for r in rows)
        mean = float(np.mean(values))
        print(
            f"  {name:10} measured {measured * 1e6:9.2f} µs, simulated {mean * 1e6:9.2f} µs: {measured / mean - 1:+.1%}"
        )


def think_seconds(rows: list[dict[str, Any]]) -> float:
    """Mean chip seconds between the end of a client's request and the arrival of its next."""
    gaps = []
    for number in {r["client"] for r in rows}:
        own = sorted((r["tapeout"] for r in rows if r["client"] == number), key=lambda t: t["arrival_s"])
        gaps += [b["arrival_s"] - a["finish_s"] for a, b in zip(own, own[1:], strict=False)]
    return max(statistics.fmean(gaps), 0.0) if gaps else 0.0


if __name__ == "__main__":
    main()
