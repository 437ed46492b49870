"""The plan's page on risk: what must be true, when the own chip loses, spread, whose uncertainty
matters, assumptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tapeout.fleet.output import in_unit, month_word
from tapeout.fleet.plan import Plan
from tapeout.fleet.risk import GroupIndex, Samples, first_order, quantiles
from tapeout.fleet.stress import ALWAYS, Condition, Stress
from tapeout.report.charts import Option, axis, colour, function, stacked_bars
from tapeout.report.markup import Markup, tag
from tapeout.report.numbers import figures, percent
from tapeout.report.page import badge, callout, chart_figure, fold, table
from tapeout.report.plan_money import fan
from tapeout.report.plan_words import words

MOST = 14  # inputs shown


def must_be_true(plan: Plan, conditions: Mapping[str, list[Condition]]) -> list[Markup]:
    """Thresholds of the inputs that decide, one at a time."""
    found: list[Markup] = [
        tag(
            "p",
            "Each line is one input moved by itself, all others at their value. A plan pays only where "
            "all lines hold together; the "
            "section on what could go wrong moves all at once.",
        )
    ]
    for output, items in conditions.items():
        rows = []
        for c in items:
            if c.threshold is not None:
                word = "at least" if c.at_least else "at most"
                need = f"{word} {figures(c.threshold)}"
                inside = c.low <= c.threshold <= c.high
                holds = (c.value >= c.threshold) == c.at_least
                room = "within its range" if inside else "outside its range"
                state = f"holds; the line is {room}" if holds else f"does not hold; the line is {room}"
            else:
                if c.name not in ALWAYS:
                    continue  # no value of it decides
                need = "anything" if c.always else "nothing helps"
                state = "holds whatever it is" if c.always else "does not hold whatever it is"
            rows.append(
                [
                    words(c.name),
                    figures(c.value),
                    f"{figures(c.low)} – {figures(c.high)}",
                    c.unit.replace("1", "", 1) if c.unit == "1" else c.unit,
                    need,
                    state,
                ]
            )
        title = (
            "For the whole plan to be worth its cost of capital"
            if output == "npv"
            else f"For the own chip to beat {output.split('.')[1].upper()}"
        )
        found.append(table([title, "assumed", "range", "unit", "must be", ""], rows, numeric=(1, 2)))
    return found


def losses(plan: Plan, samples: Samples | None, cases: list[Stress]) -> list[Markup]:
    """Stress cases, then what the lost cases of the samples have in common."""
    s = plan.scenario
    heads = [
        "Case",
        "",
        *(f"Saving against {a.upper()}, B$" for a in s.gpus),
        *(f"Break-even, {a.upper()}" for a in s.gpus),
        "Own fleet, GW",
        "Demand served",
        "Plan, B$",
    ]
    rows = [
        [
            case.name,
            case.about,
            *(figures(case.saving[a] / 1e9) for a in s.gpus),
            *(month_word(plan, case.date[a]) for a in s.gpus),
            figures(case.power / 1e9),
            percent(case.served),
            figures(case.npv / 1e9),
        ]
        for case in cases
    ]
    n = len(heads)
    found: list[Markup] = [table(heads, rows, numeric=range(2, n), ours=[0])]
    dearer = []
    for c in s.classes:
        for a in s.gpus:
            own, other = (float(in_unit(plan, f"token_cost.{k}.{c}")[0, 0]) for k in ("own", a))
            if own > other:
                dearer.append(
                    f"{c} costs ${figures(own)} a million output tokens on the own chip, "
                    f"${figures(other)} on {a.upper()}"
                )
    if dearer:
        found.append(callout("Already at the values assumed: " + "; ".join(dearer) + ".", tone="bad"))
    if samples is not None:
        found += [_lost(plan, samples, a) for a in s.gpus]
    return found


def _lost(plan: Plan, samples: Samples, a: str) -> Markup:
    """What sets the lost samples apart: inputs whose mean place in their range differs most."""
    y = samples.scalars[f"versus.{a}.npv"]
    lost = y < 0
    if lost.sum() < 8 or (~lost).sum() < 8:
        return callout(
            f"Against {a.upper()} the own chip {'loses' if lost.mean() > 0.5 else 'wins'} in nearly all "
            f"{len(y):,} samples."
        )
    gap = samples.inputs[lost].mean(axis=0) - samples.inputs[~lost].mean(axis=0)
    order = np.argsort(-np.abs(gap))[:5]
    parts = [f"{words(samples.names[i])} is {'high' if gap[i] > 0 else 'low'}" for i in order]
    return callout(
        f"Against {a.upper()} the own chip loses in {percent(float(lost.mean()))} of {len(y):,} "
        f"samples, mostly where {', '.join(parts)}.",
        tone="bad",
    )


def risks(
    plan: Plan, samples: Samples | None, groups: Mapping[str, Mapping[str, GroupIndex]]
) -> list[Markup]:
    """Spread of the results and the sensitivity to each group of inputs."""
    if samples is None:
        return [tag("p", "No samples were asked for (--samples 0).")]
    s = plan.scenario
    found: list[Markup] = [
        tag(
            "p",
            f"{len(samples):,} samples of {len(samples.names)} uncertain inputs at once, by Sobol's "
            f"sequence; each input triangular "
            "between the ends of its range, its mode at the value assumed.",
        ),
        _spread(plan, samples),
        chart_figure(
            "fans",
            [
                ("Running sum of free cash flow", fan(plan, samples, "cash", 1e9, "B$", cumulative=True)),
                ("Own chips in service", fan(plan, samples, "fleet.own", 1e6, "M chips")),
                ("Share of demand served", fan(plan, samples, "served", 1.0, "share")),
            ],
            label="Show ",
            caption="Quantiles over the samples, month by month.",
        ),
    ]
    rows = []
    for name in ("npv", *(f"versus.{a}.npv" for a in s.gpus), "funding"):
        q = quantiles(samples.scalars[name])
        rows.append([words(name), *(figures(q[k] / 1e9) for k in ("p5", "p25", "p50", "p75", "p95"))])
    found.append(
        table(["B$, present value", "5 %", "25 %", "median", "75 %", "95 %"], rows, numeric=range(1, 6))
    )
    if groups:
        found.append(_groups(groups))
    return found


def _spread(plan: Plan, samples: Samples) -> Markup:
    variants = []
    names = [*(f"versus.{a}.npv" for a in plan.scenario.gpus), "npv"]
    for name in names:
        y = samples.scalars[name] / 1e9
        low, high = np.quantile(y, [0.005, 0.995])
        count, edges = np.histogram(np.clip(y, low, high), bins=40)
        middle = (edges[:-1] + edges[1:]) / 2
        option: Option = {
            "grid": {"left": 40, "right": 20, "top": 20, "bottom": 44, "containLabel": True},
            "tooltip": {
                "trigger": "item",
                "formatter": function("point", [["B$", 0, ""], ["samples", 1, ""]]),
            },
            "xAxis": axis("B$, present value", scale=True) | {"axisLabel": {"formatter": function("plain")}},
            "yAxis": axis("samples", gap=44, nameRotate=90),
            "series": [
                {
                    "type": "bar",
                    "barWidth": "92%",
                    "data": [
                        {
                            "value": [float(m), int(n)],
                            "itemStyle": {"color": colour("accent" if m >= 0 else "r2")},
                        }
                        for m, n in zip(middle, count, strict=True)
                    ],
                }
            ],
        }
        title = "The whole plan" if name == "npv" else f"Saving against {name.split('.')[1].upper()}"
        variants.append((title, option))
    return chart_figure(
        "spread",
        variants,
        label="Show ",
        caption="How the samples spread; the outer half per cent is gathered at the ends.",
        height=300,
    )


def _groups(groups: Mapping[str, Mapping[str, GroupIndex]]) -> Markup:
    variants = []
    for output, found in groups.items():
        order = sorted(found, key=lambda g: -found[g].total)
        first = {g: min(max(found[g].first, 0.0), 1.0) for g in order}
        option = stacked_bars(
            order,
            {
                "alone": [first[g] for g in order],
                "with others": [max(min(found[g].total, 1.0) - first[g], 0.0) for g in order],
            },
            unit="",
            name="share of the variance",
        )
        option["grid"] = {"left": 40, "right": 24, "top": 40, "bottom": 34, "containLabel": True}
        title = "The whole plan" if output == "npv" else f"Saving against {output.split('.')[1].upper()}"
        variants.append((title, option))
    return chart_figure(
        "groups",
        variants,
        label="Variance of ",
        caption="Sobol indices of groups of inputs: the share of the variance that a group brings "
        "alone, and what its interactions add.",
    )


def assumptions(plan: Plan, samples: Samples | None) -> list[Markup]:
    """The inputs that move the results most, with their sources."""
    if samples is None:
        names = [n.name for n in plan.graph.inputs() if n.quantity is not None and n.quantity.uncertain][:40]
        return [_inputs(plan, names, {})]
    found = []
    for output in ("npv", *(f"versus.{a}.npv" for a in plan.scenario.gpus)):
        index = first_order(samples, output)
        names = sorted(index, key=lambda k: -index[k])[:MOST]
        names = [n for n in names if index[n] > 0.003]
        title = (
            "Moving the whole plan"
            if output == "npv"
            else f"Moving the saving against {output.split('.')[1].upper()}"
        )
        found.append(tag("h3", title))
        found.append(_inputs(plan, names, index))
    every = sorted(n.name for n in plan.graph.inputs() if n.quantity is not None)
    found.append(fold(f"All {len(every)} inputs", _inputs(plan, every, {})))
    return found


def _inputs(plan: Plan, names: list[str], index: Mapping[str, float]) -> Markup:
    rows: list[list[Any]] = []
    for name in names:
        q = plan.graph.nodes[name].quantity
        assert q is not None
        span = f"{figures(q.low)} – {figures(q.high)}" if q.uncertain else ""
        share = [percent(index[name], 1)] if index else []
        rows.append(
            [
                name,
                *share,
                f"{figures(q.value)} {'' if q.unit == '1' else q.unit}",
                span,
                [badge(q.origin), " ", q.source],
            ]
        )
    heads = ["Input", *(["of the variance"] if index else []), "Value", "Range", "Where it is from"]
    return table(heads, rows, numeric=(1, 2, 3) if index else (1, 2))
