"""The plan's page on money: comparison with others' accelerators, capital, costs, revenue, cash."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeout.fleet.output import in_unit, month_word, years
from tapeout.fleet.plan import Plan
from tapeout.fleet.risk import Samples, quantiles
from tapeout.fleet.stress import mixes
from tapeout.report.charts import Option, axis, function, lines, stacked_bars
from tapeout.report.markup import Markup, tag
from tapeout.report.numbers import figures, percent
from tapeout.report.page import callout, chart_figure, fold, table

COLOURS = ("accent", "r2", "r3", "r4", "r5", "r6", "r7", "r8")


def versus(plan: Plan, samples: Samples | None) -> list[Markup]:
    """At equal interactivity: per chip, per class, and over time."""
    s = plan.scenario
    heads = ["", *(f"{s.vendors[a]} {'' if a == 'own' else a.upper()}".strip() for a in s.accelerators)]

    def row(label: str, name: str, scale: float = 1.0) -> list[str]:
        return [
            label,
            *(figures(float(in_unit(plan, name.format(a=a))[0, 0]) * scale) for a in s.accelerators),
        ]

    costs = [
        row("Chip, $", "system.{a}.chip_price"),
        row("Trays, racks, networks, storage, $", "system.{a}.it_price"),
        row("IT power, W", "system.{a}.it_power"),
        row("Power kept at the site, W", "system.{a}.provisioned"),
        row("Building and power train, $", "system.{a}.site_price"),
        row("Owning and running, $/h", "system.{a}.hourly"),
    ]
    for i, a in enumerate(s.accelerators):
        chip = float(in_unit(plan, f"system.{a}.chip_price")[0, 0])
        costs[1][i + 1] = figures(float(in_unit(plan, f"system.{a}.it_price")[0, 0]) - chip)
    served = []
    for c, model in s.classes.items():
        tpot, ttft = s.value(f"kind.{c}.tpot", "ms/token"), s.value(f"kind.{c}.ttft", "s")
        cells = [f"{c}: {model}, ≤ {figures(tpot)} ms/token, ≤ {figures(ttft)} s to first"]
        for a in s.accelerators:
            rate = float(in_unit(plan, f"service.{a}.{c}.rate")[0, 0]) * s.value(
                f"kind.{c}.output", "token/request"
            )
            cells.append(
                f"{figures(rate)} tok/s · ${figures(float(in_unit(plan, f'token_cost.{a}.{c}')[0, 0]))}"
            )
        served.append(cells)
    n = len(heads)
    found = [
        table(
            heads,
            costs,
            numeric=range(1, n),
            caption="What one chip costs with everything around it, first year.",
        ),
        table(
            heads,
            served,
            numeric=range(1, n),
            caption="What one chip serves within the latency targets (90th percentile), and dollars per "
            "million output tokens, "
            "their prompts included, loaded as planned. Output tokens per second and chip.",
        ),
        callout(
            "Rates come from the same simulator of a serving replica. Those of others' accelerators "
            "rest on parameters fitted to "
            "published measurements; those of the own chip on its design, times the share of it that "
            "software is assumed to attain "
            f"({figures(s.value('service.attained_own', '1'))}). No unequal latency is ever compared."
        ),
        _paths(plan),
    ]
    rows = []
    for a in s.gpus:
        saving = in_unit(plan, f"versus.{a}.npv")[0, 0] / 1e9
        volume = float(in_unit(plan, f"versus.{a}.volume")[0, 0])
        spread, win = "", ""
        if samples is not None:
            q = quantiles(samples.scalars[f"versus.{a}.npv"])
            spread = f"{figures(q['p5'] / 1e9)} to {figures(q['p95'] / 1e9)}"
            win = percent(float(np.mean(samples.scalars[f"versus.{a}.npv"] > 0)))
        rows.append(
            [
                f"{s.vendors[a]} {a.upper()}",
                figures(float(saving)),
                spread,
                win,
                figures(float(in_unit(plan, f"versus.{a}.per_chip")[0, 0])),
                f"{figures(volume / 1e3)} k" if volume < 1e9 else "none",
                month_word(plan, float(in_unit(plan, f"versus.{a}.date")[0, 0])),
            ]
        )
    found.append(
        table(
            [
                "Rival",
                "Saving, B$",
                "90 % of cases",
                "Chip wins",
                "Saving per chip, $",
                "Volume that repays NRE",
                "Break-even",
            ],
            rows,
            numeric=range(1, 7),
            caption="Present value of what the own chips' work would cost on each rival, less what the "
            "own programme costs; a rival "
            "is bought only as needed, in rented sites, at prices that fall with its later generations.",
        )
    )
    found.append(mixed(plan))
    return found


def _paths(plan: Plan) -> Markup:
    """Running sum of the present saving against each rival."""
    s = plan.scenario
    drawn = []
    for i, a in enumerate(s.gpus):
        path = np.cumsum(in_unit(plan, f"versus.{a}.discounted")[0]) / 1e9
        points = month_points(plan, path)
        drawn.append((f"against {a.upper()}", points, {"colour": COLOURS[i], "points": 0, "width": 2.4}))
    option = lines(
        drawn,
        month_axis(plan),
        axis("B$ saved so far, present value", gap=46) | {"axisLabel": {"formatter": function("plain")}},
        tooltip=(("B$", 1, ""),),
    )
    return chart_figure(
        "saving",
        [("", option)],
        caption="Saving so far against buying each rival for the same work. Below the line the own "
        "programme has cost more. What own buildings and chips are still worth at the end is counted in the table, not "
        "in the curve.",
    )


def month_axis(plan: Plan) -> Option:
    """An axis of the plan's months, labelled each January."""
    start = plan.scenario.start
    names = [str(start.plus(i).year) for i in range(plan.scenario.months)]
    offset = (1 - start.month) % 12
    return {
        "type": "category",
        "data": names,
        "axisLabel": {"interval": 11, "showMinLabel": offset == 0},
        "axisTick": {"interval": 11},
        "boundaryGap": False,
    }


