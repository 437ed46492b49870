"""Why the chip is better or worse than an accelerator: one change at a time, each with the best point anew.

The way starts at the accelerator as calibrated on measurements and ends at the chip. After each change the best
operating point within the same targets is sought again, so every figure on the way is one a reader can
recompute, and the factors multiply to the ratio of the ends exactly.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapeout.chip.designs import Designs
from tapeout.chip.spec import NODES, ChipSpec, MatrixFormat, Memory
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_work import chip_formats
from tapeout.estimate.machine import Machine, Overheads, Sustained
from tapeout.model.architecture import Model
from tapeout.search.judge import HourlyCost, Work, service_of
from tapeout.search.operation import Operation, best_operation
from tapeout.search.points import Points
from tapeout.search.result import Step
from tapeout.search.rivals import Contender, best_rival_operation
from tapeout.search.scenario import Scenario
from tapeout.workload.formats import Formats

# Formats of ours that an accelerator's correspond to, when our engines do its work.
_OURS = {"fp8": "mxfp8", "int8": "mxint8", "fp8_block128": "mxfp8", "nvfp4": "mxfp4"}
_ROLES = ("lm_head", "attention", "router", "experts", "shared_expert", "dense", "activation", "cache")


@dataclass(frozen=True)
class _Stage:
    change: str
    why: str
    family: str
    operation: Operation


def reasons(
    model: Model,
    spec: ChipSpec,
    scenario: Scenario,
    pts: Points,
    against: Contender,
    hourly: HourlyCost,
) -> tuple[Step, ...]:
    """The steps from `against` to the chip; empty if some step on the way cannot hold the model or meet the
    targets, as then there is nothing to compare."""
    stages: list[_Stage] = []
    for stage in _stages(model, spec, scenario, pts, against, hourly):
        if stage is None:
            return ()
        stages.append(stage)
    found: list[Step] = []
    before = stages[0].operation.tokens_per_joule
    for s in stages:
        o = s.operation
        point = f"{o.chips} chip{'s' if o.chips > 1 else ''}, batch {o.batch}, TPOT {o.tpot_ms:.3g} ms, {o.watts:.0f} W"
        found.append(Step(s.change, s.why, o.tokens_per_joule, o.tokens_per_joule / before, point, s.family))
        before = o.tokens_per_joule
    return tuple(found)


def _stages(
    model: Model, spec: ChipSpec, scenario: Scenario, pts: Points, against: Contender, hourly: HourlyCost
) -> Iterator[_Stage | None]:
    m, name = against.machine, against.sheet.name

    forms = against.formats

    def rival(machine: Machine, change: str, why: str, family: str) -> _Stage | None:
        o, _, _ = best_rival_operation(
            machine, against.works, scenario, pts, "tokens_per_joule", against.hourly, forms
        )
        return _Stage(change, why, family, o) if o is not None and o.meets else None

    def ours(arrays: DesignArrays, formats: Formats, change: str, why: str, family: str) -> _Stage | None:
        service, fits = service_of(arrays, Work.of(model, scenario, pts, formats), scenario, dtype=np.float64)
        o = best_operation(service, fits, pts, scenario, "tokens_per_joule", hourly)
        return _Stage(change, why, family, o) if o is not None and o.meets else None

    yield rival(m, name, "calibrated on published serving and kernel measurements", "start")
    m = m.replaced(overheads=Overheads())
    yield rival(
        m,
        "without software overheads",
        "no host time per step, no kernel launches, no time to begin a collective",
        "software",
    )
    d = Designs.from_specs([spec])
    own = DesignArrays.of(d)
    sustained = _one(own.memory_sustained)
    m = m.replaced(
        sustained=Sustained(memory=sustained, expert_memory=sustained, cache_memory=sustained),
        # What was fitted holds the throttling of real kernels; fuller ones must be held to the limit here.
        power=replace(m.power, limit_w=against.sheet.tdp_watts),
    )
    yield rival(
        m,
        "kernels that reach its peaks",
        f"matrix engines full, {sustained:.0%} of memory bandwidth, loads hidden behind arithmetic, as far as its"
        f" {against.sheet.tdp_watts:.0f} W allow",
        "utilisation",
    )
    _, chosen, _ = against.best(scenario, pts, "tokens_per_joule")
    there = against.formats[chosen]
    eight = next((c for c in ("fp8", "int8") if c in m.peak_macs), "bf16")
    if eight != "bf16":
        narrow = {k: replace(f, activation=eight) for k, f in forms.items()}
        wide = sorted({x for role in _ROLES if m.arithmetic_of(x := getattr(there, role)) == "bf16"})
        m, forms = m.replaced(arithmetic={**m.arithmetic, **dict.fromkeys(wide, eight)}), narrow
        yield rival(
            m,
            "products in eight bits throughout",
            f"{', '.join((*(x.upper() for x in wide), 'attention'))} were multiplied in BF16, at half the rate and"
            " twice the energy; weights keep their bytes",
            "formats",
        )
    like, arrays = _alike(spec, against, there)
    form = _converted(model, like, there)
    idle, running = _one(arrays.idle_watts), _one(m.power.idle_w + m.power.active_w)
    m = m.replaced(power=replace(m.power, idle_w=idle, active_w=0.0, cap_w=np.inf))
    yield rival(
        m,
        "our power at rest",
        f"{idle:.0f} W for memory, links, leakage and clock at {like.node}, against {running:.0f} W that it draws"
        " whenever it runs: no caches to look up, no threads to schedule, cores that wait are gated",
        "power",
    )
    ours_pj = {c: _one(arrays.joules_per_mac[f]) * 1e12 for c, f in _CLASSES if f in arrays.joules_per_mac}
    theirs_pj = m.power.mac_pj
    m = m.replaced(power=replace(m.power, mac_pj={c: ours_pj.get(c, x) for c, x in theirs_pj.items()}))
    yield rival(
        m,
        "our energy per multiply-accumulate",
        f"{ours_pj.get(eight, theirs_pj[eight]):.2g} pJ in {eight.upper()} at {like.node}, against"
        f" {theirs_pj[eight]:.2g} with register file and operand delivery",
        "power",
    )
    byte = _one(
        arrays.joules_per_memory_byte + arrays.joules_per_noc_byte + arrays.joules_per_scratchpad_byte
    )
    yield ours(
        arrays,
        form,
        "our cores, with the same peaks, memory and links",
        f"tiles, pipelines and exchanges as they are; a byte from memory to the multipliers takes"
        f" {byte * 1e12:.2g} pJ, against {_one(m.power.memory_pj_per_byte):.2g}",
        "architecture",
    )
    form = chip_formats(model, spec)
    like = replace(like, core=replace(like.core, matrix=spec.core.matrix))
    arrays = _with_rival_memory(like, against)
    double = spec.core.matrix.double_rate_fp4 and "mxfp4" in spec.core.matrix.formats
    yield ours(
        arrays,
        form,
        f"our formats: {_words(form)}",
        ("MXFP4 weights at twice the rate of eight bits; " if double else "")
        + "activations and cache in eight bits, one scale for 32",
        "formats",
    )
    like = replace(like, cores=spec.cores, dies=spec.dies)
    arrays = _with_rival_memory(like, against)
    yield ours(
        arrays,
        form,
        f"our number of cores: {spec.cores}",
        f"{_peak(arrays, 'mxint8' if 'mxint8' in spec.core.matrix.formats else 'mxfp8'):.3g} PMAC/s in eight bits"
        f" at peak, against {_rival_peak(against.machine):.3g}",
        "compute",
    )
    changed = replace(like, memory=spec.memory)
    fresh = DesignArrays.of(Designs.from_specs([changed]))
    arrays = replace(
        fresh,
        scale_up_bandwidth=arrays.scale_up_bandwidth,
        scale_out_bandwidth=arrays.scale_out_bandwidth,
        scale_up_domain=arrays.scale_up_domain,
    )
    mem = spec.memory
    yield ours(
        arrays,
        form,
        f"our memory: {mem.stacks} × {mem.gibibytes_per_stack} GiB {mem.kind.upper()}",
        f"{_one(fresh.memory_bandwidth) / 1e12:.3g} TB/s and {mem.stacks * mem.gibibytes_per_stack} GiB,"
        f" against {_one(against.machine.memory_bandwidth) / 1e12:.3g} TB/s and"
        f" {_one(against.machine.memory_capacity) / 2**30:.0f} GiB;"
        f" {_one(fresh.joules_per_memory_byte) / 8e-12:.2g} pJ a bit",
        "memory",
    )
    yield ours(
        fresh,
        form,
        f"our links: {spec.links.scale_up_lanes} × {spec.links.gigabits_per_lane}G,"
        f" {spec.links.scale_up_domain} chips one hop away",
        f"{_one(fresh.scale_up_bandwidth) / 1e9:.0f} GB/s, against"
        f" {_one(against.machine.scale_up.bandwidth) / 1e9:.0f} among"
        f" {_one(against.machine.scale_up.domain):.0f}",
        "links",
    )
    yield ours(
        own,
        form,
        f"our node: {spec.node}",
        f"energy per operation of {spec.node} against {like.node}",
        "node",
    )


def _alike(spec: ChipSpec, against: Contender, there: Formats) -> tuple[ChipSpec, DesignArrays]:
    """A chip of our cores with the accelerator's node, peaks, memory and links."""
    node = against.sheet.node if against.sheet.node in NODES else "N5"
    eight: MatrixFormat = "mxint8" if there.activation == "int8" or there.attention == "int8" else "mxfp8"
    wide = "bf16" in {getattr(there, role) for role in ("attention", "experts", "dense", "lm_head")}
    engine = replace(
        spec.core.matrix,
        formats=("mxfp4", eight, "bf16") if wide else ("mxfp4", eight),
        double_rate_fp4=bool("fp4" in against.machine.peak_macs),
    )
    one = engine.rows * engine.columns * engine.lanes * spec.clock_ghz * 1e9
    cores = max(1, round(_rival_peak(against.machine) * 1e15 / one))
    like = replace(
        spec,
        node=node,
        cores=cores,
        dies=1,
        core=replace(spec.core, matrix=engine),
        memory=Memory("hbm3e", 6, 24),
    )
    return like, _with_rival_memory(like, against)


