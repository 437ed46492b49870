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
    if per_token == 1:
        return weights / weights.sum()
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
        found = experts * -np.expm1(np.asarray(tokens) * _log_miss(probability[0]))
    else:
        found = _over_unique(tokens, lambda t: -np.expm1(np.outer(t, _log_miss(probability))).sum(axis=1))
    return np.minimum(found, tokens * np.float64(per_token))  # a mean of less than one token


def routed(tokens: Number, experts: int, per_token: int, groups: Number = 1, skew: float = 0.0) -> Routed:
    """Routing of `tokens` tokens when the experts are dealt to `groups` equal groups of chips.

    Experts are dealt by popularity, each to the group that has least so far (as placement by load does).
    The busiest group is the largest of `groups` binomial counts, each with the mean of the most popular group.
    """
    total = touched(tokens, experts, per_token, skew)
    tokens, groups = np.asarray(tokens, dtype=float), np.asarray(groups, dtype=float)
    pairs = tokens * min(per_token, experts)
    mean_experts, mean_pairs = total / groups, pairs / groups
    if np.all(groups == 1):
        return Routed(total, pairs, mean_experts, mean_pairs)
    held = experts / groups
    top, top_share = mean_experts, 1 / groups
    if skew != 0.0:
        shape = np.broadcast_shapes(tokens.shape, groups.shape)
        t, g = np.broadcast_to(tokens, shape), np.broadcast_to(groups, shape)
        top, top_share = np.zeros(shape), np.zeros(shape)
        p = pick_probabilities(experts, per_token, skew)
        for count in np.unique(g):
            here, member = g == count, _dealt(experts, per_token, skew, int(count))
            top[here] = _over_unique(
                t[here], lambda x, m=member: (-np.expm1(np.multiply.outer(x, _log_miss(p))) @ m).max(axis=1)
            )
            top_share[here] = float((p @ member).max()) / min(per_token, experts)
    busy = _largest_count(groups, held, top / held)
    busy = np.clip(busy, np.maximum(mean_experts, np.minimum(1.0, total)), np.minimum(held, total))
    limit = np.maximum(tokens * np.minimum(per_token, held), mean_pairs)
    most = _largest_count(groups, pairs, top_share)
    most = np.clip(most, np.minimum(np.maximum(mean_pairs, busy), limit), limit)
    one = groups == 1
    return Routed(np.where(one, total, busy), np.where(one, pairs, most), mean_experts, mean_pairs)


def distinct_groups(per_token: int, groups: Number) -> Number:
    """Expected number of distinct groups that hold a token's experts, popularity being equal. Routing limited
    to some groups of experts (DeepSeek-V3) makes it less; that is not counted."""
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


def _largest_count(groups: Number, trials: Number, probability: Number) -> Number:
    """Expected largest of `groups` binomial counts: summed where they are small, normal where they are not."""
    groups, n, p = np.broadcast_arrays(groups, trials, np.clip(probability, 0.0, 1.0))
    mean = n * p
    largest = mean + _largest_normal(groups) * np.sqrt(mean * (1 - p))
    few = (mean <= _FEW) & (p < 1)
    if not few.any():
        return largest
    g, n, p = groups[few], n[few], p[few]
    chance = np.exp(n * np.log1p(-p))  # of exactly j
    below, expected = chance.copy(), np.zeros_like(chance)
    for j in range(4 * _FEW):
        more = 1 - np.minimum(below, 1.0) ** g  # chance that some group has more than j
        expected += more
        if more.max() < 1e-9:
            break
        chance = chance * np.maximum(n - j, 0.0) / (j + 1) * p / (1 - p)
        below = below + chance
    result = np.array(largest)
    result[few] = expected
    return result


_FEW = 30
