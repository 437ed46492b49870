"""Report of a design run: the chip, its die, its step and its roofline."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeout.chip.designs import Designs
from tapeout.chip.toml import to_toml
from tapeout.estimate.accelerators import catalog
from tapeout.estimate.chip_breakdown import Line, breakdown
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_work import ChipWork
from tapeout.report.charts import axis, lines, scatter, stacked_bars
from tapeout.report.die import die_picture
from tapeout.report.markup import Markup, tag
from tapeout.report.numbers import figures, percent, ranged, si
from tapeout.report.page import Page, chart_figure, fold, table
from tapeout.search.result import DesignResult, Range
from tapeout.workload.operators import Step
from tapeout.workload.parallelism import Parallelism

LIMITS = {
    "clock": "clock, against the pipelines at this node",
    "reticle": "die area, against the reticle",
    "edge": "long edge, against the reticle",
    "memory_beachfront": "edge for memory",
    "link_beachfront": "edge for links",
    "stack_capacity": "capacity of a stack",
    "interposer": "interposer",
    "power": "design power",
    "heat_flux": "heat flux",
}


def chip_section(page: Page, result: DesignResult) -> None:
    """Every parameter, the picture of the die, where area, power and money go."""
    c, s = result.chip, result.silicon
    m, pad = c.core.matrix, c.core.scratchpad
    arrays = DesignArrays.of(Designs.from_specs([c]))
    rows = [
        ("process node", c.node, ""),
        ("dies in the package", f"{c.dies} × {s.die_width_mm:.1f} × {s.die_height_mm:.1f} mm", c.package),
        ("clock", f"{c.clock_ghz:g} GHz", "cores and network on chip"),
        ("cores", f"{c.cores}", "on a mesh"),
        ("matrix engine of a core", f"{m.rows} × {m.columns} units of {m.lanes} lanes", _formats(m)),
        *(
            (f"peak, {f.upper()} weights", si(2 * _one(arrays.peak_macs(f)), "op/s"), "")
            for f in m.formats
        ),
        ("vector lanes of a core", f"{c.core.vector_lanes}", "FP32"),
        (
            "scratchpad of a core",
            f"{pad.kibibytes:,} KiB",
            f"{pad.banks} banks of {pad.word_bytes} bytes; {c.cores * pad.kibibytes / 1024:,.0f} MiB in all",
        ),
        ("memory port of a core", f"{c.core.port_bytes} B/cycle", f"{c.core.outstanding} requests in flight"),
        ("network on chip", f"{c.noc_bytes_per_cycle} B/cycle", "each mesh link and direction"),
        (
            "memory",
            f"{c.memory.stacks} × {c.memory.gibibytes_per_stack} GiB {c.memory.kind.upper()}",
            f"{c.memory.stacks * c.memory.gibibytes_per_stack} GiB, {si(_one(arrays.memory_bandwidth), 'B/s')}",
        ),
        (
            "scale-up links",
            f"{c.links.scale_up_lanes} × {c.links.gigabits_per_lane} Gb/s",
            f"{si(_one(arrays.scale_up_bandwidth), 'B/s')} each way, {c.links.scale_up_domain} chips one hop"
            " away",
        ),
        (
            "scale-out links",
            f"{c.links.scale_out_lanes} × {c.links.gigabits_per_lane} Gb/s",
            si(_one(arrays.scale_out_bandwidth), "B/s"),
        ),
        ("design power", _ranged(s.design_watts, "W"), "memory, links and regulators included"),
        ("cost of a good package", _ranged(s.unit_dollars, "$"), f"{s.die_yield:.0%} of dies good"),
    ]  # fmt: skip
    page.section(
        "The chip",
        tag(
            "figure",
            die_picture(c),
            tag(
                "figcaption",
                Markup("<b>To scale</b>: dies, the blocks on them, and the memory stacks beside them."),
            ),
        ),
        table(["", "", ""], rows),
        tag("h3", "Where area, power and money go"),
        chart_figure(
            "budget",
            [("", _budget(result))],
            height=230,
            caption="Shares of the die, of the design power, and of the cost of a good package.",
        ),
        table(
            ["limit", "needs", "has", "used"],
            [
                (
                    LIMITS.get(k, k.replace("_", " ")),
                    f"{figures(n)} {unit}",
                    f"{figures(h)} {unit}",
                    percent(n / h),
                )
                for k, (n, h, unit) in s.limits.items()
                if h
            ],
            numeric=[1, 2, 3],
            caption="What the package is held to.",
        ),
        fold("chip.toml", tag("pre", to_toml(c))),
        lead="Chosen for " + _objective(result) + ": every parameter from lane to package.",
        id="chip",
    )


def step_section(page: Page, result: DesignResult) -> None:
    """Where the time of a decoding step goes, operator by operator, and the roofline they sit under."""
    arrays = DesignArrays.of(Designs.from_specs([result.chip])).map(lambda x: np.reshape(x, ()))
    o = result.operation
    work = ChipWork.of(
        result.model,
        Step.decode(float(o.batch), result.scenario.decode_context),
        Parallelism(o.tp, o.ep, o.pp, o.attention_dp),
        result.formats,
        skew=result.scenario.zipf,
    )
    estimate, found = breakdown(arrays, work)
    intensity = _intensities(work)
    whole = float(np.ravel(np.asarray(estimate.seconds))[0])
    moved = sum(x.gigabytes for x in found) * 1e9
    used = moved / (_one(arrays.memory_bandwidth) * whole)
    rows = [
        (
            x.name,
            figures(x.seconds * 1e6),
            percent(x.share, 1),
            x.bound,
            percent(x.matrix_share, 1) if x.matrix_share else "",
            percent(x.memory_share, 1) if x.memory_share else "",
            si(x.gigabytes * 1e9, "B") if x.gigabytes else "",
            si(x.joules, "J"),
        )
        for x in sorted(found, key=lambda x: -x.seconds)
        if x.share > 0.002
    ]
    page.section(
        "Roofline and the decoding step",
        chart_figure(
            "roofline",
            [("", _roofline(result, arrays, found, intensity))],
            height=440,
            caption=Markup(
                "<b>Rooflines of the chip and of accelerators</b>, eight-bit arithmetic, at peak (lines),"
                " and the operators"
                " of a decoding step as the chip runs them (dots, larger where they take more of the step)."
                " MXFP4 weights"
                " may rise above the line, as they are multiplied at twice the rate."
            ),
        ),
        table(
            ["operator", "µs", "of the step", "waits for", "of matrix peak", "of memory peak", "bytes", "energy"],
            rows,
            numeric=[1, 2, 4, 5, 6, 7],
            caption=f"One decoding step of {o.batch:,} sequences on {o.chips} chips ({o.split}):"
            f" {si(whole, 's')} and"
            f" {si(_one(estimate.joules), 'J')} on each chip, {used:.0%} of memory bandwidth used.",
        ),
        lead="What the chip does in one decoding step at its operating point, as the estimate sees it.",
        id="step",
    )  # fmt: skip


def _intensities(work: Any) -> dict[str, tuple[float, float]]:
    """For each operator: operations and bytes of memory of one execution."""
    found = {}
    for s in work.stages:
        macs, moved = _one(s.macs), _one(s.stream_bytes) + _one(s.write_bytes)
        if macs > 0 and moved > 0:
            found[s.name] = (2 * macs * _one(s.repeats), moved * _one(s.repeats))
    return found


def _roofline(
    result: DesignResult, arrays: DesignArrays, found: list[Line], at: dict[str, tuple[float, float]]
) -> Any:
    def roof(peak: float, bandwidth: float) -> list[list[float]]:
        ridge = peak / bandwidth
        return [[x, min(peak, x * bandwidth)] for x in sorted({0.5, ridge, 20_000.0})]

    eight = "mxint8" if "mxint8" in result.chip.core.matrix.formats else "mxfp8"
    series: list[Any] = [
        (
            result.chip.name,
            roof(2 * _one(arrays.peak_macs(eight)), _one(arrays.memory_bandwidth)),
            {"colour": "accent", "width": 2.6, "points": 0},
        )
    ]
    for sheet in catalog().values():
        if sheet.key in ("h200", "b200", "mi355x", "tpu7x"):
            peaks = sheet.peaks
            peak = 2 * max(peaks.get("fp8", 0), peaks.get("int8", 0), peaks["bf16"])
            series.append(
                (sheet.name, roof(peak, sheet.need("memory.bandwidth", "GB/s") * 1e9), {"points": 0})
            )
    option = lines(
        series,
        axis("operations per byte of memory traffic", log=True, low=0.5, high=20_000),
        axis("operations per second", log=True, unit="OP/s", gap=62, low=1e12),
        tooltip=[("op/byte", 0, ""), ("op/s", 1, "OP/s")],
        right=150,
    )
    kept = [x for x in found if x.name in at and x.seconds > 0]
    dots = [[*_dot(at[x.name], x.seconds), x.share, x.name] for x in kept]
    cloud = scatter(
        [("operators", dots, {"colour": "r2", "opacity": 0.85, "z": 8})],
        {},
        {},
        tooltip=[("op/byte", 0, ""), ("op/s", 1, "OP/s"), ("share of step", 2, "")],
    )
    dot = cloud["series"][0]
    dot["data"] = [{"value": d, "symbolSize": 7 + 42 * x.share**0.5} for d, x in zip(dots, kept, strict=True)]
    dot["label"] = {
        "show": True,
        "formatter": {"$fn": "label", "args": [3]},
        "position": "right",
        "fontSize": 11,
    }
    dot["labelLayout"] = {"hideOverlap": True}
    dot["tooltip"] = cloud["tooltip"]
    option["series"].append(dot)
    return option


def _dot(at: tuple[float, float], seconds: float) -> tuple[float, float]:
    operations, moved = at
    return operations / moved, operations / seconds


def _budget(result: DesignResult) -> Any:
    s = result.silicon
    budgets = {"die": s.area, "design power": s.design_power, "cost": s.cost}
    names = {
        "die": {
            "matrix": "matrix", "accumulators": "matrix", "vector": "vector", "scratchpad": "scratchpad",
            "noc": "network on chip", "memory_phy": "memory", "serdes": "links", "die_to_die": "links",
        },
        "design power": {
            "matrix": "matrix", "vector": "vector", "scratchpad": "scratchpad", "noc": "network on chip",
            "memory": "memory", "links": "links", "leakage": "leakage, clock, regulators",
            "clock": "leakage, clock, regulators", "conversion": "leakage, clock, regulators",
        },
        "cost": {"dies": "dies", "memory": "memory", "packaging": "package", "substrate": "package"},
    }  # fmt: skip
    order = ("matrix", "vector", "scratchpad", "network on chip", "memory", "links", "dies", "package",
             "leakage, clock, regulators", "other")  # fmt: skip
    tints = {
        "matrix": "r1", "vector": "r2", "scratchpad": "r3", "network on chip": "r8", "memory": "r4", "links": "r5",
        "dies": "r1", "package": "r7", "leakage, clock, regulators": "r7", "other": "r6",
    }  # fmt: skip
    series = {name: [0.0] * len(budgets) for name in order}
    for i, (budget, parts) in enumerate(budgets.items()):
        whole = sum(parts.values())
        for part, value in parts.items():
            series[names[budget].get(part, "other")][i] += 100 * value / whole
    used = {k: v for k, v in series.items() if any(v)}
    option = stacked_bars(list(budgets), used, unit="%", name="per cent", colours=tints)
    option["xAxis"]["max"] = 100
    return option


def _formats(m: Any) -> str:
    return ", ".join(f.upper() for f in m.formats) + (
        "; MXFP4 at twice the rate" if m.double_rate_fp4 else ""
    )


def _objective(result: DesignResult) -> str:
    return {
        "tokens_per_joule": "tokens/s per watt",
        "tokens_per_dollar": "tokens per dollar of owning",
        "tokens_per_chip": "tokens/s per chip",
        "latency": "the least time per output token",
    }[result.objective]


def _ranged(r: Range, unit: str) -> Markup:
    return ranged(f"{figures(r.value)} {unit}", figures(r.low), f"{figures(r.high)} {unit}")


def _one(x: Any) -> float:
    return float(np.ravel(np.asarray(x))[0])
