"""Money: capital and running costs by layer, revenue, tax, financing; present value and rates of return."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.demand import total
from tapeout.fleet.formula import YEAR, Month
from tapeout.fleet.graph import Graph, Values
from tapeout.fleet.scenario import Scenario

Floats = NDArray[np.float64]


def define(g: Graph, s: Scenario) -> None:
    """Add all flows of money of the plan, in USD a month, and what they come to."""
    _nre(g, s)
    _capital(g, s)
    _running(g, s)
    _revenue(g, s)
    _result(g, s)
    _finance(g, s)


def _nre(g: Graph, s: Scenario) -> None:
    tape_out = s.tape_out.since(s.start)

    def spent(v: Values) -> dict[str, Floats]:
        months = np.arange(s.months)[None, :]
        slip = v.get_in("schedule.tape_out_slip", "month")
        until = np.maximum(tape_out + slip + 6, 1.0)  # bring-up goes on for two quarters after tape-out
        share = np.clip(until - months, 0, 1) / until
        return {"nre.design_share": share, "nre.late": np.maximum(slip, 0)}

    g.solve(
        {
            "nre.design_share": ("1", "flow", "of the remaining cost of design that falls in the month"),
            "nre.late": ("month", "scalar", "months that the team works longer"),
        },
        ("schedule.tape_out_slip",),
        f"evenly from {s.start} until two quarters after tape-out ({s.tape_out}), later by the slip",
        spent,
    )
    g.let(
        "nre",
        "USD",
        "nre.design_share * (nre.design + nre.masks * (1 + nre.respin) + nre.team * nre.late) + nre.software * month",
        "flow",
        "design, masks, respin, what a slip costs in team time, and software through the chip's life",
    )


def _capital(g: Graph, s: Scenario) -> None:
    o = "system.own"
    g.let("capex.own.chips", "USD", "deliveries.own * own.price", "flow")
    for part in ("tray", "rack", "network", "storage"):
        g.let(
            f"capex.own.{part}s" if part != "storage" else "capex.own.storage",
            "USD",
            f"deliveries.own * {o}.{part}_price",
            "flow",
        )
    own = [x for x in s.sites if x.own]
    shares = total(f"site.{x.name}.connected" for x in own) if own else "0 * sites.connected"
    g.let(
        "sites.own_share",
        "1",
        f"({shares}) / max(sites.connected, sites.least)",
        "stock",
        "of connected power that is on own sites",
    )
    g.let(
        "site.own_built",
        "W",
        "deliveries.own * system.own.provisioned * sites.own_share",
        "flow",
        "power of own sites that goes into service",
    )
    g.let(
        "capex.own.sites",
        "USD",
        "later(site.own_built, -building.lead / 2) * (building.mechanical_electrical + building.shell_land)",
        "flow",
        "buildings and power trains of own sites, half their lead time ahead",
    )
    own_parts = ("chips", "trays", "racks", "networks", "storage", "sites")
    g.let(
        "capex.own",
        "USD",
        total(f"capex.own.{k}" for k in own_parts),
        "flow",
        "capital spending on the own fleet",
    )
    for a in s.gpus:
        g.let(
            f"price.{a}",
            "USD/chip",
            f"system.{a}.it_price * exp(-gpu.{a}.progress * time)",
            "stock",
            "of the first generation's work, with all IT around it, as later generations do it for less",
        )
        g.let(f"capex.{a}", "USD", f"deliveries.{a} * price.{a}", "flow")
    g.let(
        "capex.gpus",
        "USD",
        total(f"capex.{a}" for a in s.gpus),
        "flow",
        "accelerators of others, with their IT",
    )
    g.let("capex", "USD", "capex.own + capex.gpus", "flow", "capital spending")


def _running(g: Graph, s: Scenario) -> None:
    g.let("opex.own.energy", "USD", "energy_cost.own", "flow")
    g.let(
        "lease.own",
        "W",
        "fleet.own * system.own.provisioned * (1 - sites.own_share)",
        "stock",
        "power of partner sites that is rented",
    )
    g.let("opex.own.lease", "USD", "lease.own * building.lease * month", "flow", "partner sites")
    g.let(
        "opex.own.upkeep",
        "USD",
        "fleet.own * (system.own.tray_price + system.own.rack_price + system.own.network_price) * "
        "finance.maintenance * month"
        " + cumulative(site.own_built) * (building.mechanical_electrical + building.shell_land) * "
        "building.maintenance * month",
        "flow",
        "maintenance of IT and buildings",
    )
    g.let(
        "opex.own.spares",
        "USD",
        "fleet.own * reliability.chip_failures * month * reliability.chip_per_failure"
        " * reliability.spare_price_share * own.price",
        "flow",
        "chips replaced",
    )
    g.let(
        "opex.own.staff",
        "USD",
        "fleet.own * system.own.provisioned * building.staff * building.staff_cost * month",
        "flow",
    )
    parts = ("energy", "lease", "upkeep", "spares", "staff")
    g.let("opex.own", "USD", total(f"opex.own.{k}" for k in parts), "flow", "running the own fleet")
    for a in s.gpus:
        cooling = s.cooling[a]
        fall = f"exp(-gpu.{a}.progress * time / 2)"  # half of progress is work per watt
        g.let(
            f"watts.{a}",
            "W/chip",
            f"system.{a}.provisioned * {fall}",
            "stock",
            "provisioned for the first generation's work: half of progress is work per watt",
        )
        g.let(
            f"energy.{a}",
            "MWh",
            f"fleet.{a} * mean_power.{a} * cooling.{cooling}.pue * month * {fall}",
            "flow",
        )
        g.let(f"opex.{a}.energy", "USD", f"energy.{a} * energy.gpu_price", "flow")
        g.let(
            f"opex.{a}.lease",
            "USD",
            f"fleet.{a} * watts.{a} * building.lease * month",
            "flow",
            "partner sites",
        )
        g.let(
            f"opex.{a}.upkeep",
            "USD",
            f"fleet.{a} * (system.{a}.tray_price + system.{a}.rack_price + system.{a}.network_price) * "
            f"finance.maintenance * month"
            f" + fleet.{a} * reliability.chip_failures * month * reliability.chip_per_failure"
            f" * reliability.spare_price_share * system.{a}.chip_price",
            "flow",
        )
        g.let(f"opex.{a}", "USD", f"opex.{a}.energy + opex.{a}.lease + opex.{a}.upkeep", "flow")
    g.let("opex.gpus", "USD", total(f"opex.{a}" for a in s.gpus), "flow")
    g.let("opex", "USD", "opex.own + opex.gpus", "flow", "running costs of all fleets")
    g.let(
        "energy",
        "MWh",
        "energy.own + " + total(f"energy.{a}" for a in s.gpus),
        "flow",
        "energy of all fleets",
    )


def _revenue(g: Graph, s: Scenario) -> None:
    g.let(
        "revenue.per_user_now",
        "USD/(user·year)",
        "revenue.per_user * exp(revenue.per_user_growth * (1 - exp(-revenue.growth_slowing * time)) / "
        "revenue.growth_slowing)",
        "stock",
        "subscriptions and advertising, growing at a declining rate",
    )
    g.let("revenue.users", "USD", "users * revenue.per_user_now * month * served", "flow")
    sold = [c for c in s.classes if f"kind.{c}.rate" in s.quantities]
    for c in sold:
        g.let(
            f"revenue.{c}",
            "USD",
            f"(tokens.{c}.prefill * revenue.input_price + tokens.{c}.cached * revenue.cached_price"
            f" + tokens.{c}.decode * revenue.output_price) * exp(-revenue.price_fall * time) * served",
            "flow",
            "sold by the token, at prices that fall",
        )
    g.let("revenue", "USD", total(["revenue.users", *(f"revenue.{c}" for c in sold)]), "flow")
    g.let(
        "cost_of_revenue",
        "USD",
        "revenue * finance.other_cost_of_revenue",
        "flow",
        "payments, support, partners' share",
    )


def _depreciated(name: str, life: str) -> str:
    return f"(cumulative({name}) - later(cumulative({name}), {life})) / {life} * month"


def _result(g: Graph, s: Scenario) -> None:
    g.let("capex.it", "USD", "capex - capex.own.sites", "flow")
    g.let("capex.own.it", "USD", "capex.own - capex.own.sites", "flow")
    g.let(
        "depreciation",
        "USD",
        _depreciated("capex.it", "finance.accelerator_life")
        + " + "
        + _depreciated("capex.own.sites", "building.life"),
        "flow",
        "straight line",
    )
    g.let(
        "profit",
        "USD",
        "revenue - cost_of_revenue - opex - nre - depreciation",
        "flow",
        "before interest and tax",
    )

    def taxed(v: Values) -> dict[str, Floats]:
        """On positive profit after losses carried forward."""
        profit = v["profit"]
        loss = np.zeros(profit.shape[0])
        base = np.zeros_like(profit)
        for t in range(profit.shape[1]):
            loss = loss + profit[:, t]
            base[:, t] = np.maximum(loss, 0)
            loss = np.minimum(loss, 0)
        return {"tax": base * v["finance.tax"]}

    g.solve(
        {"tax": ("USD", "flow", "on profit, losses carried forward")},
        ("profit", "finance.tax"),
        "rate × profit beyond all earlier losses",
        taxed,
    )
    g.let(
        "cash",
        "USD",
        "revenue - cost_of_revenue - opex - nre - tax - capex",
        "flow",
        "free cash flow before financing",
    )
    g.let(
        "residual",
        "USD",
        "final(cumulative(capex.own.sites)) * max(0, 1 - (plan.length - plan.middle) / building.life)"
        " + final(cumulative(capex.it) - later(cumulative(capex.it), finance.accelerator_life)) * finance.residual",
        "scalar",
        "what the buildings and the youngest accelerators are still worth at the end",
    )
    g.let(
        "residual_own",
        "USD",
        "final(cumulative(capex.own.sites)) * max(0, 1 - (plan.length - plan.middle) / building.life)"
        " + final(cumulative(capex.own.it) - later(cumulative(capex.own.it), finance.accelerator_life)) "
        "* finance.residual",
        "scalar",
        "of it, of the own programme",
    )
    g.let(
        "npv",
        "USD",
        "horizon(discounted(cash, finance.wacc)) + residual * plan.last_discount",
        "scalar",
        "present value of all cash at the plan's start, at the cost of capital",
    )

    def returns(v: Values) -> dict[str, Floats]:
        # either may be the same for all samples where the other is not
        flow = v["cash"] + 0 * v["residual"]
        flow[:, -1] += v["residual"][:, 0]
        return {"irr": internal_rate(flow)[:, None] * YEAR}

    g.solve(
        {"irr": ("1/year", "scalar", "internal rate of return of the cash before financing")},
        ("cash", "residual"),
        "the rate at which the present value is nil (bisection)",
        lambda v: {"irr": returns(v)["irr"]},
    )


def internal_rate(flow: Floats) -> Floats:
    """[samples] yearly rate per second at which the present value of monthly flows is nil, from -90 % to +300 % a year;
    NaN where there is none."""
    years = (np.arange(flow.shape[1]) + 0.5) / 12

    def value(rate: Floats) -> Floats:
        out: Floats = np.sum(flow * (1 + rate[:, None]) ** -years[None, :], axis=1)
        return out

    low, high = np.full(flow.shape[0], -0.9), np.full(flow.shape[0], 3.0)
    sign_low, sign_high = np.sign(value(low)), np.sign(value(high))
    for _ in range(60):
        middle = (low + high) / 2
        same = np.sign(value(middle)) == sign_low
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    found: Floats = np.where(sign_low * sign_high < 0, (low + high) / 2, np.nan) / YEAR
    return found


def _finance(g: Graph, s: Scenario) -> None:
    g.let("debt.drawn", "USD", "finance.debt_share * capex", "flow")
    g.let(
        "debt.service",
        "USD",
        "annuity(cumulative(debt.drawn) - later(cumulative(debt.drawn), finance.debt_term), "
        "finance.debt_rate, finance.debt_term)"
        " * month",
        "flow",
        "level payments over the term",
    )
    g.let("vendor.drawn", "USD", "finance.vendor_share * capex.gpus", "flow", "accelerators paid later")
    g.let(
        "vendor.paid",
        "USD",
        "later(vendor.drawn, finance.vendor_delay) * exp(finance.vendor_rate * finance.vendor_delay)",
        "flow",
    )
    g.let(
        "equity_cash",
        "USD",
        "cash + debt.drawn - debt.service + vendor.drawn - vendor.paid",
        "flow",
        "after debt and vendors' credit; interest's effect on tax left out",
    )
    g.let(
        "funding", "USD", "peak(-cumulative(equity_cash))", "scalar", "most money that owners have in at once"
    )
    del s


def month_of(s: Scenario, index: int) -> Month:
    """The calendar month of an index of the plan."""
    return s.start.plus(index)
