"""Coefficients of each block's terms: non-negative least squares on relative errors, with leave-one-out errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.physical.calibration.measure import Measured
from tapeout.physical.terms import TERMS

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BlockFit:
    """One block. Coefficients in µm² by term; errors are predicted over measured less one, by configuration.
    `median_ns`: register to register, the median configuration.
    `left_out`: of each configuration predicted by a fit to the others; empty where there are too few."""

    block: str
    coefficients: dict[str, float]
    errors: Array
    left_out: Array
    median_ns: float

    @property
    def configurations(self) -> int:
        """How many were fitted."""
        return len(self.errors)


def nonnegative(a: Array, y: Array) -> Array:
    """x ≥ 0 that minimises |a x - y| (Lawson and Hanson, 1974)."""
    n = a.shape[1]
    x, free = np.zeros(n), np.zeros(n, dtype=bool)
    for _ in range(20 * n):
        gradient = a.T @ (y - a @ x)
        gradient[free] = -np.inf
        if free.all() or gradient.max() <= 1e-9 * max(np.abs(a.T @ y).max(), 1e-30):
            break
        free[int(np.argmax(gradient))] = True
        while True:
            s = np.zeros(n)
            s[free] = np.linalg.lstsq(a[:, free], y, rcond=None)[0]
            if (s[free] > 0).all():
                x = s
                break
            bad = free & (s <= 0)
            step = np.min(x[bad] / (x[bad] - s[bad]))
            x = x + step * (s - x)
            free &= x > 1e-12
            x[~free] = 0.0
            if not free.any():
                break
    return x


def design(rows: Sequence[Measured]) -> tuple[tuple[str, ...], Array]:
    """The names of the terms of a block, and their amounts in each configuration."""
    amounts = [TERMS[r.block](**r.values) for r in rows]
    names = tuple(amounts[0])
    return names, np.array([[float(a[n]) for n in names] for a in amounts])


def fit_block(rows: Sequence[Measured]) -> BlockFit:
    """Fit one block to its configurations, weighting each by its own area."""
    names, a = design(rows)
    y = np.array([r.area_um2 for r in rows])
    relative, ones = a / y[:, None], np.ones(len(y))
    x = nonnegative(relative, ones)
    left = []
    rank = np.linalg.matrix_rank(relative)
    for i in range(len(y) if len(y) > 1 else 0):
        others = np.arange(len(y)) != i
        if np.linalg.matrix_rank(relative[others]) == rank:  # else nothing else measures that term
            left.append(relative[i] @ nonnegative(relative[others], ones[others]) - 1)
    return BlockFit(
        rows[0].block,
        dict(zip(names, x.tolist(), strict=True)),
        relative @ x - 1,
        np.array(left),
        float(np.median([r.period_ns for r in rows])),
    )


def fit_blocks(rows: Sequence[Measured]) -> dict[str, BlockFit]:
    """Every block of `rows` (of one library), in the order of TERMS."""
    return {b: fit_block(mine) for b in TERMS if (mine := [r for r in rows if r.block == b])}


def overall(fits: dict[str, BlockFit]) -> dict[str, float]:
    """Median and largest absolute error over all configurations, fitted and left out."""
    fitted = np.abs(np.concatenate([f.errors for f in fits.values() if f.configurations > 1]))
    left = np.abs(np.concatenate([f.left_out for f in fits.values() if len(f.left_out)]))
    return {
        "configurations": float(sum(f.configurations for f in fits.values())),
        "median": float(np.median(fitted)),
        "largest": float(fitted.max()),
        "left_out_median": float(np.median(left)),
        "left_out_p90": float(np.quantile(left, 0.9)),
        "left_out_largest": float(left.max()),
    }
