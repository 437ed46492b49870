"""Stress: what the plan comes to when one thing goes badly, and what must be true for it to pay."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.plan import Plan
from tapeout.fleet.risk import Samples, first_order

Floats = NDArray[np.float64]
POINTS = 41


@dataclass(frozen=True)
class Stress:
    """A case: what changes, in words, and what the plan then comes to. Money in USD, date in months (1e9: never),
    power in W of own accelerators in service at the last target."""

    name: str
    about: str
    npv: float
    saving: Mapping[str, float]
    date: Mapping[str, float]
    power: float
    served: float
    funding: float


def cases(plan: Plan) -> dict[str, tuple[str, dict[str, float]]]:
    """The cases: what happens, and the inputs that it changes, in their units."""
    q = {n.name: n.quantity for n in plan.graph.inputs() if n.quantity is not None}
    s = plan.scenario

    def times(factor: float, *names: str) -> dict[str, float]:
        return {n: q[n].value * factor for n in names if n in q}

    drivers = [f"kind.{c}.{k}" for c in s.classes for k in ("per_user", "rate")]
    late = q["schedule.tape_out_slip"].value + 6
    return {
        "As planned": ("every input at its value", {}),
        "Demand halves": ("half the requests from the first day", times(0.5, *drivers)),
        "Prices fall tenfold a year": (
            "tokens sold by the token, and revenue per user does not grow",
            {"revenue.price_fall": math.log(10), "revenue.per_user_growth": 1e-6},
        ),
        "Next GPU generation arrives": (
            "others' cost per unit of work falls by 45 % a year",
            {f"gpu.{a}.progress": 0.6 for a in s.gpus},
        ),
        "Tape-out slips two quarters": ("six months later than planned", {"schedule.tape_out_slip": late}),
        "Yield is poor": (
            "twice the defects, and a slow ramp",
            times(2, "own.defect_density") | {"yield_ramp.first": 0.4, "yield_ramp.mature": 6},
        ),
        "HBM price doubles": ("for the own chip; others' prices as they are", times(2, "own.stack_price")),
        "Grid is late": ("connections eighteen months late", {"schedule.grid_slip": 18}),
        "Software lags": (
            "the own chip attains the least of the range",
            {"service.attained_own": q["service.attained_own"].low},
        ),
        "Partner asks more": ("a margin of 60 %", {"nre.partner_margin": 0.6}),
    }


def run(plan: Plan) -> list[Stress]:
    """All cases."""
    return [_case(plan, name, about, changed) for name, (about, changed) in cases(plan).items()]


def _case(plan: Plan, name: str, about: str, changed: Mapping[str, float]) -> Stress:
    v = plan.graph.evaluate(changed) if changed else plan.nominal
    s = plan.scenario
    end = max(s.targets)
    power = plan.year("fleet.own", end, v) * v["system.own.provisioned"][:, 0]
    return Stress(
        name,
        about,
        float(v["npv"][0, 0]),
        {a: float(v[f"versus.{a}.npv"][0, 0]) for a in s.gpus},
        {a: float(v[f"versus.{a}.date"][0, 0]) / plan_month() for a in s.gpus},
        float(power[0]),
        float(plan.year("served", end, v)[0]),
        float(v["funding"][0, 0]),
    )


def plan_month() -> float:
    """Seconds of a month."""
    return 365.25 * 86400 / 12


@dataclass(frozen=True)
class Condition:
    """What must be true: `name` at least or at most `threshold` (in its unit), all else at its value, for the
    output to be above nil; None where no value of the swept range does it, or any does (`always`)."""

    name: str
    unit: str
    value: float
    at_least: bool
    threshold: float | None
    always: bool
    low: float
    high: float


def conditions(
    plan: Plan, output: str, names: list[str], progress: Callable[[int], None] = lambda _: None
) -> list[Condition]:
    """For each input the value at which `output` changes sign, from a quarter of its low to four times its high
    (shares stay within 0 and 1), by interpolation over a sweep."""
    found = []
    for name in names:
        q = plan.graph.nodes[name].quantity
        assert q is not None
        low, high = (q.low / 4, q.high * 4) if q.value > 0 else (q.low - 1, q.high + 1)
        if q.value == 0:
            low, high = 0.0, max(q.high * 4, 1.0)
        if q.unit == "1" and q.high <= 1 and not name.startswith(("service.", "own.", "gpu.")):
            high = min(high, 0.95)
        sweep = np.linspace(low, high, POINTS)
        y = plan.graph.evaluate({name: sweep})[output][:, 0]
        y = np.broadcast_to(y, sweep.shape)
        progress(POINTS)
        rising = bool(y[-1] > y[0])
        crossing = np.nonzero(np.diff(np.sign(y)))[0]
        threshold = None
        if len(crossing):
            i = int(min(crossing, key=lambda k: abs(sweep[k] - q.value)))
            threshold = float(sweep[i] - y[i] * (sweep[i + 1] - sweep[i]) / (y[i + 1] - y[i]))
            rising = bool(y[i + 1] > y[i])
        found.append(Condition(name, q.unit, q.value, rising, threshold, bool(np.all(y > 0)), q.low, q.high))
    return found


# Inputs whose thresholds are always told, whatever the samples say.
ALWAYS = (
    "service.attained_own",
    "demand.other_work",
    "schedule.tape_out_slip",
    "own.stack_price",
    "nre.partner_margin",
)


def deciding(plan: Plan, output: str, samples: Samples | None, count: int = 8) -> list[str]:
    """The inputs that a reader wants a threshold of: those that move `output` most, and a few that are always asked
    about, if it depends on them."""
    reach = {n.name for n in plan.graph.inputs_of(output)}
    found: list[str] = []
    if samples is not None:
        index = first_order(samples, output)
        found = [k for k in sorted(index, key=lambda k: -index[k])[:count] if index[k] > 0.004]
    return found + [n for n in ALWAYS if n in reach and n not in found]


@dataclass(frozen=True)
class Mix:
    """A fleet in which own chips take `share` of the planned power and each rival does the rest of their work: the
    saving against that rival doing all of it, USD, and own chips delivered."""

    share: float
    chips: float
    saving: Mapping[str, float]


SHARES = (0.1, 0.25, 0.5, 0.75, 1.0)


def mixes(plan: Plan) -> list[Mix]:
    """Mixed fleets: less of the own programme, the same NRE."""
    s = plan.scenario
    q = {n: plan.graph.nodes[n].quantity for n in (f"target.y{y}" for y in s.targets)}
    changed = {n: np.array(SHARES) * x.value for n, x in q.items() if x is not None}
    v = plan.graph.evaluate(changed)
    return [
        Mix(
            share,
            float(v["deliveries.own"][i].sum()),
            {a: float(v[f"versus.{a}.npv"][i, 0]) for a in s.gpus},
        )
        for i, share in enumerate(SHARES)
    ]
