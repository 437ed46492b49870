"""Whole steps, decode and prefill, of several models on random chips: the estimate against the cycle simulator.

    python benchmarks/steps_vs_cycle.py [--steps 60] [--seed 0]

Median, 95th percentile and largest relative error of the estimate, and the mean signed one; a line for each step.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "estimate"))

from step_cases import cases


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    began, found = time.process_time(), []
    for case, x in cases(arguments.steps, arguments.seed):
        error = x.estimated_s / x.simulated_s - 1
        found.append((bool(case.prompt), error))
        what = f"prefill {case.prompt}" if case.prompt else f"decode {case.batch}"
        core = case.chip.core
        print(
            f"{case.model:<14}{what:<13} after {case.context:<6} tp {case.tp} {case.chip.name:<9}{case.chip.cores:>4}"
            f" cores of {core.matrix.rows} × {core.matrix.columns}: {x.estimated_s * 1e6:>9.0f} µs, simulated"
            f" {x.simulated_s * 1e6:>9.0f}: {error:+.1%}",
            flush=True,
        )
    print(f"{'steps':<10}{'count':>7}{'median':>9}{'p95':>9}{'largest':>9}{'mean':>9}")
    for name, which in (("decode", False), ("prefill", True), ("all", None)):
        errors = np.array([e for p, e in found if which in (p, None)])
        size = np.abs(errors)
        print(
            f"{name:<10}{len(errors):>7}{np.median(size):>9.1%}{np.percentile(size, 95):>9.1%}{size.max():>9.1%}"
            f"{errors.mean():>+9.1%}"
        )
    print(f"{time.process_time() - began:.0f} s of one host core")


if __name__ == "__main__":
    main()
