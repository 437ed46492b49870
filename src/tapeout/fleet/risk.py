"""What could go wrong and how likely: quasi-Monte-Carlo over the ranges of all inputs, and whose
uncertainty matters."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.plan import Plan
from tapeout.fleet.sequence import supercube
from tapeout.physical.views import triangular

Floats = NDArray[np.float64]
CHUNK = 128
_PLAN: Plan | None = None  # of the process: workers inherit it by fork

# Inputs by what they are about, for the global sensitivity by groups.
GROUPS: dict[str, tuple[str, ...]] = {
    "demand": ("demand.", "kind.", "region."),
    "prices and revenue": ("revenue.", "finance.other"),
    "own chip: performance": ("service.attained_own", "chip.own.power"),
    "own chip: cost": ("own.", "nre.", "system.own", "hbm.price"),
    "supply": ("wafers.", "yield_ramp.", "cowos.", "substrate.", "hbm.", "racking."),
    "schedule": ("schedule.",),
    "other vendors": ("gpu.", "service.attained_", "system.", "chip."),
    "power and sites": (
        "energy.",
        "zone.",
        "gas.",
        "solar.",
        "wind.",
        "battery.",
        "building.",
        "cooling.",
        "site.",
    ),
    "network": ("network.",),
    "reliability": ("reliability.",),
    "finance": ("finance.",),
}


def group_of(name: str) -> str:
    """The group of an input: the first whose prefix it has."""
    for group, prefixes in GROUPS.items():
        if name.startswith(prefixes):
            return group
    return "other"


def headline(plan: Plan) -> tuple[str, ...]:
    """The scalars that are followed over all samples."""
    names = ["npv", "irr", "funding"]
    for a in plan.scenario.gpus:
        names += [f"versus.{a}.{k}" for k in ("npv", "date", "volume", "per_chip")]
    names += [f"token_cost.{a}.{c}" for a in plan.scenario.accelerators for c in plan.scenario.classes]
    return tuple(names)


SERIES = ("fleet.own", "served", "cash", "capex", "cost.own", "revenue", "energy.own")


@dataclass(frozen=True, eq=False)
class Samples:
    """`inputs`: [samples, uncertain inputs] in the unit cube; `names` theirs; `scalars`: [samples] each, in base
    units; `series`: [samples, months]."""

    names: tuple[str, ...]
    inputs: Floats
    scalars: Mapping[str, Floats]
    series: Mapping[str, Floats]

    def __len__(self) -> int:
        return len(self.inputs)


def uncertain(plan: Plan) -> tuple[str, ...]:
    """The uncertain inputs that the headline depends on, those that move the present values most first: by how far
    each moves them from the low to the high end of its range, alone."""
    wanted: set[str] = set()
    for name in headline(plan):
        wanted |= {
            n.name for n in plan.graph.inputs_of(name) if n.quantity is not None and n.quantity.uncertain
        }
    names = sorted(wanted)
    if plan.screened is None or set(plan.screened) != wanted:
        count = 2 * len(names)
        changed = {}
        for i, name in enumerate(names):
            q = plan.graph.nodes[name].quantity
            assert q is not None
            column = np.full(count, q.value)
            column[2 * i], column[2 * i + 1] = q.low, q.high
            changed[name] = column
        v = plan.graph.evaluate(changed)
        moved = np.zeros(len(names))
        for output in ("npv", *(f"versus.{a}.npv" for a in plan.scenario.gpus)):
            y = np.broadcast_to(v[output][:, 0], (count,))
            span = np.abs(y[1::2] - y[::2])
            moved += span / max(float(span.max()), 1e-30)
        plan.screened = tuple(names[i] for i in np.argsort(-moved, kind="stable"))
    return plan.screened


def values_of(plan: Plan, names: Sequence[str], u: Floats) -> dict[str, Floats]:
    """Inputs at points of the unit cube: triangular over each range, its mode at the value."""
    found = {}
    for name, column in zip(names, u.T, strict=True):
        q = plan.graph.nodes[name].quantity
        assert q is not None
        found[name] = triangular(q, column)
    return found


def _evaluate(job: tuple[tuple[str, ...], Floats]) -> tuple[dict[str, Floats], dict[str, Floats]]:
    assert _PLAN is not None
    return evaluate(_PLAN, job[0], job[1])


def evaluate(plan: Plan, names: tuple[str, ...], u: Floats) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """The headline and series at points of the unit cube."""
    values = plan.graph.evaluate(values_of(plan, names, u))
    n = len(u)
    scalars = {k: np.broadcast_to(values[k][:, 0], (n,)).copy() for k in headline(plan)}
    series = {k: np.broadcast_to(values[k], (n, plan.scenario.months)).astype(np.float64) for k in SERIES}
    return scalars, series


def map_samples(
    plan: Plan, names: tuple[str, ...], u: Floats, progress: Callable[[int], None], workers: int | None
) -> Iterator[tuple[dict[str, Floats], dict[str, Floats]]]:
    """`evaluate` over chunks, in order, by `workers` processes (by fork where there is such a thing)."""
    global _PLAN
    jobs = [(names, u[i : i + CHUNK]) for i in range(0, len(u), CHUNK)]
    count = min(workers or os.cpu_count() or 1, len(jobs))
    if count > 1 and "fork" in multiprocessing.get_all_start_methods():
        _PLAN = plan
        try:
            with ProcessPoolExecutor(count, mp_context=multiprocessing.get_context("fork")) as pool:
                for job, found in zip(jobs, pool.map(_evaluate, jobs), strict=True):
                    progress(len(job[1]))
                    yield found
        finally:
            _PLAN = None
    else:
        for job in jobs:
            yield evaluate(plan, *job)
            progress(len(job[1]))


def sample(
    plan: Plan,
    count: int,
    seed: int = 0,
    progress: Callable[[int], None] = lambda _: None,
    workers: int | None = None,
) -> Samples:
    """The plan at `count` points of Sobol's sequence over all uncertain inputs."""
    names = uncertain(plan)
    u = supercube(count, len(names), seed)
    parts = list(map_samples(plan, names, u, progress, workers))
    return Samples(
        names,
        u,
        {k: np.concatenate([p[0][k] for p in parts]) for k in parts[0][0]},
        {k: np.concatenate([p[1][k] for p in parts]) for k in parts[0][1]},
    )


