"""Which experts a batch of tokens wakes: expected numbers, for any popularity of experts.

A token picks `k` of `E` experts. Tokens are taken as independent. With equal popularity an expert is
picked by a token with probability k/E, and T tokens touch E(1 - (1 - k/E)^T) distinct experts in
expectation, exactly. With a Zipf popularity (expert of rank r has weight r^-skew) the probability that a
token picks an expert is taken as 1 - exp(-λ w), with λ such that they sum to k: picking k distinct experts
by successive draws, to the accuracy of the Poisson approximation (Rosén, 1997); a test holds it
to simulation within 2 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.workload.operators import Number


@dataclass(frozen=True, eq=False)
class Routed:
    """Expected routing of one step, of the busiest of `ep` groups of chips and over all of them.

    `experts`: distinct experts touched in the group; `assignments`: (token, expert) pairs it computes;
    `mean_experts`, `mean_assignments`: those of the mean group.
    """

    experts: Number
    assignments: Number
    mean_experts: Number
    mean_assignments: Number


@lru_cache(maxsize=64)
def pick_probabilities(experts: int, per_token: int, skew: float) -> NDArray[np.float64]:
    """Probability that a token picks each expert, most popular first; they sum to `per_token`."""
    if skew == 0.0 or per_token >= experts:
        return np.full(experts, min(per_token, experts) / experts)
    weights = np.arange(1, experts + 1, dtype=np.float64) ** -skew
    low, high = 0.0, 1.0
    while (1 - np.exp(-high * weights)).sum() < per_token:
        high *= 2
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if (1 - np.exp(-middle * weights)).sum() < per_token else (low, middle)
    return 1 - np.exp(-high * weights)


def touched(tokens: Number, experts: int, per_token: int, skew: float = 0.0) -> Number:
    """Expected number of distinct experts that `tokens` tokens touch."""
    probability = pick_probabilities(experts, per_token, skew)
    if skew == 0.0:
        return experts * -np.expm1(np.asarray(tokens) * _log_miss(probability[0]))
    return _over_unique(tokens, lambda t: -np.expm1(np.outer(t, _log_miss(probability))).sum(axis=1))


def routed(tokens: Number, experts: int, per_token: int, groups: Number = 1, skew: float = 0.0) -> Routed:
    """Routing of `tokens` tokens when the experts are dealt to `groups` equal groups of chips.

    Experts are dealt by popularity, each to the group that has least so far (as placement by load does).
    The busiest group's counts are the mean plus the expected largest of `groups` standard normal
    deviations, kept within what is possible.
    """
    total = touched(tokens, experts, per_token, skew)
    tokens, groups = np.asarray(tokens, dtype=float), np.asarray(groups, dtype=float)
    pairs = tokens * min(per_token, experts)
    p = pick_probabilities(experts, per_token, skew)
    if skew == 0.0:
        hit = -np.expm1(tokens * _log_miss(p[0]))
        mean_experts, mean_pairs = total / groups, pairs / groups
        # A fixed number of draws falls on a group: hypergeometric, hence the finite-population factor.
        spread_e = np.sqrt(mean_experts * (1 - hit) * (1 - 1 / groups))
        left = (experts - per_token) / max(experts - 1, 1)
        spread_p = np.sqrt(mean_pairs * (1 - 1 / groups) * max(left, 0.0))
        top_e, top_p = mean_experts, mean_pairs
    else:
        shape = np.broadcast_shapes(tokens.shape, groups.shape)
        t, g = np.broadcast_to(tokens, shape), np.broadcast_to(groups, shape)
        top_e, spread_e, top_p, spread_p = (np.zeros(shape) for _ in range(4))
        for count in np.unique(g):
            here = g == count
            member = _dealt(experts, per_token, skew, int(count))
            # Deviation over experts of a group; the busiest group is the one with the largest mean.
            e_mean = _over_unique(
                t[here], lambda x, m=member: (-np.expm1(np.multiply.outer(x, _log_miss(p))) @ m).max(axis=1)
            )
            e_var = _over_unique(
                t[here],
                lambda x, m=member: (
                    (lambda miss: ((1 - miss) * miss) @ m)(np.exp(np.multiply.outer(x, _log_miss(p))))
                ).max(axis=1),
            )
            top_e[here] = e_mean
            spread_e[here] = np.sqrt(e_var * (1 - 1 / count))
            load = float((p @ member).max())
            top_p[here] = t[here] * load
            spread_p[here] = np.sqrt(t[here] * load * (1 - 1 / count))
        mean_experts, mean_pairs = total / groups, pairs / groups
    deviation = _largest_normal(groups)
    held = experts / groups
    some = np.minimum(1.0, total)
    busy_e = np.clip(top_e + deviation * spread_e, np.maximum(mean_experts, some), np.minimum(held, total))
    limit = np.maximum(tokens * np.minimum(per_token, held), mean_pairs)
    busy_p = np.clip(top_p + deviation * spread_p, np.minimum(np.maximum(mean_pairs, busy_e), limit), limit)
    one = groups == 1
    return Routed(np.where(one, total, busy_e), np.where(one, pairs, busy_p), mean_experts, mean_pairs)


def distinct_groups(per_token: int, groups: Number) -> Number:
    """Expected number of distinct groups that hold a token's experts, popularity being equal."""
    g = np.asarray(groups, dtype=float)
    return g * (1 - (1 - 1 / g) ** per_token)


def _log_miss(p: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log1p(-np.asarray(p)), -745.0)  # exp(-745) is the least positive double


def _over_unique(values: Number, function: Any) -> Number:
    """`function` of a 1-D array, evaluated once for each distinct value."""
    values = np.asarray(values, dtype=float)
    distinct, where = np.unique(values, return_inverse=True)
    result: Number = function(distinct)[where].reshape(values.shape)
    return result


@lru_cache(maxsize=256)
def _dealt(experts: int, per_token: int, skew: float, groups: int) -> NDArray[np.float64]:
    """Membership matrix [experts, groups]: each expert to the group with least load that has room."""
    p = pick_probabilities(experts, per_token, skew)
    member = np.zeros((experts, groups))
    room = np.full(groups, -(-experts // groups))
    load = np.zeros(groups)
    for e in range(experts):
        g = int(np.argmin(np.where(room > 0, load, np.inf)))
        member[e, g] = 1
        load[g] += p[e]
        room[g] -= 1
    return member


def _largest_normal(count: Number) -> Number:
    """Expected largest of `count` standard normal numbers (Blom, 1958)."""
    return _over_unique(
        count, lambda n: np.array([NormalDist().inv_cdf((x - 0.375) / (x + 0.25)) for x in n])
    )
