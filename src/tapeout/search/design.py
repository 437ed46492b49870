"""From a model to its chip: search, choose, look closely, compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.chip.designs import Designs
from tapeout.chip.spec import NODES, ChipSpec
from tapeout.errors import DoesNotHold, InputError
from tapeout.estimate.accelerators import accelerator, catalog
from tapeout.estimate.chip_work import chip_formats
from tapeout.estimate.fitted import fitted
from tapeout.model.architecture import Model
from tapeout.physical.area import area, outline
from tapeout.physical.cost import die_yield, unit_cost
from tapeout.physical.power import design_activity, power
from tapeout.physical.views import shipped
from tapeout.search.confirm import confirm
from tapeout.search.explore import EFFORTS, Exploration, Progress, explore
from tapeout.search.judge import HourlyCost, Work, service_of
from tapeout.search.operation import Operation, best_operation, frontier
from tapeout.search.owning import Owning
from tapeout.search.points import points
from tapeout.search.problem import Problem
from tapeout.search.reasons import reasons
from tapeout.search.result import Case, DesignResult, Range, Silicon, Step
from tapeout.search.rivals import Contender, Rival, Works
from tapeout.search.scenario import OBJECTIVES, Objective, Scenario
from tapeout.search.silicon import silicon_of
from tapeout.search.space import STACKS, Space
from tapeout.search.uncertainty import influences, ranges
from tapeout.workload.formats import Formats

SEARCH_CHIPS = 16  # of a replica, while searching; the chosen chip is looked at with more
LARGEST_REPLICA = 64
DEEPEST_REPLICA = 2304  # where a model fits no smaller one
FINE_BATCHES = tuple(sorted({round(2 ** (i / 2)) for i in range(25)}))
AGAINST = "h200"  # the accelerator that the reasons start from, if it can do the work

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What steers a design run.

    `nodes`, `memories`: those the search may use. `max_watts`: design power of a package, at most.
    `accelerators`: those compared, by name or TOML file; None: all that are shipped.
    """

    objective: Objective = "tokens_per_joule"
    scenario: Scenario = field(default_factory=Scenario)
    max_watts: float = 1000.0
    nodes: tuple[str, ...] = ("N3E",)
    memories: tuple[str, ...] = ("hbm3e", "hbm4")
    seed: int = 0
    effort: str = "normal"
    owning: Owning = field(default_factory=Owning)
    accelerators: tuple[str, ...] | None = None
    workers: int = 2
    ray: str | None = None

    def check(self, model: Model) -> None:
        """Raise InputError for what cannot be asked."""
        known = tuple(sorted({kind for kind, _ in STACKS}))
        _one_of("--objective", self.objective, OBJECTIVES)
        _one_of("--effort", self.effort, tuple(EFFORTS))
        for name in self.nodes:
            _one_of("--node", name, NODES)
        for name in self.memories:
            _one_of("--hbm", name, known)
        if not self.nodes or not self.memories:
            raise InputError("design", "nodes and memories", (self.nodes, self.memories), "at least one each")
        if not 1 <= self.max_watts <= 20_000:
            raise InputError("design", "--max-power", self.max_watts, "watts from 1 to 20000")
        if not 0 <= self.seed < 2**63:
            raise InputError("design", "--seed", self.seed, "an integer from 0 to 2^63 - 1")
        for key in self.accelerators or ():
            accelerator(key)
        if self.scenario.longest > model.context:
            raise InputError(
                "design",
                "context",
                self.scenario.longest,
                f"at most the {model.context} tokens of {model.name}",
            )


