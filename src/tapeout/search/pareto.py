"""The exact Pareto front of several objectives, all to be maximised: the definition, and the fast version."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_BLOCK = 512


def front_by_definition(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Which rows of `values` [n, objectives] no other row dominates. O(n²).

    A row dominates another if it is at least as good in every objective and better in one. Equal rows do
    not dominate each other. A row with a NaN is on no front and dominates nothing.
    """
    n = len(values)
    comparable = ~np.isnan(values).any(axis=1)
    return np.array(
        [
            comparable[i]
            and not any(
                comparable[j] and (values[j] >= values[i]).all() and (values[j] > values[i]).any()
                for j in range(n)
            )
            for i in range(n)
        ],
        dtype=bool,
    )


def front(values: NDArray[Any]) -> NDArray[np.bool_]:
    """The same as `front_by_definition`, for millions of rows.

    Values are replaced by their ranks, so sums are exact integers and a dominator always has the larger
    sum. Taken in order of falling sum, a row can only be dominated by one before it, and then by one on
    the front (Chomicki et al., Skyline with presorting, ICDE 2003).
    """
    values = np.asarray(values, dtype=float)
    result = np.zeros(len(values), dtype=bool)
    candidates = np.flatnonzero(~np.isnan(values).any(axis=1))
    if not len(candidates) or values.shape[1] == 0:
        result[candidates] = True
        return result
    # + 0.0: minus zero equals zero, and must rank with it
    ranks = np.stack(
        [np.unique(column + 0.0, return_inverse=True)[1] for column in values[candidates].T], axis=1
    )
    order = np.argsort(-ranks.sum(axis=1, dtype=np.int64), kind="stable")
    ranks = ranks[order]
    kept = np.empty((0, ranks.shape[1]), dtype=ranks.dtype)
    for start in range(0, len(ranks), _BLOCK):
        block = ranks[start : start + _BLOCK]
        alive = np.flatnonzero(~_dominated(block, kept))
        alive = alive[~_dominated(block[alive], block[alive])]
        result[candidates[order[start + alive]]] = True
        kept = np.concatenate([kept, block[alive]])
    return result


def _dominated(rows: NDArray[Any], by: NDArray[Any]) -> NDArray[np.bool_]:
    """Which of `rows` some row of `by` dominates."""
    found = np.zeros(len(rows), dtype=bool)
    for start in range(0, len(by), _BLOCK):
        open_rows = np.flatnonzero(~found)
        if not len(open_rows):
            break
        some, against = rows[open_rows], by[start : start + _BLOCK]
        reached = np.ones((len(some), len(against)), dtype=bool)
        equal = np.ones_like(reached)
        for k in range(rows.shape[1]):
            reached &= against[None, :, k] >= some[:, None, k]
            equal &= against[None, :, k] == some[:, None, k]
        found[open_rows] = (reached & ~equal).any(axis=1)
    return found