def month_points(plan: Plan, values: Any) -> list[tuple[int, float, str]]:
    """Points of a monthly series: index, value, and the month for the tooltip."""
    wide = np.broadcast_to(np.ravel(values), (plan.scenario.months,))
    return [(i, float(v), str(plan.scenario.start.plus(i))) for i, v in enumerate(wide)]


def year_bars(
    plan: Plan, names: dict[str, str], scale: float, unit: str, label: str, last: int | None = None
) -> Option:
    """Stacked columns by calendar year: {legend: node}."""
    every = list(years(plan, next(iter(names.values()))))
    shown = [y for y in every if last is None or y <= last]
    series = {k: [years(plan, n)[y] / scale for y in shown] for k, n in names.items()}
    option = stacked_bars([str(y) for y in shown], series, unit=unit, name=label)
    option["xAxis"], option["yAxis"] = (
        {"type": "category", "data": [str(y) for y in shown]},
        axis(label, gap=46, unit="", nameRotate=90),
    )
    option["grid"] = {"left": 40, "right": 20, "top": 40, "bottom": 34, "containLabel": True}
    for one in option["series"]:
        one["barMaxWidth"] = 46
    option["yAxis"]["axisLabel"] = {"formatter": function("plain")}
    return option


def money(plan: Plan) -> list[Markup]:
    """Capital by layer, running costs, revenue, cash, the table by year, financing."""
    s = plan.scenario
    capital = {
        "own chips": "capex.own.chips",
        "trays": "capex.own.trays",
        "racks": "capex.own.racks",
        "networks": "capex.own.networks",
        "storage": "capex.own.storage",
        "own sites": "capex.own.sites",
    } | {f"{s.vendors[a]} {a.upper()}": f"capex.{a}" for a in s.gpus}
    running = {
        "energy": "opex.own.energy",
        "partner sites": "opex.own.lease",
        "upkeep": "opex.own.upkeep",
        "spares": "opex.own.spares",
        "staff": "opex.own.staff",
    } | {f"{s.vendors[a]} {a.upper()}": f"opex.{a}" for a in s.gpus}
    figure = chart_figure(
        "spending",
        [
            ("Capital by layer", year_bars(plan, capital, 1e9, "B$", "B$ a year", max(s.targets) + 1)),
            ("Running costs", year_bars(plan, running, 1e9, "B$", "B$ a year")),
        ],
        label="Show ",
        caption="Spending by calendar year.",
        height=420,
    )
    rows = []
    shown = list(years(plan, "cash"))
    for label, name in (
        ("Revenue", "revenue"),
        ("Cost of revenue", "cost_of_revenue"),
        ("Running costs", "opex"),
        ("NRE and software", "nre"),
        ("Depreciation", "depreciation"),
        ("Profit before interest and tax", "profit"),
        ("Tax", "tax"),
        ("Capital spending", "capex"),
        ("Free cash flow", "cash"),
        ("Debt drawn", "debt.drawn"),
        ("Debt service", "debt.service"),
        ("Cash to owners", "equity_cash"),
    ):
        found = years(plan, name)
        rows.append([label, *(figures(found[y] / 1e9) if abs(found[y]) > 5e6 else "0" for y in shown)])
    irr = float(plan.nominal["irr"][0, 0]) * 365.25 * 86400
    own = sum(years(plan, "capex.own").values())
    power = (
        years(plan, "fleet.own")[max(s.targets)] * float(in_unit(plan, "system.own.provisioned")[0, 0]) / 1e9
    )
    parts = [(k, sum(years(plan, n).values())) for k, n in list(capital.items())[:6]]
    split = ", ".join(f"{k} {percent(v / own)}" for k, v in parts)
    return [
        tag(
            "p",
            f"Internal rate of return before financing: {percent(irr, 1) if np.isfinite(irr) else 'none'}. "
            f"Owners have at most {figures(float(plan.nominal['funding'][0, 0]) / 1e9)} B$ in at once, "
            f"after debt and vendors' credit. "
            f"The own fleet costs {figures(own / power / 1e9)} B$ a gigawatt, of which partner sites "
            f"are rented: {split}.",
        ),
        figure,
        table(["B$ a year", *map(str, shown)], rows, numeric=range(1, len(shown) + 1)),
        fold("Own chip: what one costs", _unit_cost(plan)),
    ]


