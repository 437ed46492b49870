"""plan.html: what a fleet of own chips takes, costs and saves, how sure that is, and what must be true
for it to pay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapeout.fleet.output import in_unit, month_word, years
from tapeout.fleet.plan import Plan
from tapeout.fleet.risk import GroupIndex, Samples
from tapeout.fleet.stress import Condition, Stress
from tapeout.report import plan_money, plan_physical, plan_published, plan_risk
from tapeout.report.markup import Markup
from tapeout.report.numbers import figures, percent
from tapeout.report.page import Page, Tile, callout, tiles


def page(
    plan: Plan,
    samples: Samples | None,
    groups: Mapping[str, Mapping[str, GroupIndex]],
    cases: list[Stress],
    conditions: Mapping[str, list[Condition]],
    commands: str,
) -> str:
    """The whole HTML document."""
    s = plan.scenario
    report = Page(
        title=f"{s.title}: the plan",
        lead=(
            f"{plan.chip.name} in own and partner data centers from {s.first_wafers} to the end of "
            f"{max(s.targets)}, beside "
            f"accelerators of {' and '.join(s.vendors[a] for a in s.gpus)}. Every figure can be "
            f"followed to its inputs: "
            "tapeout plan --why NAME.YEAR."
        ),
        verdict=verdict(plan, samples),
        footer=(
            f"Money in US dollars of {s.start.year}, present values at the cost of capital. Made by: {commands}. "
            "Comparisons are at equal interactivity: the same requests within the same latency targets."
        ),
    )
    report.section("The plan in short", _tiles(plan, samples), *_says(plan, cases))
    report.section("What must be true", *plan_risk.must_be_true(plan, conditions), id="must-be-true")
    report.section("Own chip against others", *plan_money.versus(plan, samples), id="versus")
    report.section("When the own chip loses", *plan_risk.losses(plan, samples, cases), id="loses")
    report.section("Chips, sites, megawatts", *plan_physical.build_out(plan), id="build-out")
    report.section("Supply: what binds", *plan_physical.supply(plan), id="supply")
    report.section("Power", *plan_physical.power(plan), id="power")
    report.section("Money", *plan_money.money(plan), id="money")
    report.section("What could go wrong", *plan_risk.risks(plan, samples, groups), id="risk")
    report.section("Checked against published totals", *plan_published.checks(), id="published")
    report.section("Assumptions that matter most", *plan_risk.assumptions(plan, samples), id="assumptions")
    return report.render()


def best_other(plan: Plan) -> str:
    """The accelerator of others against which the own chip saves least."""
    return min(plan.scenario.gpus, key=lambda a: float(plan.nominal[f"versus.{a}.npv"][0, 0]))


def verdict(plan: Plan, samples: Samples | None) -> str:
    """The answer in two sentences."""
    s, a = plan.scenario, best_other(plan)
    saving = float(plan.nominal[f"versus.{a}.npv"][0, 0])
    date = month_word(plan, float(in_unit(plan, f"versus.{a}.date")[0, 0]))
    name = s.vendors[a]
    if saving > 0:
        first = f"At the values assumed the own chip saves {money(saving)} against {name} {a.upper()}"
        first += (
            f", the rival that comes nearest, and has earned back its cost by {date}."
            if date != "never"
            else "."
        )
    else:
        first = f"At the values assumed the own chip costs {money(-saving)} more than {name} {a.upper()}"
        first += " for the same work."
    npv = float(plan.nominal["npv"][0, 0])
    words = "earns" if npv > 0 else "loses"
    second = f" The plan as a whole {words} {money(abs(npv))} of present value"
    if samples is not None:
        win = float((samples.scalars[f"versus.{a}.npv"] > 0).mean())
        pays = float((samples.scalars["npv"] > 0).mean())
        second += f"; over the ranges of its inputs the chip wins in {percent(win)} of cases"
        second += f", the plan pays in {percent(pays)}"
    return first + second + "."


def money(value: float) -> str:
    """Dollars in billions or millions."""
    size = abs(value)
    if size >= 1e12:
        return f"${figures(value / 1e12)} trillion"
    return f"${figures(value / 1e9)} billion" if size >= 1e9 else f"${figures(value / 1e6)} million"


def _tiles(plan: Plan, samples: Samples | None) -> Markup:
    s, end = plan.scenario, max(plan.scenario.targets)
    a = best_other(plan)
    fleet = years(plan, "fleet.own")[end]
    power = fleet * float(in_unit(plan, "system.own.provisioned")[0, 0]) / 1e9
    target = s.value(f"target.y{end}", "GW")
    racks = fleet / float(in_unit(plan, "system.own.chips_per_rack")[0, 0])
    own = sum(years(plan, "capex.own").values())
    rivals = sum(years(plan, "capex.gpus").values())
    saving = float(plan.nominal[f"versus.{a}.npv"][0, 0])
    npv = float(plan.nominal["npv"][0, 0])
    date = month_word(plan, float(in_unit(plan, f"versus.{a}.date")[0, 0]))
    spread = npv_range = None
    if samples is not None:
        from tapeout.fleet.risk import quantiles

        q = quantiles(samples.scalars[f"versus.{a}.npv"])
        spread = f"90 % of cases: {figures(q['p5'] / 1e9)} to {figures(q['p95'] / 1e9)}"
        q = quantiles(samples.scalars["npv"])
        npv_range = f"90 % of cases: {figures(q['p5'] / 1e9)} to {figures(q['p95'] / 1e9)}"
    return tiles(
        [
            Tile(
                "Own chips in service",
                figures(fleet / 1e6),
                f"M, end of {end}",
                f"{figures(racks / 1e3)} thousand racks",
            ),
            Tile(
                "Power of the own fleet",
                figures(power),
                "GW",
                f"of {figures(target)} GW planned",
                "good" if power > 0.98 * target else "bad",
            ),
            Tile(
                "Capital, own fleet",
                figures(own / 1e9),
                "B$",
                f"{figures(rivals / 1e9)} B$ more on others' accelerators",
            ),
            Tile(
                f"Saving against {a.upper()}",
                figures(saving / 1e9),
                "B$ present value",
                spread,
                "good" if saving > 0 else "bad",
            ),
            Tile(
                "Break-even",
                date,
                "",
                f"at {figures(min(float(in_unit(plan, f'versus.{a}.volume')[0, 0]), 1e12) / 1e3)} "
                f"thousand chips NRE is back"
                if saving > 0
                else "does not happen at these values",
            ),
            Tile(
                "Value of the whole plan",
                figures(npv / 1e9),
                "B$ present value",
                npv_range,
                "good" if npv > 0 else "bad",
            ),
        ]
    )


def _says(plan: Plan, cases: list[Stress]) -> list[Markup]:
    found = []
    short = plan.shortfall()
    if short:
        found.append(callout(f"The schedule misses its target. {short}.", tone="bad"))
    s, end = plan.scenario, max(plan.scenario.targets)
    share = {a: years(plan, f"served.{a}")[end] for a in s.accelerators}
    served = years(plan, "served")[end]
    text = ", ".join(f"{s.vendors[a]} {percent(v)}" for a, v in share.items())
    busy = years(plan, "busy.own")[end]
    words = f"At the end of {end} the fleets serve {percent(served)} of demand: {text}."
    words += f" Own chips are busy {percent(busy)} of the time."
    if served < 0.98:
        words += " What is not served is demand that the power and chips of the plan cannot carry; it earns nothing."
    found.append(callout(words, tone="" if served > 0.98 else "bad"))
    chip, networks = (float(in_unit(plan, f"system.own.{k}")[0, 0]) for k in ("chip_price", "network_price"))
    if networks > chip:
        found.append(
            callout(
                f"The own chip's networks cost more than the chip: ${figures(networks)} a chip against "
                f"${figures(chip)}. Its links are worth another look before its cores are."
            )
        )
    bad = [c.name for c in cases if min(c.saving.values()) < 0]
    if bad:
        found.append(
            callout(f"The own chip loses to at least one rival if: {', '.join(b.lower() for b in bad)}.")
        )
    return found


def summary(plan: Plan) -> dict[str, Any]:
    """What the command prints: a few rows of (label, value)."""
    s, end = plan.scenario, max(plan.scenario.targets)
    fleet = years(plan, "fleet.own")[end]
    rows = {
        "own chips in service": f"{figures(fleet / 1e6)} M at the end of {end}",
        "their power": f"{figures(fleet * float(in_unit(plan, 'system.own.provisioned')[0, 0]) / 1e9)} GW provisioned",
        "capital, own fleet": money(sum(years(plan, "capex.own").values())),
        "capital, others' accelerators": money(sum(years(plan, "capex.gpus").values())),
        "demand served": f"{percent(years(plan, 'served')[end])} at the end of {end}",
        "present value of the plan": money(float(plan.nominal["npv"][0, 0])),
    }
    for a in s.gpus:
        saving = float(plan.nominal[f"versus.{a}.npv"][0, 0])
        date = month_word(plan, float(in_unit(plan, f"versus.{a}.date")[0, 0]))
        rows[f"against {a}"] = (
            f"saves {money(saving)}, break-even {date}" if saving > 0 else f"costs {money(-saving)} more"
        )
    return rows
