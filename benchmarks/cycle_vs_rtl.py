"""Cycles simulated against cycles in Verilator: random programs on five cores. `python benchmarks/cycle_vs_rtl.py [N]`.

Each core is built once (minutes, then cached). A line for each: the largest and the mean error of the total cycles over
N programs of moves and N of products, and how much faster the cycle simulator is.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "simulator" / "cycle"))

import test_cycle_rtl as both


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    names = sys.argv[2:] or list(both.variants())
    print(f"{'core':<16}{'programs':>9}{'cycles':>10}{'mean error':>12}{'largest':>10}{'seconds':>9}")
    for name in names:
        errors, cycles, begun = [], 0, time.perf_counter()
        for seed in range(count):
            for kind in (both.moves, both.products):
                rtl, simulated = kind(name, seed)
                errors.append(abs(simulated / rtl - 1))
                cycles += rtl
        seconds = time.perf_counter() - begun
        mean = sum(errors) / len(errors)
        print(
            f"{name:<16}{len(errors):>9}{cycles:>10,}{mean:>12.4%}{max(errors):>10.4%}{seconds:>9.1f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
