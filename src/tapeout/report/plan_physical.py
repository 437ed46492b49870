"""The plan's page on what is built: fleets, sites, supply by quarter, power."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeout.fleet import demand, policies
from tapeout.fleet.output import in_unit, schedule, years
from tapeout.fleet.plan import Plan
from tapeout.fleet.supply import STAGES
from tapeout.report.charts import Option, axis, colour, function, lines
from tapeout.report.markup import Markup, tag
from tapeout.report.numbers import figures, percent
from tapeout.report.page import chart_figure, fold, table
from tapeout.report.plan_money import COLOURS, month_axis, month_points, year_bars

OVERSUBSCRIBED = (0.0, 0.25, 0.5, 0.75, 1.0)


def build_out(plan: Plan) -> list[Markup]:
    """Fleets and demand by year, and what a chip needs around it."""
    s = plan.scenario
    shown = list(years(plan, "fleet.own"))
    rows: list[list[Any]] = []
    watts = float(in_unit(plan, "system.own.provisioned")[0, 0])
    per_rack = float(in_unit(plan, "system.own.chips_per_rack")[0, 0])
    fleet = years(plan, "fleet.own")
    rows.append(["Weekly users, M", *(figures(years(plan, "users")[y] / 1e6) for y in shown)])
    rows.append(["Tokens wanted, 10¹⁵ a year", *(figures(years(plan, "tokens")[y] / 1e15) for y in shown)])
    rows.append(["Own chips, thousand", *(figures(fleet[y] / 1e3) for y in shown)])
    rows.append(["Own racks, thousand", *(figures(fleet[y] / per_rack / 1e3) for y in shown)])
    rows.append(["Own fleet, GW", *(figures(fleet[y] * watts / 1e9) for y in shown)])
    rows += [
        [f"{s.vendors[a]}, thousand", *(figures(years(plan, f"fleet.{a}")[y] / 1e3) for y in shown)]
        for a in s.gpus
    ]
    rows.append(["Demand served", *(percent(years(plan, "served")[y]) for y in shown)])
    rows.append(["of it by own chips", *(percent(years(plan, "served.own")[y]) for y in shown)])
    rows.append(["Energy, own fleet, TWh", *(figures(years(plan, "energy.own")[y] / 1e6) for y in shown)])
    rows.append(["CO₂, own fleet, Mt", *(figures(years(plan, "carbon.own")[y] / 1e6) for y in shown)])
    need = {"own chips, to serve all demand": "need.own", "own chips in service": "fleet.own"}
    drawn = []
    for i, (label, name) in enumerate(need.items()):
        values = np.broadcast_to(in_unit(plan, name), (1, s.months))[0] * watts / 1e9
        drawn.append(
            (
                label,
                month_points(plan, values),
                {"colour": ("muted", "accent")[i], "points": 0, "width": 2.4},
            )
        )
    site_lines = []
    for i, site in enumerate(s.sites):
        values = in_unit(plan, f"site.{site.name}.connected")[0] / 1e9
        label = f"{site.name} ({'own' if site.own else 'partner'})"
        site_lines.append(
            (
                label,
                month_points(plan, values),
                {"colour": COLOURS[i % 8], "points": 0, "width": 2},
            )
        )
    x = month_axis(plan)
    y = axis("GW", gap=40) | {"axisLabel": {"formatter": function("plain")}}
    return [
        table(["End of year", *map(str, shown)], rows, numeric=range(1, len(shown) + 1)),
        chart_figure(
            "fleet",
            [
                (
                    "Own fleet and what all demand would take",
                    lines(drawn, x, y, tooltip=(("GW", 1, ""),), right=225),
                ),
                (
                    "Power connected at each site",
                    lines(site_lines, x, y, tooltip=(("GW", 1, ""),), right=150),
                ),
            ],
            label="Show ",
            caption="The fleet shrinks as chips reach the end of their life: the plan ends with what was announced.",
        ),
        fold("Around one own chip", _around(plan)),
    ]


def _around(plan: Plan) -> Markup:
    rows = []
    for label, name in (
        ("chips in a tray", "system.own.chips_per_tray"),
        ("trays in a rack", "system.own.trays"),
        ("chips in a rack", "system.own.chips_per_rack"),
        ("rack, W", "system.own.rack_power"),
        ("chip, W", "chip.own.power"),
        ("scale-up network, W a chip", "system.own.scale_up_power"),
        ("scale-out network, W a chip", "system.own.scale_out_power"),
        ("scale-up network, $ a chip", "system.own.scale_up_price"),
        ("scale-out network, $ a chip", "system.own.scale_out_price"),
        ("tiers of the fabric", "fabric.tiers"),
        ("switch ports for a link", "fabric.ports"),
        ("optical modules for a link", "fabric.transceivers"),
        ("share of chips in service", "availability"),
    ):
        rows.append([label, figures(float(in_unit(plan, name)[0, 0]), 4)])
    return table(["", ""], rows, numeric=(1,))


def supply(plan: Plan) -> list[Markup]:
    """The schedule by quarter and what binds in each."""
    found = schedule(plan)
    heads = [
        "Quarter",
        "Into service, k chips",
        "In service, GW",
        "Target, GW",
        "Short, k chips",
        "What binds",
        "Memory bought from, k chips' worth",
    ]
    rows = []
    for r in found:
        memory = ", ".join(f"{v} {figures(n / 1e3)}" for v, n in r["hbm"].items() if n > 0.5)
        rows.append(
            [
                r["quarter"],
                figures(r["deployed_chips"] / 1e3),
                figures(r["in_service_gw"]),
                figures(r["target_gw"]),
                figures(r["short_chips"] / 1e3) if r["short_chips"] > 1 else "0",
                r["binds"],
                memory or "–",
            ]
        )
    option = _limits(found)
    return [
        tag(
            "p",
            "A linear program places wafers, memory, packages, substrates and racks by quarter so that "
            "the own chips in service stay "
            "as close to the target as they can. What binds is the tight limit whose relief would be worth most.",
        ),
        chart_figure(
            "limits",
            [("", option)],
            caption="What each stage could bring into service in a quarter, and what is. Power is the room "
            "left by what stands already; wafers count good dies, their yield ramp included.",
            height=400,
        ),
        fold("The schedule by quarter", table(heads, rows, numeric=(1, 2, 3, 4))),
    ]


def _limits(found: list[dict[str, Any]]) -> Option:
    quarters = [r["quarter"] for r in found]
    before = [0.0, *np.cumsum([r["deployed_chips"] for r in found])[:-1].tolist()]
    drawn = []
    for i, stage in enumerate(STAGES[:-1]):
        values = [
            (r["limits"][stage] - (before[q] if stage == "power" else 0)) / 1e3 for q, r in enumerate(found)
        ]
        drawn.append(
            {
                "name": stage,
                "type": "line",
                "step": "middle",
                "data": values,
                "showSymbol": False,
                "lineStyle": {"color": colour(COLOURS[(i + 1) % 8]), "width": 1.8},
                "itemStyle": {"color": colour(COLOURS[(i + 1) % 8])},
            }
        )
    bars = [r["deployed_chips"] / 1e3 for r in found]
    drawn.append(
        {
            "name": "into service",
            "type": "bar",
            "data": bars,
            "itemStyle": {"color": colour("accent"), "opacity": 0.55},
        }
    )
    top = 3.0 * max([*bars, 1.0])
    return {
        "grid": {"left": 40, "right": 20, "top": 40, "bottom": 44, "containLabel": True},
        "legend": {},
        "tooltip": {"trigger": "axis", "formatter": function("stack", "k chips")},
        "xAxis": {"type": "category", "data": quarters},
        "yAxis": axis("thousand chips a quarter", gap=46, nameRotate=90, high=float(f"{top:.1g}"))
        | {"axisLabel": {"formatter": function("plain")}},
        "series": drawn,
    }


def power(plan: Plan) -> list[Markup]:
    """Supply by site, a typical day, effect on the grid, policies."""
    s = plan.scenario
    last = max(s.targets)
    rows = []
    for site in s.sites:
        p = plan.energy.plans.get((site.name, last))
        if p is None:
            continue
        c, e = p.capacity, p.energy
        used = max(p.load, 1e-9)
        rows.append(
            [
                f"{site.name} ({site.zone}, {'own' if site.own else 'partner'})",
                figures(p.load / 8766),
                *(figures(c[k]) if c[k] > 0.5 else "–" for k in ("grid", "gas", "solar", "wind", "battery")),
                *(percent(e[k] / used) for k in ("grid", "gas")),
                percent((e["solar"] + e["wind"]) / used),
                percent(p.curtailed / max(e["solar"] + e["wind"] + p.curtailed, 1e-9)),
                figures(p.per_mwh),
                percent(float(plan.year(f"site.{site.name}.peak_share", last)[0]), 1),
                percent(float(plan.year(f"site.{site.name}.price_rise", last)[0]), 1),
                figures(float(plan.year(f"site.{site.name}.shortfall", last)[0]) / 1e9),
            ]
        )
    heads = [
        f"End of {last}",
        "Mean load, MW",
        "Grid, MW",
        "Gas",
        "Solar",
        "Wind",
        "Battery",
        "from grid",
        "from gas",
        "sun, wind",
        "curtailed",
        "$/MWh",
        "of zone's peak",
        "price rise",
        "lacking, GW",
    ]
    return [
        tag(
            "p",
            "The cheapest supply of each site by a linear program over typical days: hourly prices of "
            "the zone, the connection's limit, "
            "gas with its ramp, sun and wind with curtailment, batteries, load that may wait within its "
            "day, and load that is shed at a price.",
        ),
        table(
            heads,
            rows,
            numeric=range(1, 15),
            caption="Price rise and lacking firm capacity are what the zone sees if nobody builds for the site.",
        ),
        _day(plan),
        _policies(plan),
    ]


def _day(plan: Plan) -> Markup:
    last = max(plan.scenario.targets)
    variants = []
    for site in plan.scenario.sites:
        p = plan.energy.plans.get((site.name, last))
        if p is None:
            continue
        series = []
        for i, k in enumerate(("grid", "gas", "solar", "wind", "discharge")):
            values = p.hours[k][13].tolist()  # July, a good day
            if max(values) < 0.5:
                continue
            series.append(
                {
                    "name": {"discharge": "battery"}.get(k, k),
                    "type": "line",
                    "stack": "all",
                    "data": values,
                    "showSymbol": False,
                    "areaStyle": {"color": colour(COLOURS[i]), "opacity": 0.6},
                    "lineStyle": {"width": 0},
                    "itemStyle": {"color": colour(COLOURS[i])},
                }
            )
        series.append(
            {
                "name": "load",
                "type": "line",
                "data": p.hours["load"][13].tolist(),
                "showSymbol": False,
                "lineStyle": {"color": colour("ink"), "width": 2},
                "itemStyle": {"color": colour("ink")},
            }
        )
        variants.append(
            (
                site.name,
                {
                    "grid": {"left": 40, "right": 20, "top": 40, "bottom": 44, "containLabel": True},
                    "legend": {},
                    "tooltip": {"trigger": "axis", "formatter": function("stack", "MW")},
                    "xAxis": {
                        "type": "category",
                        "data": [f"{h:02d}" for h in range(24)],
                        "name": "hour, UTC",
                        "nameGap": 28,
                    },
                    "yAxis": axis("MW", gap=46, nameRotate=90)
                    | {"axisLabel": {"formatter": function("plain")}},
                    "series": series,
                },
            )
        )
    return chart_figure(
        "day",
        variants,
        label="Site ",
        caption=f"A typical day of July {last}: where each site's power comes from.",
        height=330,
    )


def _policies(plan: Plan) -> Markup:
    v, s = plan.nominal, plan.scenario
    shape = demand.shape_of(v, s)[0]
    other = float(in_unit(plan, "system.own.other_power")[0, 0])
    idle = float(in_unit(plan, "idle.own")[0, 0]) + other
    last = max(s.targets)
    active = float(plan.year("active_power.own", last)[0]) + other
    full = float(in_unit(plan, "chip.own.power")[0, 0]) + other
    peak = 1 / float(in_unit(plan, "demand.headroom")[0, 0])
    shift = float(in_unit(plan, "energy.shift")[0, 0])
    rows = []
    for extra in OVERSUBSCRIBED:
        # Capping slows chips only where the site would draw more than its full power.
        p = policies.oversubscribe(shape, peak * (active - idle) / (full - idle), idle, full, extra)
        q = policies.oversubscribe(shape, peak * (active - idle) / (full - idle), idle, full, extra, shift)
        rows.append(
            [
                f"+{percent(extra)}",
                str(p.capped_hours),
                percent(p.lost, 2),
                percent(q.lost, 2),
                percent(q.delayed, 2),
                percent(q.work - 1, 1),
                percent(q.mean_load),
            ]
        )
    return table(
        [
            "More chips than full power allows",
            "Hours capped a day",
            "Work lost, capping",
            "lost if some waits",
            "work that waits",
            "more work done",
            "mean load of the limit",
        ],
        rows,
        numeric=range(1, 7),
        caption="Power policies of an own site: chips beyond the connection's limit, slowed in the "
        "hours that would exceed it, and what that costs in service.",
    )


__all__ = ["build_out", "power", "supply", "year_bars"]