def _with_rival_memory(like: ChipSpec, against: Contender) -> DesignArrays:
    m = against.machine
    arrays = DesignArrays.of(Designs.from_specs([like]))

    def flat(value: Any) -> Any:
        return np.reshape(np.asarray(value, dtype=float), (1, 1))

    return replace(
        arrays,
        memory_bandwidth=flat(m.memory_bandwidth),
        memory_capacity=flat(m.memory_capacity),
        scale_up_bandwidth=flat(m.scale_up.bandwidth),
        scale_out_bandwidth=flat(m.scale_out.bandwidth),
        scale_up_domain=flat(m.scale_up.domain),
    )


def _converted(model: Model, like: ChipSpec, there: Formats) -> Formats:
    """The accelerator's formats in ours."""
    engine = like.core.matrix.formats
    base = chip_formats(model, like)
    changed: dict[str, Any] = {}
    for role in _ROLES:
        f = _OURS.get(getattr(there, role), getattr(there, role))
        if f in engine:
            changed[role] = f
    changed["activation"] = next(f for f in engine if f.endswith("8"))
    return replace(base, **changed)


_CLASSES = (("fp4", "mxfp4"), ("fp8", "mxfp8"), ("int8", "mxint8"), ("bf16", "bf16"))


def _one(x: Any) -> float:
    return float(np.ravel(np.asarray(x))[0])


def _words(f: Formats) -> str:
    roles = [("experts", f.experts), ("attention", f.attention), ("activations", f.activation)]
    return ", ".join(f"{role} {form.upper()}" for role, form in roles)


def _peak(arrays: DesignArrays, format: str) -> float:
    return float(np.ravel(np.asarray(arrays.peak_macs(format)))[0]) / 1e15


def _rival_peak(m: Machine) -> float:
    """Dense PMAC/s in eight bits; twice the BF16 rate where there is no eight-bit arithmetic."""
    for name, factor in (("fp8", 1.0), ("int8", 1.0), ("bf16", 2.0)):
        if name in m.peak_macs:
            return float(np.asarray(m.peak_macs[name])) * factor / 1e15
    return float("nan")
