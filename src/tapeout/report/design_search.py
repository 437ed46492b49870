"""Report of a design run: what was searched, the front, how sure the figures are and where they come from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from tapeout.physical.origins import AREA, POWER, basis
from tapeout.physical.views import shipped
from tapeout.report.charts import axis, parallel, scatter, whiskers
from tapeout.report.design_chip import LIMITS
from tapeout.report.design_compare import rival_ranges
from tapeout.report.markup import Markup, tag
from tapeout.report.numbers import figures, percent
from tapeout.report.page import Page, badge, callout, chart_figure, fold, table
from tapeout.search.result import DesignResult

CLOUD = 4000  # designs drawn; the front is drawn whole
AXES: tuple[tuple[str, str, bool], ...] = (
    ("cores", "cores", True), ("rows", "rows", True), ("columns", "columns", True), ("clock_ghz", "clock\nGHz", False),
    ("vector_lanes", "vector\nlanes", True), ("scratchpad_kibibytes", "scratchpad\nKiB", True),
    ("stacks", "stacks", False),
    ("die_mm2", "die\nmm²", False), ("design_watts", "power\nW", False), ("unit_dollars", "cost\n$", False),
    ("tokens_per_s", "tokens/s\nper chip", True), ("tokens_per_joule", "tokens/s\nper watt", False),
    ("least_tpot_ms", "least TPOT\nms", True),
)  # fmt: skip
VIEWS = (
    ("tokens per dollar and per watt", "tokens_per_dollar", "tokens_per_joule"),
    ("tokens per chip and per watt", "tokens_per_s", "tokens_per_joule"),
    ("least TPOT and tokens per watt", "least_tpot_ms", "tokens_per_joule"),
    ("die and tokens per chip", "die_mm2", "tokens_per_s"),
    ("power and tokens per chip", "design_watts", "tokens_per_s"),
)
WORDS = {
    "tokens_per_joule": "tokens/s per watt", "tokens_per_dollar": "tokens per dollar",
    "tokens_per_s": "tokens/s per chip",
    "least_tpot_ms": "least time per output token, ms", "die_mm2": "die, mm²", "design_watts": "design power, W",
}  # fmt: skip


def search_section(page: Page, result: DesignResult) -> None:
    """The designs as clouds and as parallel coordinates, and what rejected the others."""
    e = result.exploration
    t = e.table
    good = np.flatnonzero(t["meets"])
    front = np.flatnonzero(t["on_front"])
    some = good[:: max(1, len(good) // CLOUD)]
    chosen = [e.chosen] if e.chosen is not None else []
    counts = Counter(str(x) for x in t["limit"] if x)
    lost = [(f"{LIMITS.get(k, k)}: cannot be built", v) for k, v in counts.most_common()]
    built = t["limit"] == ""
    lost.append(("the model does not fit, or formats are missing", int((built & ~t["fits"]).sum())))
    lost.append(("misses a latency target", int((t["fits"] & ~t["meets"]).sum())))
    rows = t["die_mm2"].shape[0]

    def cloud(x: str, y: str) -> dict[str, Any]:
        tip = [(WORDS[x], 0, ""), (WORDS[y], 1, ""), ("cores", 2, ""), ("stacks", 3, ""), ("W", 4, "")]

        def points(index: Any) -> list[list[float]]:
            columns = [np.asarray(t[c], float)[index] for c in (x, y, "cores", "stacks", "design_watts")]
            return [list(map(float, row)) for row in np.stack(columns, axis=1)]

        series: list[Any] = [
            (
                f"{len(some):,} of {len(good):,} that meet every limit",
                points(some),
                {"size": 3.5, "opacity": 0.35},
            ),
            (f"on the front ({len(front)})", points(front), {"colour": "r2", "size": 7, "z": 4}),
            (
                "chosen",
                points(chosen),
                {"colour": "accent", "size": 15, "z": 6, "label": "chosen", "symbol": "diamond"},
            ),
        ]
        log = {"tokens_per_dollar", "tokens_per_s", "least_tpot_ms"}
        across = axis(WORDS[x], log=x in log, scale=True)
        return scatter(series, across, axis(WORDS[y], log=y in log, gap=42, scale=True), tooltip=tip)  # fmt: skip

    def coordinates(index: Any) -> list[list[float]]:
        columns = [np.asarray(t[c], float)[index] for c, _, _ in AXES]
        return [list(map(float, row)) for row in np.stack(columns, axis=1)] if len(index) else []

    axes: list[Any] = [
        (name, {"type": "log", "logBase": 2} if log else {"scale": True}) for _, name, log in AXES
    ]
    page.section(
        "The search",
        chart_figure(
            "cloud",
            [(name, cloud(x, y)) for name, x, y in VIEWS],
            label="show",
            height=440,
            canvas=True,
            caption=Markup(
                "<b>Designs that meet every limit and target</b>, each at its best operating point. The"
                " front is exact over"
                " four objectives together (tokens/s per watt, per dollar, per chip, least time per token),"
                " so in two"
                " of them some of its members seem beaten."
            ),
        ),
        chart_figure(
            "parallel",
            [("", parallel(axes, [
                ("front", coordinates(front), "r2", 0.35),
                ("chosen", coordinates(np.array(chosen, dtype=int)), "accent", 1.0),
            ]))],
            height=400,
            caption=Markup("<b>The front, knob by knob.</b> Drag along an axis to keep a part of it; click to let go."),
        ),
        table(
            ["what became of the designs", "designs", "share"],
            [(k, f"{v:,}", percent(v / rows, 1)) for k, v in lost if v]
            + [("meets every limit and target", f"{len(good):,}", percent(len(good) / rows, 1))],
            numeric=[1, 2],
        ),
        lead=f"{rows:,} designs at {e.evaluations // max(rows, 1)} operating points each, {e.evaluations:,}"
        " evaluations: an"
        f" even sample of the space, then rounds of refinement around the front. Seed {result.seed}; all of"
        " them are in"
        " results.parquet.",
        id="search",
    )  # fmt: skip


def certainty_section(page: Page, result: DesignResult) -> None:
    """Ranges of the figures, what moves them, the assumptions about owning."""
    shown = (
        ("tokens/s per watt", "tokens_per_joule", 1.0), ("tokens/s per chip", "tokens_per_s", 1.0),
        ("million tokens per dollar", "tokens_per_dollar", 1e-6), ("watts per chip at work", "watts", 1.0),
        ("design power, W", "design_watts", 1.0), ("die, mm²", "die_mm2", 1.0),
        ("cost of a package, $", "unit_dollars", 1.0),
        ("dollars per chip-hour", "dollars_per_hour", 1.0),
    )  # fmt: skip
    relative = [
        (label, r.low / r.value, 1.0, r.high / r.value, "accent")
        for label, key, _ in shown
        if (r := result.ranges[key]).value
    ]
    base = result.operation.tokens_per_joule
    page.section(
        "How sure",
        chart_figure(
            "ranges",
            [("", whiskers(relative, name="relative to the figure reported"))],
            height=300,
            caption=Markup(
                "<b>Nine in ten draws lie within.</b> Every uncertain quantity of the technology tables and"
                " of owning is drawn"
                " together, each from a triangle over its range. The operating point stays."
            ),
        ),
        table(
            ["figure", "reported", "low", "high"],
            [
                (label, figures(r.value * k), figures(r.low * k), figures(r.high * k))
                for label, key, k in shown
                for r in [result.ranges[key]]
            ],
            numeric=[1, 2, 3],
        ),
        _low_end(result),
        tag("h3", "What moves tokens per joule most"),
        table(
            ["quantity", "its range", "tokens/s/W at its ends", "change", "source"],
            [
                (
                    i.quantity,
                    f"{figures(i.low_input)} – {figures(i.high_input)} {'' if i.unit == '1' else i.unit}",
                    f"{figures(i.at_low)} – {figures(i.at_high)}",
                    f"{(i.at_low / base - 1) * 100:+.0f} / {(i.at_high / base - 1) * 100:+.0f} %",
                    i.source,
                )
                for i in result.influences
            ],
            numeric=[1, 2, 3],
        ),
        tag("h3", "Owning a chip"),
        table(
            ["assumption", "value", "range", "unit", "source"],
            [
                (name.replace("_", " "), figures(value), f"{figures(low)} – {figures(high)}", unit, source)
                for name, value, low, high, unit, source, _ in result.owning.rows()
            ],
            numeric=[1, 2],
            caption="Accelerators: published totals of owning at hyperscale, by the hour, which hold the"
            " same kinds of cost.",
        ),
        lead="Inputs disagree, so figures have ranges. The estimate's own error against the cycle simulator"
        " and against"
        " measurements is reported apart, by tapeout validate.",
        id="certainty",
    )


def _low_end(result: DesignResult) -> Markup:
    """What is left of the advantage at the low end of the range."""
    r = result.ranges["tokens_per_joule"]
    left = [
        f"{r.low / rival.operation.tokens_per_joule:.2f}× those of {rival.name}"
        f" ({r.low / rival_ranges(rival.operation)['tokens_per_joule'].high:.2f}× at the high end of its own range)"
        for rival in result.rivals
        if rival.operation is not None and rival.operation.meets and rival.key in ("h200", "b200", "tpu7x")
    ]
    words = [
        f"At the low end of its range the chip delivers {figures(r.low)} tokens/s per watt: {', '.join(left)}."
    ]
    if r.value > r.low + 0.8 * (r.high - r.low):
        words.append(
            "Most ranges are wider on the unfavourable side, so the figure reported lies near the upper end:"
            " expect less."
        )
    return callout(*words)


def sources_section(page: Page, result: DesignResult) -> None:
    """Every quantity the chip's figures rest on, with origin, confidence and source; then what is approximated."""
    chip = result.chip
    used = (
        f"nodes.{chip.node}.", f"memories.{chip.memory.kind}.", f"packaging.{chip.package}.", "packaging.die.",
        "blocks.", "area.", "energy.",
        f"links.serdes{chip.links.gigabits_per_lane}.", "board.", *(("links.ucie.",) if chip.dies > 1 else ()),
    )  # fmt: skip
    found = {name: q for name, q in shipped().items() if name.startswith(used)}
    origins = Counter(q.origin for q in found.values())
    rows = [
        (
            name,
            f"{figures(q.value)} {'' if q.unit == '1' else q.unit}",
            f"{figures(q.low)} – {figures(q.high)}" if q.uncertain else "",
            badge(q.origin),
            q.confidence,
            q.source,
        )
        for name, q in sorted(found.items())
    ]
    page.section(
        "Where the numbers come from",
        tag("p", [[badge(k), f" {v} quantities  "] for k, v in origins.most_common()]),
        table(
            ["figure", "value", "how"],
            [
                *_bases(result, "die, mm²", AREA, result.silicon.area),
                *_bases(result, "design power, W", POWER, result.silicon.design_power),
            ],
            numeric=[1],
            caption="Synthesised: from our RTL through Yosys and a cell library. Scaled: taken to the node by published"
            " densities and energies. Errors of both: docs/silicon.md.",
        ),
        fold(
            f"All {len(rows)} quantities of this chip",
            table(["quantity", "value", "range", "origin", "confidence", "source"], rows, numeric=[1, 2]),
        ),
        tag("h3", "Approximations"),
        tag("ul", [tag("li", a) for a in (*result.model.approximations, *APPROXIMATIONS)], class_="plain"),
        lead="Each number has an origin: synthesised from our own blocks, scaled between nodes, from a"
        " datasheet or from"
        " literature, derived, or assumed.",
        id="sources",
    )


def _bases(
    result: DesignResult, of_what: str, names: dict[str, tuple[str, ...]], values: Mapping[str, float]
) -> list[tuple[str, str, str]]:
    """Each part of the die or of the design power: its value, and whether that is synthesised, scaled or literature."""
    return [
        (f"{of_what}: {part.replace('_', ' ')}", figures(value), basis(result.chip, part, names).how)
        for part, value in values.items()
        if value > 0
    ]


APPROXIMATIONS = (
    "Requests of a scenario are represented by their mean prompt, mean output and mean context; attention"
    " over a mix of"
    " lengths costs slightly more.",
    "Prefill and decoding share a replica in time: a decoding round carries its part of the prompts. Queues"
    " are not in"
    " these figures; tapeout simulate has them.",
    "Time to first token is that of one mean prompt on a replica with no queue.",
    "Expert choices of different tokens are taken as independent, with the popularity that measured serving"
    " shows.",
    "The area between placed blocks, the clock tree and test logic are shares of the blocks, not a layout.",
    "Weights published in BF16 run in eight bits on the chip, and on accelerators where that serves them"
    " better; what"
    " this does to the model's answers is measured by tapeout run, not here.",
)
