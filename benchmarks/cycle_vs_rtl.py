"""Cycles simulated against cycles in Verilator on six cores. `python benchmarks/cycle_vs_rtl.py [N [CORE …]]`.

Each core is built once (minutes, then cached). For each: over N programs of moves and N of products the mean and the
largest error of total cycles, and the largest error of an instruction's share of all of them; then two tokens of the
demo, the error of their cycles and of the operator that is furthest off (with its cycles).
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "simulator" / "cycle"))

import test_cycle_rtl as both


def programs(name: str, count: int) -> str:
    """Random programs on one core."""
    errors, cycles, begun = [], 0, time.perf_counter()
    operators: dict[str, tuple[int, int]] = {}
    for seed in range(count):
        for kind in (both.moves, both.products):
            one = kind(name, seed)
            errors.append(abs(one.cycle / one.rtl - 1))
            cycles += one.rtl
            for key, (r, c) in one.operators.items():
                before = operators.get(key, (0, 0))
                operators[key] = (before[0] + r, before[1] + c)
    seconds = time.perf_counter() - begun
    worst, at = furthest(operators)
    return (
        f"{len(errors)} programs, {cycles:,} cycles: mean {sum(errors) / len(errors):.3%}, largest {max(errors):.3%}; "
        f"instruction {worst:.2%} ({at}); {seconds:.0f} s"
    )


def furthest(operators: dict[str, tuple[int, int]]) -> tuple[float, str]:
    """The largest relative error, and whose."""
    return max((abs(c / r - 1), f"{key} {r} → {c}") for key, (r, c) in operators.items() if r)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    for name in sys.argv[2:] or list(both.variants()):
        print(f"{name}: {programs(name, count)}", flush=True)
        for position in (0, 64):
            one = both.token(name, position)
            worst, at = furthest({k: v for k, v in one.operators.items() if v[0] >= 50 * both.FEW})
            error = one.cycle / one.rtl - 1
            print(
                f"{name}: demo at {position}: {one.rtl:,} cycles, simulated {one.cycle:,} ({error:+.3%});"
                f" operator {worst:.2%} ({at})",
                flush=True,
            )


if __name__ == "__main__":
    main()