def _one_of(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise InputError("design", name, value, f"one of {', '.join(choices)}")


def fitting(model: Model) -> Scenario:
    """The scenario where none is given: the usual one, shortened for a model of shorter context."""
    usual = Scenario()
    if usual.longest <= model.context:
        return usual
    # The longest request is 17/16 of the mean context while decoding.
    return usual.with_context(max(1, model.context * 16 // 17))


def problem_of(model: Model, options: Options) -> Problem:
    """The search that `options` ask for."""
    scenario = options.scenario
    batches = (scenario.batch,) if scenario.batch else tuple(2**i for i in range(12))
    space = Space(
        node=tuple(n for n in NODES if n in options.nodes),
        stack=tuple(s for s in STACKS if s[0] in options.memories),
    )
    return Problem(
        model=model,
        scenario=scenario,
        space=space,
        points=points(model, largest=SEARCH_CHIPS, batches=batches),
        objective=options.objective,
        max_watts=options.max_watts,
        owning=options.owning,
        seed=options.seed,
    )


def design_chip(
    model: Model,
    options: Options | None = None,
    *,
    folder: Path | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> DesignResult:
    """Search for the chip that serves `model` best, and compare it with accelerators at the same work.

    Chunks of the search are kept in `folder` and found again. Raises InputError for bad options, DoesNotHold if
    no chip satisfies them, saying which limit binds and by how much.
    """
    options = options or Options()
    options.check(model)
    say = say or (lambda _: None)
    problem = problem_of(model, options)
    found = explore(
        problem,
        effort=EFFORTS[options.effort],
        folder=folder,
        workers=options.workers,
        ray=options.ray,
        progress=progress,
    )
    if found.chosen is None:
        raise DoesNotHold(no_chip(problem, found))
    spec = replace(problem.space.designs(found.indices[[found.chosen]]).spec(0), name=chip_name(model))
    say("comparing with accelerators")
    return examine(model, spec, options, found)


def chip_name(model: Model) -> str:
    """A name for the chip that is a legal one whatever the model is called."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "-" for c in model.name)
    return f"{kept.strip('._+-')[:56] or 'model'}-chip"


def no_chip(problem: Problem, found: Exploration) -> str:
    """Why no design does: the limit that the nearest one exceeds, and by how much."""
    t = found.table
    built = t["limit"] == ""
    if not built.any():
        i = int(np.argmin(t["excess"]))
        s = silicon_of(problem.space.designs(found.indices[[i]]), max_watts=problem.max_watts)
        k = int(s.ratios[:, 0].argmax())
        name = s.names[k].replace("_", " ")
        return (
            f"no chip can be built: the nearest design exceeds the limit of {name} by {s.ratios[k, 0]:.2f} times"
            f" (needs {s.needs[k, 0]:,.4g} {s.units[k]}, has {s.has[k, 0]:,.4g})"
        )
    if not t["fits"].any():
        largest = (t["stacks"] * t["gibibytes_per_stack"])[built].max()
        return (
            f"no chip can hold the model: {problem.model.name} is {problem.model.bytes / 2**30:,.1f} GiB and its"
            f" caches come to it; up to {problem.points.largest} chips of up to {largest} GiB each were tried"
        )
    i = int(np.argmin(np.where(t["fits"], t["excess"], np.inf)))
    target = problem.scenario
    tpot, ttft = float(t["tpot_ms"][i]), float(t["ttft_ms"][i])
    over = [
        (value / limit, f"{name} of {limit:g} ms: the nearest design reaches {value:.3g} ms")
        for name, value, limit in (("TPOT", tpot, target.tpot_ms), ("TTFT", ttft, target.ttft_ms))
        if limit is not None
    ]
    ratio, words = max(over)
    return f"no chip meets the {words}, {ratio:.2f} times the target"


def examine(model: Model, spec: ChipSpec, options: Options, found: Exploration) -> DesignResult:
    """Everything about one chip: its best operation, ranges, rivals, cases, reasons, and the cycle simulator's word."""
    scenario, objective = options.scenario, options.objective
    batches = (scenario.batch,) if scenario.batch else FINE_BATCHES
    pts = points(model, largest=LARGEST_REPLICA, batches=batches)
    designs = Designs.from_specs([spec])
    s = silicon_of(designs, max_watts=options.max_watts)
    hourly = hourly_of(options.owning, float(s.unit_dollars[0]), float(s.design_watts[0]))
    formats = chip_formats(model, spec)
    service, fits = service_of(s.arrays, Work.of(model, scenario, pts, formats), scenario, dtype=np.float64)
    operation = best_operation(service, fits, pts, scenario, objective, hourly)
    assert operation is not None, "the search found a point that holds the model"
    sure = ranges(model, spec, scenario, formats, operation, options.owning, options.seed)
    parameters = fitted()
    chosen = tuple(catalog()) if options.accelerators is None else options.accelerators
    works = Works(model)
    contenders = [Contender.of(accelerator(key), works, parameters) for key in chosen]
    rivals = tuple(c.rival(scenario, pts, objective) for c in contenders)
    # What keeps everything in SRAM needs hundreds of chips in a row.
    if any(r.operation is None for r in rivals):
        deep = points(model, largest=DEEPEST_REPLICA, batches=batches, pipeline=_stages(len(model.layers)))
        rivals = tuple(
            r if r.operation is not None else c.rival(scenario, deep, objective)
            for r, c in zip(rivals, contenders, strict=True)
        )
    start = starting_point(rivals)
    steps: tuple[Step, ...] = ()
    if start is not None:
        against = next(c for c in contenders if c.sheet.name == start.name)
        steps = reasons(model, spec, scenario, pts, against, hourly)
    return DesignResult(
        model=model,
        scenario=scenario,
        objective=objective,
        max_watts=options.max_watts,
        seed=options.seed,
        owning=options.owning,
        chip=spec,
        formats=formats,
        operation=operation,
        curve=tuple(frontier(service, fits, pts, hourly)),
        silicon=silicon_summary(spec, options.max_watts, sure),
        ranges=sure,
        influences=influences(model, spec, scenario, formats, operation),
        rivals=tuple(sorted(rivals, key=lambda r: _rank(r, objective))),
        cases=cases(model, spec, scenario, formats, hourly, contenders),
        reasons_from=start.name if steps and start else "",
        reasons=steps,
        confirmations=confirm(model, spec, scenario, formats, operation),
        exploration=found,
    )


def starting_point(rivals: Sequence[Rival]) -> Rival | None:
    """The accelerator that the reasons start from: AGAINST if it meets the targets, else the best that does."""
    able = [r for r in rivals if r.operation is not None and r.operation.meets]
    usual = [r for r in able if r.key == AGAINST]
    best = sorted(able, key=lambda r: -r.operation.tokens_per_joule if r.operation else 0.0)
    return next(iter(usual + best), None)


def _stages(layers: int) -> tuple[int, ...]:
    """Pipeline depths that leave no stage with more than one layer over the others, down to one layer each."""
    return tuple(sorted({-(-layers // per) for per in range(1, layers + 1)}))


def _rank(r: Rival, objective: Objective) -> tuple[bool, bool, float]:
    o = r.operation
    if o is None:
        return (True, True, 0.0)
    value = o.value(objective)
    return (False, not o.meets, -value if np.isfinite(value) else 0.0)


def hourly_of(owning: Owning, unit_dollars: float, design_watts: float) -> HourlyCost:
    """Dollars per hour of a chip of ours, by the watts it draws."""
    capital = owning.capital(unit_dollars)
    return lambda watts: np.asarray(owning.dollars_per_hour(capital, design_watts, watts))


def silicon_summary(spec: ChipSpec, max_watts: float, sure: dict[str, Range]) -> Silicon:
    """The chip as silicon, part by part."""
    view, d = shipped().nominal(), Designs.from_specs([spec])
    a = area(d, view)
    o = outline(d, view, a.total)
    s = silicon_of(d, max_watts=max_watts)

    def parts(x: Any) -> dict[str, float]:
        return {k: float(np.ravel(v)[0]) for k, v in x.parts().items()}

    return Silicon(
        die_mm2=sure["die_mm2"],
        die_width_mm=float(np.ravel(o.width)[0]),
        die_height_mm=float(np.ravel(o.height)[0]),
        area=parts(a),
        design_watts=sure["design_watts"],
        design_power=parts(power(d, design_activity(d, view), view)),
        unit_dollars=sure["unit_dollars"],
        cost=parts(unit_cost(d, view, a)),
        die_yield=float(np.ravel(die_yield(d, view, a.total))[0]),
        limits={
            name: (float(s.needs[i, 0]), float(s.has[i, 0]), s.units[i]) for i, name in enumerate(s.names)
        },
    )


def cases(
    model: Model,
    spec: ChipSpec,
    scenario: Scenario,
    formats: Formats,
    hourly: HourlyCost,
    contenders: Sequence[Contender],
) -> tuple[Case, ...]:
    """Every batch × context of the scenario, each chip at the split that gives most tokens per joule there."""
    arrays = silicon_of(Designs.from_specs([spec]), max_watts=np.inf).arrays
    found = []
    for context in scenario.contexts:
        if context > model.context:
            continue
        free = replace(scenario.with_context(context), tpot_ms=None, ttft_ms=None)
        for batch in scenario.batches:
            pts = points(model, largest=LARGEST_REPLICA, batches=(batch,))
            service, fits = service_of(arrays, Work.of(model, free, pts, formats), free, dtype=np.float64)
            ours = best_operation(service, fits, pts, free, "tokens_per_joule", hourly)
            row: dict[str, Operation | None] = {spec.name: ours}
            for c in contenders:
                row[c.sheet.name] = c.best(free, pts, "tokens_per_joule")[0]
            found.append(Case(context, batch, row))
    return tuple(found)