def first_order(samples: Samples, output: str, bins: int | None = None) -> dict[str, float]:
    """First-order Sobol index of every input, from the samples as they are: the variance of the output's mean within
    equal bins of the input over all variance, less what chance alone would give (Plischke, Borgonovo and
    Smith, EJOR 226, 2013)."""
    y = samples.scalars[output]
    fine = np.isfinite(y)
    y, inputs = y[fine], samples.inputs[fine]
    n = len(y)
    if n < 32 or np.var(y) == 0:
        return dict.fromkeys(samples.names, 0.0)
    count = bins or max(4, int(n ** (1 / 3)))
    edges = np.linspace(0, n, count + 1).astype(int)
    centred = y - y.mean()
    total = float(np.mean(centred**2))
    found = {}
    for name, column in zip(samples.names, inputs.T, strict=True):
        ordered = centred[np.argsort(column, kind="stable")]
        means = np.array([ordered[a:b].mean() for a, b in pairwise(edges)])
        sizes = np.diff(edges)
        between = float(np.sum(sizes * means**2) / n)
        chance = (total - between) * (count - 1) / (n - count)
        found[name] = max((between - chance) / total, 0.0)
    return found


@dataclass(frozen=True)
class GroupIndex:
    """Of a group of inputs: the share of the variance it brings alone, and with all its interactions."""

    first: float
    total: float


def group_indices(
    plan: Plan,
    outputs: Sequence[str],
    base: int = 256,
    seed: int = 1,
    progress: Callable[[int], None] = lambda _: None,
    workers: int | None = None,
) -> dict[str, dict[str, GroupIndex]]:
    """Sobol indices of the groups, by output: Saltelli's first-order and Jansen's total estimators
    (Saltelli et al., Comput. Phys. Commun. 181, 2010) on base × (groups + 2) evaluations."""
    names = uncertain(plan)
    a, b = supercube(base, len(names), seed), supercube(base, len(names), seed + 1000)
    b = b[np.random.default_rng(seed).permutation(base)]
    groups = sorted({group_of(n) for n in names})
    mixed = []
    for g in groups:
        columns = np.array([group_of(n) == g for n in names])
        mixed.append(np.where(columns[None, :], b, a))
    parts = list(map_samples(plan, names, np.concatenate([a, b, *mixed]), progress, workers))
    found: dict[str, dict[str, GroupIndex]] = {}
    for output in outputs:
        y = np.concatenate([p[0][output] for p in parts]).reshape(len(groups) + 2, base)
        ya, yb = y[0], y[1]
        variance = float(np.var(np.concatenate([ya, yb])))
        if not np.isfinite(variance) or variance == 0:
            continue
        centre = float(np.concatenate([ya, yb]).mean())
        found[output] = {
            g: GroupIndex(
                float(np.mean((yb - centre) * (y[i + 2] - ya)) / variance),
                float(np.mean((ya - y[i + 2]) ** 2) / 2 / variance),
            )
            for i, g in enumerate(groups)
        }
    return found


def quantiles(values: Floats, levels: Sequence[float] = (0.05, 0.25, 0.5, 0.75, 0.95)) -> dict[str, float]:
    """Quantiles of the finite values."""
    fine = values[np.isfinite(values)]
    return {f"p{100 * q:g}": float(np.quantile(fine, q)) if len(fine) else float("nan") for q in levels}


def summary(samples: Samples, plan: Plan) -> dict[str, Any]:
    """Quantiles of the headline and how likely each good end is."""
    found: dict[str, Any] = {k: quantiles(v) for k, v in samples.scalars.items()}
    found["probability"] = {"npv > 0": float(np.mean(samples.scalars["npv"] > 0))} | {
        f"cheaper than {a}": float(np.mean(samples.scalars[f"versus.{a}.npv"] > 0))
        for a in plan.scenario.gpus
    }
    return found
