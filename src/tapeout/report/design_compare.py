"""Report of a design run: the chip beside accelerators one can buy, and why it is better or worse."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

from tapeout.estimate.intervals import shipped
from tapeout.report.charts import axis, lines, waterfall
from tapeout.report.markup import Content, Markup, tag
from tapeout.report.numbers import figures, ranged, times
from tapeout.report.page import Page, callout, chart_figure, table
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
    rows: list[Any] = [_row(result.chip.name, result.chip.node, "", o, None, result.ranges)]
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
                "", "tokens/s per chip", "tokens/s per watt", "M tokens per $", "watts", "TPOT, ms", "TTFT, ms",
                "chips, batch of a replica", "chip's gain per watt",
            ],
            rows,
            numeric=range(1, 9),
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
                right=130,
            ))],
            height=430,
            caption=Markup(
                "<b>Speed for each user against efficiency.</b> Every point is a split and a batch; a curve"
                " keeps those that"
                " nothing beats. The dashed line is the target: what lies right of it is fast enough."
            ),
        ),
        _fairness(),
        lead="Tokens are output tokens; watts and dollars include what their prompts cost. Watts are of the"
        " chip with its"
        " memory, without host and cooling, for all alike. Below a figure its range: of the chip, nine in ten draws of"
        " the uncertain inputs; of an accelerator, where eight in ten measurements would lie.",
        id="accelerators",
    )  # fmt: skip


def cases_section(page: Page, result: DesignResult) -> None:
    """Time per token and to first token, tokens per chip, watt and dollar over batches and contexts."""
    names = [result.chip.name] + [r.name for r in result.rivals if r.key in CASED]
    contexts = sorted({c.context for c in result.cases})
    nearest = min(contexts, key=lambda c: abs(c - result.scenario.decode_context), default=0)
    shown = []
    for context in contexts:
        rows: list[Any] = []
        for c in (c for c in result.cases if c.context == context):
            for label, get, _ in _MEASURES:
                values = [_value(c.operations.get(n), get) for n in names]
                written = [figures(v) if v is not None else "–" for v in values]
                rows.append([f"batch {c.batch:,}" if label == _MEASURES[0][0] else "", label, *written])
        content = table(["", "", *names], rows, numeric=range(2, 2 + len(names)))
        title = tag("summary", f"Context of {context:,} tokens")
        shown.append(tag("details", title, content, open=context == nearest))
    page.section(
        "Batches and contexts",
        shown,
        _losses(result, names[1:]),
        lead="One replica of each at the number of sequences given and no latency target, at the split that"
        " gives it"
        " the most tokens per joule. TTFT is that of the whole prompt on a replica with no queue.",
        id="cases",
    )


CASED = ("h100", "h200", "b200", "mi355x", "tpu7x")


def _losses(result: DesignResult, rivals: list[str]) -> Markup:
    """Where some accelerator does better than the chip, measure by measure."""
    told = []
    for label, get, more in _MEASURES:
        worst: tuple[float, str] = (1.0, "")
        count = 0
        for c in result.cases:
            ours = _value(c.operations.get(result.chip.name), get)
            if ours is None:
                continue
            ratios = [
                ((v / ours if more else ours / v), f"{n} at batch {c.batch:,} and {c.context:,} tokens")
                for n in rivals
                if (v := _value(c.operations.get(n), get))
            ]
            best = max(ratios, default=(0.0, ""))
            count += best[0] > 1
            worst = max(worst, best)
        if count:
            told.append(
                f"{label}: in {count} of {len(result.cases)} cases an accelerator does better, at most"
                f" {times2(worst[0])} ({worst[1]})."
            )
    if not told:
        return callout(
            "In none of these cases does one of these accelerators do better by any of the measures."
        )
    return callout("Where the chip loses.", *told, tone="bad")


# label, figure, whether more is better
_MEASURES: tuple[tuple[str, Any, bool], ...] = (
    ("TPOT, ms", lambda o: o.tpot_ms, False),
    ("TTFT, ms", lambda o: o.ttft_ms, False),
    ("tokens/s per chip", lambda o: o.tokens_per_s, True),
    ("tokens/s per watt", lambda o: o.tokens_per_joule, True),
    ("million tokens per $", lambda o: o.tokens_per_dollar / 1e6, True),
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
    floor = min(s.tokens_per_joule for s in steps) / 2
    bars: list[tuple[str, float, float, str, str]] = [
        (steps[0].change, floor, first, "muted", figures(first)),
        *(
            (
                s.change,
                before.tokens_per_joule,
                s.tokens_per_joule,
                FAMILY_TINTS.get(s.family, "r6"),
                times2(s.factor),
            )
            for before, s in pairwise(steps)
        ),
        (result.chip.name, floor, last, "accent", figures(last)),
    ]
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
                " The factors multiply to the whole; each depends on the changes before it, and another order would"
                " share the advantage out otherwise."
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
            "The accelerator's power is modelled from energies measured on H100 while it served short prompts; ours is"
            " added up from energies per operation and per byte."
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


def _fairness() -> Markup:
    return callout(
        "Like for like: every accelerator chooses its own split (tensor, expert, attention-data"
        " parallelism), batch and"
        " formats, with the serving engine that costs it least; the popularity of experts is the same for all.",
        "Formats other than the published ones stand below the names. The chip keeps published MXFP4 weights"
        " and runs"
        " BF16 ones in eight bits.",
    )


def _row(
    name: str, node: str, note: str, o: Operation, advantage: float | None, sure: Any = None
) -> list[Content]:
    def cell(value: float, key: str, scale: float = 1.0) -> Content:
        written = figures(value * scale)
        r: Range | None = sure.get(key) if sure and math.isfinite(value) else None
        return ranged(written, figures(r.low * scale), figures(r.high * scale)) if r else written

    return [
        Markup(tag("span", name, class_="name") + tag("span", f"{node}{note}", class_="range")),
        cell(o.tokens_per_s, "tokens_per_s"),
        cell(o.tokens_per_joule, "tokens_per_joule"),
        cell(o.tokens_per_dollar, "tokens_per_dollar", 1e-6),
        cell(o.watts, "watts"),
        cell(o.tpot_ms, "tpot_ms"),
        cell(o.ttft_ms, "ttft_ms"),
        f"{o.chips:,}, {o.batch:,}",
        times(advantage) if advantage is not None else "",
    ]


def _rival_row(result: DesignResult, r: Rival) -> list[Content]:
    o = r.operation
    if o is None:
        return [r.name, tag("span", "the model does not fit", class_="range"), *[""] * 7]
    if not o.meets:
        missed = f"misses the targets: TPOT {figures(o.tpot_ms)} ms, TTFT {figures(o.ttft_ms)} ms at best"
        return [r.name, tag("span", missed, class_="range"), *[""] * 7]
    note = f", {r.formats}" if r.formats != "as published" else ""
    sure = rival_ranges(o)
    return _row(r.name, r.node, note, o, result.operation.tokens_per_joule / o.tokens_per_joule, sure)


def rival_ranges(o: Operation) -> dict[str, Range]:
    """An accelerator's figures with the interval in which eight in ten measurements of it would lie, from the errors of
    the calibration on accelerators held out of it."""
    i = shipped()
    slow, joules, first = (i.factors(m, "accelerator") for m in ("tpot", "joules", "ttft"))

    def around(value: float, factors: tuple[float, float]) -> Range:
        return Range(value, value * min(factors), value * max(factors))

    def inverse(factors: tuple[float, float]) -> tuple[float, float]:
        return 1 / factors[1], 1 / factors[0]

    return {
        "tokens_per_s": around(o.tokens_per_s, inverse(slow)),
        "tokens_per_joule": around(o.tokens_per_joule, inverse(joules)),
        "tokens_per_dollar": around(o.tokens_per_dollar, inverse(slow)),
        "tpot_ms": around(o.tpot_ms, slow),
        "ttft_ms": around(o.ttft_ms, first),
    }


def _curve(points: tuple[Operation, ...]) -> list[list[Any]]:
    return [
        [1e3 / o.tpot_ms, o.tokens_per_joule, o.tokens_per_s, o.batch, o.chips]
        for o in sorted(points, key=lambda o: -o.tpot_ms)
    ]


def _words(objective: str) -> str:
    return {
        "tokens_per_joule": "tokens per joule",
        "tokens_per_dollar": "tokens per dollar",
        "tokens_per_chip": "tokens per chip",
        "latency": "speed",
    }[objective]
