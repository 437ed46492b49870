"""Seconds of a full plan with its samples, part by part.

    python benchmarks/plan_speed.py [SCENARIO] [--samples 4096] [--workers 2]

The parts are those of `tapeout plan`: what each accelerator serves, the graph with supply and power at the nominal
inputs, the samples, the group sensitivities, stress cases and thresholds, and the page.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor

os.environ.setdefault("OMP_NUM_THREADS", "1")

from tapeout.fleet import risk, stress
from tapeout.fleet.plan import build
from tapeout.fleet.scenario import load_scenario
from tapeout.report.plan import page


def main() -> None:
    """Time each part and all of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", nargs="?", default="ten-gigawatts")
    parser.add_argument("--samples", type=int, default=4096)
    parser.add_argument("--workers", type=int, default=2)
    asked = parser.parse_args()
    start = last = time.perf_counter()

    def lap(what: str) -> None:
        nonlocal last
        now = time.perf_counter()
        print(f"{what:45} {now - last:7.2f} s")
        last = now

    s = load_scenario(asked.scenario)
    with ProcessPoolExecutor(asked.workers) as pool:
        plan = build(s, pool=pool)
    lap("services, graph, supply and power")
    names = risk.uncertain(plan)
    lap(f"screening of {len(names)} uncertain inputs")
    samples = risk.sample(plan, asked.samples, workers=asked.workers)
    lap(f"{asked.samples} samples of {len(plan.graph.nodes)} quantities")
    outputs = ("npv", *(f"versus.{a}.npv" for a in s.gpus))
    base = 1 << max(asked.samples // 16, 16).bit_length() - 1
    groups = risk.group_indices(plan, outputs, base, workers=asked.workers)
    lap(f"group sensitivity, base {base}")
    cases = stress.run(plan)
    conditions = {k: stress.conditions(plan, k, stress.deciding(plan, k, samples)) for k in outputs}
    lap("stress cases and thresholds")
    text = page(plan, samples, groups, cases, conditions, "benchmark")
    lap(f"page of {len(text) / 1e6:.2f} MB")
    print(f"{'all':45} {time.perf_counter() - start:7.2f} s")


if __name__ == "__main__":
    main()
