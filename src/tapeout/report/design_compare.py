"""Report of a design run: the chip beside accelerators one can buy, and why it is better or worse."""

from __future__ import annotations

import math
from typing import Any

from tapeout.report.charts import axis, lines, waterfall
from tapeout.report.markup import Content, Markup, tag
from tapeout.report.numbers import figures, ranged, times
from tapeout.report.page import Page, callout, chart_figure, group_row, table
from tapeout.search.operation import Operation
from tapeout.search.result import DesignResult, Range
from tapeout.search.rivals import Rival

SHOWN = ("h100", "h200", "b200", "gb200", "b300", "mi355x", "tpu7x", "trainium3")
FAMILY_TINTS = {
    "start": "muted", "software": "r2", "utilisation": "r7", "formats": "r4", "power": "r5", "architecture": "r6",
    "compute": "r1", "memory": "r3", "links": "r8", "node": "r1",
}  # fmt: skip


def compare_section(page: Page, result: DesignResult) -> None:
    """Figures at the same targets, and curves over the time per output token."""
    o, s = result.operation, result.scenario
    rows: list[Any] = [_row(result.chip.name, result.chip.node, "", o, 1.0, result.ranges)]
    rows.extend(_rival_row(result, r) for r in result.rivals)
    curves: list[Any] = [(result.chip.name, _curve(result.curve), {"colour": "accent", "width": 2.8})]
    tints = iter(("r2", "r3", "r4", "r5", "r7", "r8", "r6", "r1"))
    for key in SHOWN:
        r = next((x for x in result.rivals if x.key == key), None)
        if r is not None and r.curve:
            curves.append((r.name, _curve(r.curve), {"colour": next(tints), "width": 1.5}))
    mark = (1e3 / s.tpot_ms, f"TPOT {s.tpot_ms:g} ms") if s.tpot_ms else None
    page.section(
        "Beside today's accelerators",
        table(
            [
                "", "node", "tokens/s per chip", "tokens/s per watt", "tokens per dollar, million", "watts per chip",
                "TPOT, ms", "TTFT, ms", "replica", "the chip per watt",
            ],
            rows,
            numeric=[2, 3, 4, 5, 6, 7, 9],
            ours=[0],
            caption=f"The same work within the same targets: {s.describe()}. Each at the split and batch that"
            " give it"
            f" the most {_words(result.objective)}, found by the same search over operating points.",
        ),
        chart_figure(
            "curves",
            [("", lines(
                curves,
                axis("tokens per second for each user", log=True, low=5, high=1000),
                axis("tokens per second and watt", log=True, gap=44),
                tooltip=[("tokens/s/user", 0, ""), ("tokens/s/W", 1, ""), ("tokens/s/chip", 2, ""), ("batch", 3, ""),
                         ("chips", 4, "")],
                mark_x=mark,
                right=150,
            ))],
            height=430,
            caption=Markup(
                "<b>Speed for each user against efficiency.</b> Every point is a split and a batch; a curve"
                " keeps those that"
                " nothing beats. The dashed line is the target: what lies right of it is fast enough."
            ),
        ),
        _fairness(result),
        lead="Tokens are output tokens; watts and dollars include what their prompts cost. Watts are of the"
        " chip with its"
        " memory, without host and cooling, for all alike.",
        id="accelerators",
    )  # fmt: skip


def cases_section(page: Page, result: DesignResult) -> None:
    """Time per token and to first token, tokens per chip, watt and dollar over batches and contexts."""
    names = [result.chip.name] + [
        r.name for r in result.rivals if r.key in ("h100", "h200", "b200", "mi355x", "tpu7x")
    ]
    rows: list[Any] = []
    for context in sorted({c.context for c in result.cases}):
        rows.append(group_row(f"context of {context:,} tokens", 3 + len(names)))
        for c in (c for c in result.cases if c.context == context):
            for label, get, digits in _MEASURES:
                values = [_value(c.operations.get(n), get) for n in names]
                rows.append(
                    [f"batch {c.batch:,}" if label == _MEASURES[0][0] else "", label]
                    + [figures(v, digits) if v is not None else tag("span", "–") for v in values]
                )
    page.section(
        "Batches and contexts",
        table(["", "", *names], rows, numeric=range(2, 2 + len(names))),
        lead="One replica of each at the number of sequences given and no latency target: the split that"
        " gives it the most"
        " tokens per joule. TTFT is that of the whole prompt on a replica with no queue.",
        id="cases",
    )


_MEASURES: tuple[tuple[str, Any, int], ...] = (
    ("TPOT, ms", lambda o: o.tpot_ms, 3),
    ("TTFT, ms", lambda o: o.ttft_ms, 3),
    ("tokens/s per chip", lambda o: o.tokens_per_s, 3),
    ("tokens/s per watt", lambda o: o.tokens_per_joule, 3),
    ("million tokens per $", lambda o: o.tokens_per_dollar / 1e6, 3),
)


def _value(o: Operation | None, get: Any) -> float | None:
    if o is None:
        return None
    value = float(get(o))
    return value if math.isfinite(value) else None


