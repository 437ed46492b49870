"""The chain from a number of the plan to its inputs."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from tapeout.errors import InputError
from tapeout.fleet.formula import Month
from tapeout.fleet.plan import Plan
from tapeout.fleet.units import unit
from tapeout.physical.quantity import Quantity

DEEPEST = 60


@dataclass(frozen=True)
class Link:
    """A quantity of the chain, `depth` steps from the number asked for. `seen`: its own chain was given before."""

    depth: int
    name: str
    value: float
    unit: str
    formula: str
    about: str
    when: str
    quantity: Quantity | None
    seen: bool


def chain(plan: Plan, asked: str, depth: int = DEEPEST) -> list[Link]:
    """Every quantity that the number depends on, depth first. `asked`: a name, or a name and a year
    ("capex.2028"). Raises InputError with names that are near."""
    name, year = parse(plan, asked)
    found: list[Link] = []
    seen: set[str] = set()

    def walk(at: str, level: int) -> None:
        node = plan.graph.nodes[at]
        values = plan.year(at, year)
        when = {"scalar": "", "flow": f"in {year}", "stock": f"at the end of {year}"}[node.kind]
        if plan.nominal[at].shape[1] == 1:
            when = ""
        value = float(values[0]) / unit(node.unit).factor
        again = at in seen and bool(node.parents)
        about = node.about + (f"; {binding(plan, year)}" if at == "deliveries.own" else "")
        found.append(Link(level, at, value, node.unit, node.formula, about, when, node.quantity, again))
        if at in seen or level >= depth:
            return
        seen.add(at)
        for parent in node.parents:
            walk(parent, level + 1)

    walk(name, 0)
    return found


def binding(plan: Plan, year: int) -> str:
    """What binds the supply in each quarter of a year, in words."""
    schedule = plan.supply.nominal
    assert schedule is not None
    first = Month(year, 1).since(plan.graph.first) // 3
    quarters = [q for q in range(first, first + 4) if 0 <= q < plan.supply.quarters]
    words = [f"Q{q - first + 1} {schedule.binding(q)}" for q in quarters]
    return f"what binds: {', '.join(words)}" if words else "after the schedule's end"


def parse(plan: Plan, asked: str) -> tuple[str, int]:
    """(name, year) of what was asked for; the last target's year if none is."""
    match = re.fullmatch(r"(.+)\.(\d{4})", asked)
    name, year = (match[1], int(match[2])) if match else (asked, max(plan.scenario.targets))
    if asked in plan.graph.nodes:
        name, year = asked, max(plan.scenario.targets)
    if name not in plan.graph.nodes:
        from difflib import get_close_matches

        near = get_close_matches(name, list(plan.graph.nodes), 4, 0.4)
        tail = f" ({', '.join(near)}, …)" if near else ""
        raise InputError("--why", "", asked, f"a quantity of the plan{tail}, with a year where it has months")
    last = plan.graph.first.plus(plan.graph.months - 1).year
    if not plan.graph.first.year <= year <= last:
        raise InputError("--why", name, year, f"a year from {plan.graph.first.year} to {last}")
    return name, year


def lines(links: list[Link]) -> list[str]:
    """The chain as text."""
    found = []
    for x in links:
        head = f"{'  ' * x.depth}{x.name} = {number(x.value)} {x.unit}"
        head += f" {x.when}" if x.when else ""
        if x.quantity is not None:
            q = x.quantity
            span = f" [{number(q.low)} to {number(q.high)}]" if q.uncertain else ""
            head += f"{span}  ← {q.source} ({q.origin}, {q.confidence} confidence)"
        elif x.seen:
            head += "  (its chain is above)"
        elif x.formula:
            head += f"  = {x.formula}"
        if x.about and not x.seen and x.quantity is None:
            head += f"  # {x.about}"
        found.append(head)
    return found


def number(value: float) -> str:
    """Five figures."""
    if not np.isfinite(value):
        return "none"
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.5g}"
