"""A day of a whole fleet in the fluid model: demand by the hour in, latency, energy and goodput out.

Each bin of time is a steady state at its rate per replica (bins are much longer than a request). What a
replica cannot serve waits for a later bin, ahead of that bin's own arrivals.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError
from tapeout.serving.costs import StepCosts
from tapeout.serving.fluid import Shape, Steady, steady
from tapeout.serving.policy import EnginePolicy
from tapeout.serving.slo import Objective

Floats = NDArray[np.float64]
RESOLUTION = 0.01  # rates are rounded to this share, so that a year of bins needs a hundred solutions


@dataclass(frozen=True)
class Day:
    """By bin, [bins] each: requests per second that arrived and were served, queued requests at the end,
    watts of the whole fleet, busy share, goodput (requests per second meeting the objectives); and the
    latency quantiles of all requests together, seconds."""

    arrived: Floats
    served: Floats
    queued: Floats
    watts: Floats
    busy: Floats
    goodput: Floats
    quantiles: dict[str, dict[str, float]]
    bin_seconds: float

    @property
    def joules(self) -> float:
        """Energy of the fleet's chips over all bins."""
        return float(self.watts.sum() * self.bin_seconds)


def serve(
    costs: StepCosts,
    policy: EnginePolicy,
    shape: Shape,
    demand: Floats,
    replicas: int,
    bin_seconds: float = 300.0,
    objectives: tuple[Objective, ...] = (),
) -> Day:
    """Serve `demand` ([bins], requests per second to the whole fleet) with `replicas` equal replicas behind a
    router that splits evenly."""
    if replicas < 1 or bin_seconds <= 0 or np.any(~np.isfinite(demand)) or np.any(demand < 0):
        raise InputError(
            "fluid model", "demand, replicas, bin_seconds", (replicas, bin_seconds), "rates from 0"
        )
    known: dict[int, Steady] = {}

    def at(rate: float) -> Steady:
        key = round(np.log(max(rate, 1e-9)) / RESOLUTION)
        if key not in known:
            known[key] = steady(costs, policy, shape, float(np.exp(key * RESOLUTION)) if rate > 0 else 0.0)
        return known[key]

    bins = len(demand)
    served, queued, watts, busy, good, waits = (np.zeros(bins) for _ in range(6))
    backlog = 0.0  # requests per replica
    drawn: list[tuple[dict[str, Floats], float]] = []
    for i, total in enumerate(np.asarray(demand, float)):
        rate = total / replicas
        wanted = rate + backlog / bin_seconds
        state = at(wanted)
        done = min(wanted, state.served) if state.overloaded else wanted
        before, backlog = backlog, max(backlog + (rate - done) * bin_seconds, 0.0)
        waits[i] = (before + backlog) / 2 / done if done > 0 and state.overloaded else 0.0
        served[i], queued[i] = done * replicas, backlog * replicas
        watts[i], busy[i] = state.watts * replicas, state.busy
        latencies = _latencies(state, waits[i])
        good[i] = done * replicas * _good(latencies, objectives)
        drawn.append((latencies, done))
    return Day(np.asarray(demand, float), served, queued, watts, busy, good, _merge(drawn), bin_seconds)


def _latencies(state: Steady, wait: float) -> dict[str, Floats]:
    """Samples of the bin, the queue of the fleet included."""
    found = state.samples(4000)
    if state.overloaded:  # the wait is the fleet's backlog, not an endless queue
        inner = Steady(**{**state.__dict__, "rate": state.served, "waiting": 0.0}).samples(4000)
        found = {"ttft": inner["ttft"] + wait, "tpot": inner["tpot"], "e2e": inner["e2e"] + wait}
    return found


def _good(latencies: dict[str, Floats], objectives: tuple[Objective, ...]) -> float:
    good = np.ones(len(latencies["ttft"]), bool)
    for o in objectives:
        with np.errstate(invalid="ignore"):
            good &= ~(latencies[o.metric] > o.limit)
    return float(good.mean())


def _merge(drawn: list[tuple[dict[str, Floats], float]]) -> dict[str, dict[str, float]]:
    """Quantiles over all bins, each weighted by what it served."""
    merged: dict[str, dict[str, float]] = {}
    for name in ("ttft", "tpot", "e2e"):
        values = np.concatenate([d[name] for d, _ in drawn]) if drawn else np.zeros(0)
        weight = np.concatenate([np.full(len(d[name]), w) for d, w in drawn]) if drawn else np.zeros(0)
        keep = ~np.isnan(values) & (weight > 0)
        values, weight = values[keep], weight[keep]
        order = np.argsort(values)
        share = np.cumsum(weight[order]) / max(weight.sum(), 1e-300)
        merged[name] = {
            f"p{100 * q:g}": float(values[order][min(np.searchsorted(share, q), len(order) - 1)])
            for q in (0.5, 0.9, 0.95, 0.99)
            if len(order)
        }
    return merged
