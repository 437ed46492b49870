"""How sure the figures are: every uncertain input of the technology tables and of owning, drawn together; and
one at a time."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.designs import Designs
from tapeout.chip.spec import ChipSpec
from tapeout.estimate.chip import estimate_chips
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_work import ChipWork
from tapeout.model.architecture import Model
from tapeout.physical.area import area
from tapeout.physical.cost import unit_cost
from tapeout.physical.power import thermal_design_power
from tapeout.physical.views import View, shipped
from tapeout.search.judge import Work
from tapeout.search.operation import Operation
from tapeout.search.owning import Owning
from tapeout.search.points import Points
from tapeout.search.result import Influence, Range
from tapeout.search.scenario import Scenario
from tapeout.search.service import Service, serve
from tapeout.search.space import golden
from tapeout.workload.formats import Formats

SAMPLES = 512


def draws(samples: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """An even sequence in the unit cube, [samples, dimensions]."""
    step = (1.0 / golden(dimensions)) ** np.arange(1, dimensions + 1)
    shift = np.random.default_rng(np.random.SeedSequence([seed, 0xD1CE])).random(dimensions)
    return (shift + np.arange(1, samples + 1)[:, None] * step) % 1.0


def point_of(o: Operation) -> Points:
    """The one point of an operation."""
    one = [np.array([v], dtype=np.int64) for v in (o.tp, o.ep, o.pp, o.attention_dp, o.batch)]
    return Points(one[0], one[1], one[2], one[3], one[4])


def service_at(
    arrays: DesignArrays, decode: ChipWork, prefill: ChipWork, scenario: Scenario, o: Operation
) -> Service:
    """Service of designs at one operating point, in double precision."""
    d = estimate_chips(arrays, decode, dtype=np.float64)
    p = estimate_chips(arrays, prefill, dtype=np.float64)
    return serve(
        scenario, batch=o.batch, chips=o.chips, passes=o.pp, decode_s=d.seconds, decode_j=d.joules,
        prefill_s=p.seconds, prefill_j=p.joules, prompts=o.attention_dp,
    )  # fmt: skip


def ranges(
    model: Model,
    chip: ChipSpec,
    scenario: Scenario,
    formats: Formats,
    o: Operation,
    owning: Owning,
    seed: int,
) -> dict[str, Range]:
    """Each figure of operation `o` with its 5th, 50th and 95th percentile over the uncertain inputs."""
    names = shipped().uncertain
    knobs = [f for f in fields(owning)]
    u = draws(SAMPLES, len(names) + len(knobs), seed)
    work = Work.of(model, scenario, point_of(o), formats)

    def figures(view: View, own: list[Owning]) -> dict[str, NDArray[Any]]:
        d = Designs.from_specs([chip])
        a = area(d, view)
        s = service_at(DesignArrays.of(d, view), work.decode, work.prefill, scenario, o)
        unit = np.broadcast_to(np.ravel(unit_cost(d, view, a).total), len(own))
        watts = np.broadcast_to(np.ravel(thermal_design_power(d, view, a)), len(own))
        flat = {k: np.broadcast_to(np.ravel(np.asarray(v)), len(own)) for k, v in vars(s).items()}
        dollars = np.array(
            [
                x.dollars_per_hour(x.capital(c), t, w)
                for x, c, t, w in zip(own, unit, watts, flat["watts"], strict=True)
            ]
        )
        return {
            "tpot_ms": flat["tpot_s"] * 1e3,
            "ttft_ms": flat["ttft_s"] * 1e3,
            "tokens_per_s": flat["tokens_per_s"],
            "tokens_per_joule": 1 / flat["joules_per_token"],
            "tokens_per_dollar": flat["tokens_per_s"] * 3600 / dollars,
            "watts": flat["watts"],
            "dollars_per_hour": dollars,
            "die_mm2": np.broadcast_to(np.ravel(a.total), len(own)),
            "design_watts": watts,
            "unit_dollars": unit,
        }

    nominal = figures(shipped().nominal(), [owning])
    drawn = figures(shipped().sampled(u[:, : len(names)], names), owning_draws(owning, u[:, len(names) :]))
    found = {}
    for name, values in drawn.items():
        low, median, high = (float(v) for v in np.percentile(values, [5, 50, 95]))
        value = float(nominal[name][0])
        found[name] = Range(value, min(low, value), max(high, value), median)
    return found


def owning_draws(owning: Owning, u: NDArray[np.float64]) -> list[Owning]:
    """One Owning for each row of `u`, each assumption triangular between its ends with its mode at the value."""
    columns = {}
    for f, column in zip(fields(owning), u.T, strict=True):
        value = float(getattr(owning, f.name))
        low, high = min(f.metadata["low"], value), max(f.metadata["high"], value)
        peak = (value - low) / (high - low)
        columns[f.name] = np.where(
            column < peak,
            low + (high - low) * np.sqrt(column * peak),
            high - (high - low) * np.sqrt((1 - column) * (1 - peak)),
        )
    return [replace(owning, **{k: float(v[i]) for k, v in columns.items()}) for i in range(len(u))]


def influences(
    model: Model, chip: ChipSpec, scenario: Scenario, formats: Formats, o: Operation, most: int = 10
) -> tuple[Influence, ...]:
    """The uncertain inputs that move tokens per joule most, each at its ends with all others at their value."""
    t = shipped()
    names = t.uncertain
    values: dict[str, Any] = {name: q.value for name, q in t.items()}
    for i, name in enumerate(names):
        column = np.full((2 * len(names), 1), t[name].value)
        column[2 * i], column[2 * i + 1] = t[name].low, t[name].high
        values[name] = column
    work = Work.of(model, scenario, point_of(o), formats)
    arrays = DesignArrays.of(Designs.from_specs([chip]), View(t, values))
    s = service_at(arrays, work.decode, work.prefill, scenario, o)
    figure = np.ravel(1 / np.asarray(s.joules_per_token)).reshape(-1, 2)
    order = np.argsort(-np.abs(figure[:, 1] - figure[:, 0]), kind="stable")[:most]
    return tuple(
        Influence(
            names[i], t[names[i]].low, t[names[i]].high, t[names[i]].unit, t[names[i]].source,
            float(figure[i, 0]), float(figure[i, 1]),
        )
        for i in order
        if figure[i, 0] != figure[i, 1]
    )  # fmt: skip
