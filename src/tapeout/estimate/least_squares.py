"""Robust non-linear least squares with priors: Levenberg and Marquardt on NumPy alone.

Minimises sum ρ(r_i(x)) + sum ((x_j - prior_j) / spread_j)², ρ(r) = 2 (sqrt(1 + r²) - 1): quadratic near zero, linear
for rows that no physics explains, so that bad data pull with bounded force. Deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Fit:
    """The minimiser, the standard deviation of each variable (Gauss–Newton, robust weights), the cost there and
    whether it converged."""

    x: Array
    deviation: Array
    cost: float
    iterations: int
    converged: bool


def robust_cost(residuals: Array) -> float:
    """sum of 2 (sqrt(1 + r²) - 1)."""
    return float(2 * (np.sqrt(1 + residuals**2) - 1).sum())


def least_squares(
    residuals: Callable[[Array], Array],
    prior: Array,
    spread: Array,
    *,
    start: Array | None = None,
    iterations: int = 60,
    step: float = 1e-4,
    tolerance: float = 1e-7,
) -> Fit:
    """Minimise from `start` (the prior by default). `residuals` maps x (n,) to scaled residuals (m,)."""

    def total(x: Array, r: Array) -> float:
        return robust_cost(r) + float((((x - prior) / spread) ** 2).sum())

    x = prior.copy() if start is None else start.copy()
    r = residuals(x)
    cost = total(x, r)
    damping = 1e-2
    inverse = 1 / spread**2
    hessian = np.diag(inverse)
    done = False
    used = 0
    for used in range(1, iterations + 1):  # noqa: B007
        jacobian = np.empty((len(r), len(x)))
        for j in range(len(x)):
            moved = x.copy()
            moved[j] += step
            jacobian[:, j] = (residuals(moved) - r) / step
        weight = 1 / np.sqrt(1 + r**2)
        hessian = (jacobian * weight[:, None]).T @ jacobian + np.diag(inverse)
        gradient = jacobian.T @ (weight * r) + (x - prior) * inverse
        gain = 0.0
        for _ in range(12):
            move = np.linalg.solve(hessian + damping * np.diag(np.diag(hessian)), -gradient)
            move = np.clip(move, -1.0, 1.0)
            tried = residuals(x + move)
            better = total(x + move, tried)
            if np.isfinite(better) and better < cost:
                gain = cost - better
                x, r, cost = x + move, tried, better
                damping = max(damping / 5, 1e-9)
                break
            damping *= 4
        if gain <= tolerance * cost:
            done = True
            break
    deviation = np.sqrt(np.diag(np.linalg.inv(hessian)))
    return Fit(x, deviation, cost, used, done)
