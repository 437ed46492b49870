"""The chip estimate against the cycle simulator: random single operators on random cores.

    python benchmarks/estimate_vs_cycle.py [--samples 240] [--seed 0] [--worst 5]

Median, 95th percentile and largest relative error of the cycles, and the mean signed one, by kind of operator.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "estimate"))

from cycle_cases import KINDS, samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=240)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worst", type=int, default=0, help="operators of each kind to print")
    arguments = parser.parse_args()
    began = time.monotonic()
    found = [(s, n, s.estimated() / n - 1) for s, n in samples(arguments.samples, arguments.seed)]
    print(f"{'operator':<16}{'samples':>8}{'median':>9}{'p95':>9}{'largest':>9}{'mean':>9}")
    for kind in (*KINDS, "all"):
        errors = np.array([e for s, _, e in found if kind in (s.kind, "all")])
        size = np.abs(errors)
        print(
            f"{kind:<16}{len(errors):>8}{np.median(size):>9.1%}{np.percentile(size, 95):>9.1%}{size.max():>9.1%}"
            f"{errors.mean():>+9.1%}"
        )
    print(f"{time.monotonic() - began:.1f} s")
    for kind in KINDS:
        ranked = sorted((x for x in found if x[0].kind == kind), key=lambda x: -abs(x[2]))
        for s, cycles, error in ranked[: arguments.worst]:
            c = s.core
            print(
                f"{kind} {s.shape} {s.format} share {s.share} simulated {cycles} error {error:+.1%}: "
                f"{c.matrix.rows} × {c.matrix.columns}, {c.vector_lanes} lanes, port {c.port_bytes}, "
                f"{c.outstanding} requests, {c.scratchpad.banks} × {c.scratchpad.word_bytes} bytes"
            )


if __name__ == "__main__":
    main()