def reasons_section(page: Page, result: DesignResult) -> None:
    """The steps from an accelerator to the chip, as a chart and as a table to check."""
    if not result.reasons:
        page.section(
            "Why",
            callout(
                "No comparison step by step: the accelerator it would start from cannot do this work within"
                " the targets."
            ),
            id="why",
        )
        return
    steps = result.reasons
    first, last = steps[0].tokens_per_joule, steps[-1].tokens_per_joule
    bars: list[tuple[str, float, float, str]] = []
    before = 0.0
    for s in steps:
        start = before or s.tokens_per_joule
        bars.append((s.change, start, s.tokens_per_joule, FAMILY_TINTS.get(s.family, "r6")))
        before = s.tokens_per_joule
    bars[0] = (steps[0].change, first / 2, first, "muted")
    bars.append((result.chip.name, first / 2, last, "accent"))
    families: dict[str, float] = {}
    for s in steps[1:]:
        families[s.family] = families.get(s.family, 1.0) * s.factor
    unsure = families.get("power", 1.0)
    page.section(
        f"Why: from {result.reasons_from} to the chip",
        chart_figure(
            "why",
            [("", waterfall(bars, name="tokens per second and watt"))],
            height=60 + 38 * len(bars),
            caption=Markup(
                "<b>One change at a time.</b> After each the best operating point within the same targets is"
                " sought anew."
                " The factors multiply to the whole."
            ),
        ),
        table(
            ["change", "what it is", "factor", "tokens/s/W after it", "operating point"],
            [
                (
                    s.change,
                    s.why,
                    "" if i == 0 else times2(s.factor),
                    figures(s.tokens_per_joule),
                    s.operation,
                )
                for i, s in enumerate(steps)
            ],
            numeric=[2, 3],
            caption=f"{figures(first)} × "
            + " × ".join(f"{s.factor:.3f}" for s in steps[1:])
            + f" = {figures(last)} tokens/s/W, {last / first:.2f} times.",
        ),
        callout(
            "By kind:"
            f" {', '.join(f'{k} {times2(v)}' for k, v in sorted(families.items(), key=lambda x: -x[1]))}.",
            "The accelerator's power is measured; ours is added up from energies per operation and per byte."
            " Without"
            f" any of the {times2(unsure)} that power at rest and per multiply-accumulate contribute, the"
            " chip would be"
            f" {times2(last / first / unsure)} as efficient.",
            tone="good" if last > first else "bad",
        ),
        lead=f"The chip delivers {times2(last / first)} the tokens per joule of {result.reasons_from} at the"
        " same work and"
        " within the same targets. The way between them, in steps that can each be recomputed:",
        id="why",
    )


def times2(ratio: float) -> str:
    """A factor to two decimals: 1.07×."""
    return f"{ratio:.2f}×"


def _fairness(result: DesignResult) -> Markup:
    formats = sorted({f"{r.name}: {r.formats}" for r in result.rivals if r.operation is not None})
    return callout(
        "Like for like: every accelerator chooses its own split (tensor, expert, attention-data"
        " parallelism), batch and"
        " formats, with the serving engine that costs it least; the popularity of experts is the same for all.",
        f"Formats chosen. {'; '.join(formats)}. The chip keeps published MXFP4 weights and runs BF16 ones in"
        " eight bits.",
    )


def _row(name: str, node: str, note: str, o: Operation, advantage: float, sure: Any = None) -> list[Content]:
    def cell(value: float, key: str, scale: float = 1.0) -> Content:
        written = figures(value * scale)
        r: Range | None = sure.get(key) if sure else None
        return ranged(written, figures(r.low * scale), figures(r.high * scale)) if r else written

    return [
        Markup(tag("span", name) + tag("span", note, class_="range")) if note else name,
        node,
        cell(o.tokens_per_s, "tokens_per_s"),
        cell(o.tokens_per_joule, "tokens_per_joule"),
        cell(o.tokens_per_dollar, "tokens_per_dollar", 1e-6),
        cell(o.watts, "watts"),
        cell(o.tpot_ms, "tpot_ms"),
        cell(o.ttft_ms, "ttft_ms"),
        f"{o.chips} × batch {o.batch / o.chips:,.0f}",
        "" if sure else times(advantage),
    ]


def _rival_row(result: DesignResult, r: Rival) -> list[Content]:
    o = r.operation
    if o is None:
        return [r.name, r.node, tag("span", "the model does not fit", class_="range"), *[""] * 7]
    if not o.meets:
        missed = f"misses the targets: TPOT {figures(o.tpot_ms)} ms, TTFT {figures(o.ttft_ms)} ms at best"
        return [r.name, r.node, tag("span", missed, class_="range"), *[""] * 7]
    return _row(r.name, r.node, "", o, result.operation.tokens_per_joule / o.tokens_per_joule)


def _curve(points: tuple[Operation, ...]) -> list[list[Any]]:
    return [[1e3 / o.tpot_ms, o.tokens_per_joule, o.tokens_per_s, o.batch, o.chips] for o in points]


def _words(objective: str) -> str:
    return {
        "tokens_per_joule": "tokens per joule",
        "tokens_per_dollar": "tokens per dollar",
        "tokens_per_chip": "tokens per chip",
        "latency": "speed",
    }[objective]
