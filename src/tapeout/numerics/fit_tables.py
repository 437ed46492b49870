"""Finds the coefficients in `tables`; `python -m tapeout.numerics.fit_tables > tables.py` writes that file.

For each segment: the quadratic that minimises the largest error over a dense grid, searched among the
integers around the Chebyshev interpolant, evaluated with exactly the integer
arithmetic of `functions.interpolate`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Row = tuple[int, int, int]
C0_BITS, C1_BITS, C2_BITS = 27, 26, 26  # fraction bits of the coefficients
STEP_BITS = 18  # bits of the position within a segment
SQUARE_BITS = 14  # bits kept of its square


def fit_segment(
    function: Callable[[F64], F64], low: float, width: float, exact: bool
) -> tuple[int, int, int]:
    """(C0, C1, C2) for `function` on [low, low + width); `exact`: C0 is the exact value at `low`."""
    nodes = (1 - np.cos(np.pi * (np.arange(3) + 0.5) / 3)) / 2
    c2, c1, _ = np.polyfit(nodes, function(low + width * nodes), 2)
    step = np.unique(np.linspace(0, 2**STEP_BITS - 1, 769).astype(np.int64))
    square = (step * step) >> (2 * STEP_BITS - SQUARE_BITS)
    truth = function(low + width * step / 2**STEP_BITS)
    best: tuple[float, Row] | None = None
    for q2 in range(round(c2 * 2**C2_BITS) - 3, round(c2 * 2**C2_BITS) + 4):
        for q1 in range(round(c1 * 2**C1_BITS) - 8, round(c1 * 2**C1_BITS) + 9):
            partial = q1 / 2**C1_BITS * step / 2**STEP_BITS + q2 / 2**C2_BITS * square / 2**SQUARE_BITS
            rest = truth - partial
            q0 = round(float(truth[0] if exact else (rest.max() + rest.min()) / 2) * 2**C0_BITS)
            error = float(abs(rest - q0 / 2**C0_BITS).max())
            if best is None or error < best[0]:
                best = (error, (q0, q1, q2))
    assert best is not None
    return best[1]


def tables() -> dict[str, list[Row]]:
    """Every table, as lists of (C0, C1, C2), segment by segment."""

    def exp2(x: F64) -> F64:
        return np.exp2(x)

    def reciprocal(x: F64) -> F64:
        return 1.0 / x

    def rsqrt(x: F64) -> F64:
        return 1.0 / np.sqrt(x)

    return {
        "EXP2": [fit_segment(exp2, i / 64, 1 / 64, i == 0) for i in range(64)],
        "RECIPROCAL": [fit_segment(reciprocal, 1 + i / 128, 1 / 128, i == 0) for i in range(128)],
        "RSQRT": [fit_segment(rsqrt, 1 + i / 64, 1 / 64, i == 0) for i in range(64)]
        + [fit_segment(rsqrt, 2 + i / 32, 1 / 32, False) for i in range(64)],
    }


def source() -> str:
    """The text of `tables.py`."""
    out = [
        '"""Coefficients of the function tables, written by `fit_tables`. See `functions.interpolate`."""',
        "",
        "# fmt: off",
    ]
    for name, rows in tables().items():
        out.append(f"{name}: tuple[tuple[int, int, int], ...] = (")
        cells = [f"({a}, {b}, {c})," for a, b, c in rows]
        out += ["    " + " ".join(cells[i : i + 3]) for i in range(0, len(cells), 3)]
        out.append(")")
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    print(source(), end="")