def _unit_cost(plan: Plan) -> Markup:
    parts = (
        ("Good dies", "own.die_cost"),
        ("Memory", "own.memory_cost"),
        ("Packaging", "own.packaging_cost"),
        ("Substrate", "own.substrate_price"),
        ("Test", "own.test_cost"),
        ("Lost in assembly", "own.assembly_loss"),
        ("Cost of a good package", "own.cost"),
        ("Price asked by the supply partner", "own.price"),
    )
    rows = [[label, figures(float(in_unit(plan, name)[0, 0]))] for label, name in parts]
    rows.append(["Good dies of a mature process", percent(float(in_unit(plan, "own.die_yield")[0, 0]))])
    return table(["", "$, first month"], rows, numeric=(1,))


def fan(
    plan: Plan, samples: Samples, name: str, scale: float, label: str, cumulative: bool = False
) -> Option:
    """Quantiles of a series over the samples."""
    data = samples.series[name].astype(float)
    if cumulative:
        data = np.cumsum(data, axis=1)
    drawn = []
    for q, look in (
        (0.95, {"colour": "muted", "points": 0, "width": 1}),
        (0.75, {"colour": "soft", "points": 0, "width": 1.2}),
        (0.5, {"colour": "accent", "points": 0, "width": 2.6}),
        (0.25, {"colour": "soft", "points": 0, "width": 1.2}),
        (0.05, {"colour": "muted", "points": 0, "width": 1}),
    ):
        values = np.quantile(data, q, axis=0) / scale
        drawn.append((f"{100 * q:g} %", month_points(plan, values), look))
    return lines(
        drawn,
        month_axis(plan),
        axis(label, gap=50) | {"axisLabel": {"formatter": function("plain")}},
        tooltip=((label, 1, ""),),
        right=60,
    )


def mixed(plan: Plan) -> Markup:
    """Fleets of own chips and a rival's, by the share of the programme that is carried out."""
    rivals = plan.scenario.gpus
    rows = [
        [percent(m.share), figures(m.chips / 1e6), *(figures(m.saving[a] / 1e9) for a in rivals)]
        for m in mixes(plan)
    ]
    return table(
        [
            "Of the planned power",
            "Own chips, M",
            *(f"Saving with {a.upper()} for the rest, B$" for a in rivals),
        ],
        rows,
        numeric=range(3 + len(rivals)),
        caption="Mixed fleets: own chips in a part of the planned power, the rival doing the rest of their work. "
        "NRE is the same whatever the share.",
    )
