"""Accelerators one can buy, at the same work: each in the best formats it supports, at its own best point."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.accelerators import Accelerator, machine
from tapeout.estimate.engines import engine
from tapeout.estimate.machine import Machine
from tapeout.estimate.parameters import Parameters
from tapeout.estimate.serving_point import MEMORY_SHARE
from tapeout.estimate.step import estimate_step
from tapeout.model.architecture import Model
from tapeout.search.judge import HourlyCost
from tapeout.search.operation import Operation, best_operation, frontier
from tapeout.search.points import Points
from tapeout.search.scenario import Objective, Scenario
from tapeout.search.service import Service, serve
from tapeout.workload.build import operators
from tapeout.workload.capacity import cache_bytes, weight_bytes
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Operator, Step

_ROLES = ("lm_head", "attention", "experts", "shared_expert", "dense")


def rival_formats(model: Model, machine: Machine) -> dict[str, Formats]:
    """The formats worth running `model` in on `machine`: as published, and with what is BF16 there in eight bits
    where the machine has eight-bit arithmetic. The cache is in eight bits where the machine has FP8 or INT8."""
    eight = "fp8" if "fp8" in machine.peak_macs else "int8" if "int8" in machine.peak_macs else ""
    stored = Formats.stored(model, activation="bf16", cache=eight or "bf16")
    found = {"as published": stored}
    if eight:
        dense: dict[str, Any] = {r: eight for r in _ROLES if getattr(stored, r) == "bf16"}
        if dense:
            found[f"BF16 weights in {eight.upper()}"] = replace(stored, **dense)
    return found


@dataclass(frozen=True, eq=False)
class Prepared:
    """The work of a model at some points in some formats, whatever machine does it. Points [P], splits [S]."""

    points: Points
    decode: tuple[Operator, ...]  # [P]
    prefill: tuple[Operator, ...]  # [S]: one mean prompt on every rank
    held_bytes: NDArray[Any]  # [P]
    possible: NDArray[np.bool_]  # [P]


class Works:
    """Prepares work and keeps it, as many machines do the same."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self._kept: dict[tuple[int, Scenario, Formats], Prepared] = {}

    def get(self, scenario: Scenario, points: Points, formats: Formats) -> Prepared:
        """The work of `scenario` at `points`."""
        key = (id(points), scenario, formats)  # the kept work keeps the points, so their id stays theirs
        if key not in self._kept:
            if len(self._kept) >= 64:
                self._kept.clear()
            self._kept[key] = self._prepare(scenario, points, formats)
        return self._kept[key]

    def _prepare(self, scenario: Scenario, points: Points, formats: Formats) -> Prepared:
        model, splits, each = self.model, points.splits(), len(points.batches)
        grid, batch = points.grid()
        ranks = np.asarray(splits.attention_dp)
        step = Step.prefill(ranks.astype(float), scenario.fresh_tokens, scenario.cached_tokens)
        sequences = Step.decode(batch.astype(float), scenario.decode_context)
        deep, wide = np.asarray(grid.pp), np.asarray(grid.attention_dp)
        one = np.asarray(cache_bytes(model, scenario.decode_context + 1, splits, formats))
        weights = np.broadcast_to(np.asarray(weight_bytes(model, splits, formats)), len(ranks))
        resident = np.ceil(batch * deep / wide) * np.repeat(np.broadcast_to(one, len(ranks)), each)
        return Prepared(
            points,
            operators(model, sequences, grid, formats, skew=scenario.zipf),
            operators(model, step, splits, formats, skew=scenario.zipf),
            np.repeat(weights, each) + resident,
            (batch >= wide) & np.repeat(splits.valid(model), each),
        )


