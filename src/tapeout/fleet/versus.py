"""The own chip against buying others for the same work: same requests, same targets of latency, month by month."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.graph import Graph, Values
from tapeout.fleet.scenario import Scenario

Floats = NDArray[np.float64]
NEVER = 1e9  # months


def define(g: Graph, s: Scenario) -> None:
    """Add for each accelerator of others what the own chips' work would cost on it, and the difference."""
    g.let("cost.own", "USD", "nre + capex.own + opex.own", "flow", "all that the own programme costs")
    g.let("cost.own.present", "USD", "horizon(discounted(cost.own, finance.wacc))")
    for a in s.gpus:
        v = f"versus.{a}"
        g.let(
            f"{v}.fleet",
            "chip",
            f"highest(served.own * need.{a})",
            "stock",
            "chips that would serve what the own chips serve, at the same latency, never sold again",
        )
        g.let(
            f"{v}.bought",
            "chip",
            f"increase({v}.fleet) + later(increase({v}.fleet), finance.accelerator_life)",
            "flow",
            "and replaced at the end of their life",
        )
        g.let(f"{v}.capex", "USD", f"{v}.bought * price.{a}", "flow")
        g.let(
            f"{v}.site", "USD", f"{v}.fleet * watts.{a} * building.lease * month", "flow", "in rented sites"
        )
        cooling = s.cooling[a]
        g.let(
            f"{v}.energy",
            "USD",
            f"{v}.fleet * ((system.{a}.other_power + idle.{a})"
            f" + only_if_positive(active_power.{a} - idle.{a}) / (demand.peak * demand.headroom))"
            f" * cooling.{cooling}.pue * month * watts.{a} / system.{a}.provisioned * energy.gpu_price",
            "flow",
        )
        g.let(
            f"{v}.upkeep",
            "USD",
            f"{v}.fleet * (system.{a}.tray_price + system.{a}.rack_price + system.{a}.network_price)"
            f" * finance.maintenance * month + {v}.fleet * reliability.chip_failures * month * "
            f"reliability.chip_per_failure"
            f" * reliability.spare_price_share * system.{a}.chip_price",
            "flow",
        )
        g.let(
            f"{v}.cost",
            "USD",
            f"{v}.capex + {v}.site + {v}.energy + {v}.upkeep",
            "flow",
            "what the own chips' work would cost on it",
        )
        g.let(
            f"{v}.saving",
            "USD",
            f"{v}.cost - cost.own",
            "flow",
            "by the own chip; negative where it costs more",
        )
        g.let(
            f"{v}.npv",
            "USD",
            f"horizon(discounted({v}.saving, finance.wacc)) + residual_own * plan.last_discount",
            "scalar",
            "present value of the saving",
        )
        g.let(
            f"{v}.per_chip",
            "USD/chip",
            f"(horizon(discounted({v}.saving + nre, finance.wacc)) + residual_own * plan.last_discount)"
            " / max(horizon(deliveries.own), fleet.least)",
            "scalar",
            "present saving for each own chip, before NRE",
        )
        g.let(
            f"{v}.volume",
            "chip",
            f"horizon(discounted(nre, finance.wacc)) / max({v}.per_chip, versus.least)",
            "scalar",
            "own chips at which NRE is earned back, at this saving",
        )
        _date(g, v)
    _unit_costs(g, s)


def _date(g: Graph, v: str) -> None:
    def found(values: Values) -> dict[str, Floats]:
        path = np.cumsum(values[f"{v}.discounted"], axis=1)
        return {f"{v}.date": break_even(path)[:, None]}

    g.let(f"{v}.discounted", "USD", f"discounted({v}.saving, finance.wacc)", "flow")
    g.solve(
        {f"{v}.date": ("month", "scalar", "months until the saving stays positive; 1e9 if never")},
        (f"{v}.discounted",),
        "the first month from which the running sum of present savings stays above nil",
        found,
    )


def break_even(path: Floats) -> Floats:
    """[samples] the first month from which a running sum stays at or above nil; `NEVER` if its end is below."""
    below = path < 0
    last_below = np.where(below.any(axis=1), path.shape[1] - 1 - np.argmax(below[:, ::-1], axis=1), -1)
    return np.where(last_below == path.shape[1] - 1, NEVER, last_below + 1.0)


def _unit_costs(g: Graph, s: Scenario) -> None:
    """Cost of a million output tokens, prompts included, by class and accelerator, each at the same latency."""
    for a in s.accelerators:
        for c in s.classes:
            g.let(
                f"token_cost.{a}.{c}",
                "USD/Mtoken",
                f"system.{a}.hourly * demand.peak * demand.headroom"
                f" / (service.{a}.{c}.rate * availability * kind.{c}.output)",
                "scalar",
                f"a million output tokens of {c} with their prompts, on {s.vendors[a]}, loaded as planned",
            )
