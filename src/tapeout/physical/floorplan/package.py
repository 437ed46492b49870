"""The package seen from above: dies in a row, HBM stacks along their long edges, the interposer under them.

Neighbouring dies face each other with their short edges, along which the links between them run. Of two, the second is
turned by 180°, so that both are the same die.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.physical.floorplan.budget import own
from tapeout.physical.floorplan.die import Floorplan


@dataclass(frozen=True)
class Placed:
    """A die or a stack on the package: lower left corner and size, mm; `turned`: by 180°."""

    name: str
    x: float
    y: float
    width: float
    height: float
    turned: bool = False


@dataclass(frozen=True)
class Package:
    """Size in mm of what dies and stacks stand on, with its margin."""

    width: float
    height: float
    dies: tuple[Placed, ...]
    stacks: tuple[Placed, ...]


def package(plan: Floorplan) -> Package:
    """The package of a chip whose die is `plan`. Memory that is not stacked is on the board, not here."""
    spec = plan.spec
    gap, margin, depth = (own(f"package.{n}", "mm") for n in ("gap", "margin", "stack_depth"))
    edge = plan.budget.phy_edge
    dies, stacks = [], []
    left = plan.budget.phys - plan.budget.phys // 2
    tall = max(plan.height, left * edge) if plan.budget.stacked else plan.height
    aside = depth + gap if plan.budget.stacked else 0.0
    remaining = spec.memory.stacks
    for i in range(spec.dies):
        middle = margin + tall / 2 + i * (tall + gap)
        y = middle - plan.height / 2
        turned = spec.dies == 2 and i == 1
        dies.append(Placed(f"die {i}", margin + aside, y, plan.width, plan.height, turned))
        if not plan.budget.stacked:
            continue
        phys = sorted(
            (b for b in plan.blocks if b.kind == "memory_phy"), key=lambda b: (b.x > plan.width / 2, b.y)
        )
        for side in (False, True):
            mine = [p for p in phys if (p.x > plan.width / 2) == side]
            centres = [p.y + p.height / 2 for p in mine]
            spread = _apart(centres, edge)
            if spec.dies > 1:  # none reaches over into the next die's part
                beyond = (tall - plan.height) / 2
                spread = _within(spread, edge, -beyond, plan.height + beyond)
            for k, c in enumerate(spread):
                if remaining == 0:
                    break
                remaining -= 1
                on_right = side != turned
                x = margin + aside + plan.width + gap if on_right else margin
                centre = y + (plan.height - c if turned else c)
                name = f"stack {i}.{'right' if side else 'left'}.{k}"
                stacks.append(Placed(name, x, centre - edge / 2, depth, edge))
    return Package(
        plan.width + 2 * (margin + aside),
        spec.dies * tall + (spec.dies - 1) * gap + 2 * margin,
        tuple(dies),
        tuple(stacks),
    )


def _apart(centres: list[float], pitch: float) -> list[float]:
    """The same centres, moved as little as it takes for bodies of length `pitch` not to overlap."""
    if not centres:
        return []
    lowest: list[float] = []
    for c in centres:
        lowest.append(max(c, lowest[-1] + pitch) if lowest else c)
    back = (sum(lowest) - sum(centres)) / len(centres)  # as much down as up
    return [c - back for c in lowest]


def _within(centres: list[float], pitch: float, low: float, high: float) -> list[float]:
    """Centres of bodies of length `pitch` side by side, moved until all are between `low` and `high`, in which they
    fit."""
    last = len(centres) - 1
    above = [max(c, low + pitch * (k + 0.5)) for k, c in enumerate(centres)]
    return [min(c, high - pitch * (last - k + 0.5)) for k, c in enumerate(above)]