def machine_service(
    machine: Machine, scenario: Scenario, work: Prepared
) -> tuple[Service, NDArray[np.bool_]]:
    """Service of one machine at all P points, arrays [P], and where the model fits.

    Measured speeds were reached within the vendor's power, so energies are held to `power.cap_w`."""
    points, most = work.points, machine.power.cap_w
    grid, batch = points.grid()
    count = len(points)
    d = estimate_step(machine, work.decode, batch / np.asarray(grid.attention_dp))
    p = estimate_step(machine, work.prefill, 1.0, eager=True)

    def at_points(values: Any) -> NDArray[Any]:
        return np.repeat(np.broadcast_to(np.asarray(values), len(points.tp)), len(points.batches))

    service = serve(
        scenario,
        batch=batch,
        chips=grid.chips,
        passes=grid.pp,
        decode_s=np.broadcast_to(d.time_s, count),
        decode_j=np.broadcast_to(np.minimum(d.energy_j, most * d.time_s), count),
        prefill_s=at_points(p.time_s),
        prefill_j=at_points(np.minimum(p.energy_j, most * p.time_s)),
        prompts=np.asarray(grid.attention_dp),
    )
    fits = (work.held_bytes <= float(np.asarray(machine.memory_capacity)) * MEMORY_SHARE) & work.possible
    return service, fits


@dataclass(frozen=True)
class Rival:
    """An accelerator's best at the work; `operation` is None where the model does not fit at any split.

    `formats`: those it does best in. `curve`: its best points by time per output token. `hourly_source`: where
    its dollars per hour come from; empty where none are published, and then `tokens_per_dollar` is NaN.
    """

    key: str
    name: str
    vendor: str
    node: str
    design_watts: float
    hourly_source: str
    formats: str
    operation: Operation | None
    curve: tuple[Operation, ...]


@dataclass(frozen=True, eq=False)
class Contender:
    """An accelerator ready to be estimated: its machine and what an hour of it costs."""

    sheet: Accelerator
    machine: Machine
    hourly: HourlyCost
    hourly_source: str
    works: Works
    formats: dict[str, Formats]

    @staticmethod
    def of(sheet: Accelerator, works: Works, parameters: Parameters) -> Contender:
        """`sheet` with the best engine there is, under the calibrated `parameters`."""
        m = machine(sheet, parameters, engine(ENGINE, parameters))
        own = sheet.quantities.get("cost.own")
        dollars = own.value if own is not None else np.nan
        return Contender(
            sheet,
            m,
            lambda watts: np.full(np.shape(watts), dollars),
            own.source if own is not None else "",
            works,
            rival_formats(works.model, m),
        )

    def best(
        self, scenario: Scenario, points: Points, objective: Objective
    ) -> tuple[Operation | None, str, tuple[Operation, ...]]:
        """The best operation over the formats, which formats those are, and the curve in them."""
        return best_rival_operation(
            self.machine, self.works, scenario, points, objective, self.hourly, self.formats
        )

    def rival(self, scenario: Scenario, points: Points, objective: Objective) -> Rival:
        """The accelerator at its best."""
        operation, formats, curve = self.best(scenario, points, objective)
        return Rival(
            self.sheet.key,
            self.sheet.name,
            self.sheet.vendor,
            self.sheet.node,
            self.sheet.tdp_watts,
            self.hourly_source,
            formats,
            operation,
            curve,
        )


ENGINE = "vllm-async"  # the engine whose host costs least a step


def best_rival_operation(
    machine: Machine,
    works: Works,
    scenario: Scenario,
    points: Points,
    objective: Objective,
    hourly: HourlyCost,
    choices: dict[str, Formats],
) -> tuple[Operation | None, str, tuple[Operation, ...]]:
    """The best operation over `choices` of formats, which of them it is, and the curve in it."""
    best: tuple[Operation | None, str, tuple[Operation, ...]] = (None, "as published", ())
    if objective == "tokens_per_dollar" and not np.isfinite(hourly(np.ones((1, 1)))).all():
        objective = "tokens_per_chip"  # the same order, where an hour's price does not depend on the work
    for name, formats in choices.items():
        service, fits = machine_service(machine, scenario, works.get(scenario, points, formats))
        found = best_operation(service, fits, points, scenario, objective, hourly)
        if found is not None and _better(found, best[0], objective):
            best = (found, name, tuple(frontier(service, fits, points, hourly)))
    return best


def _better(a: Operation, b: Operation | None, objective: Objective) -> bool:
    if b is None or a.meets != b.meets:
        return b is None or a.meets
    if not a.meets:
        return max(a.tpot_ms, a.ttft_ms) < max(b.tpot_ms, b.ttft_ms)
    return a.value(objective) > b.value(objective)
