"""The network on chip as wires: how long its links are, and whether a clock period covers the longest.

Routers stand at the lower left of their tiles. Links run between neighbours, and from every memory PHY to the nearest
router; they lie in the upper layers over the cores. Delay is that of a repeated wire (`table.toml`).
"""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.physical.floorplan.budget import own
from tapeout.physical.floorplan.die import Floorplan


@dataclass(frozen=True)
class Hop:
    """A straight connection: (x, y) of both ends, mm."""

    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def length(self) -> float:
        """mm along the axes."""
        return abs(self.start[0] - self.end[0]) + abs(self.start[1] - self.end[1])


@dataclass(frozen=True)
class Mesh:
    """Links between routers and from PHYs to routers, and what they come to.

    `wires`: of a link, both directions. `delay_ps`: of the longest hop. `budget_ps`: what a period leaves to wires.
    `registers`: pipeline registers that the longest hop needs. `repeaters`: of all wires.
    """

    links: tuple[Hop, ...]
    entries: tuple[Hop, ...]
    wires: int
    link_mm: float
    wire_mm: float
    longest_mm: float
    delay_ps: float
    budget_ps: float
    registers: int
    repeaters: int
    bundle_mm: float  # width of a link's wires side by side in one layer


def mesh(plan: Floorplan) -> Mesh:
    """The mesh of one die."""
    columns, _ = plan.grid
    t, n = plan.tile, len(plan.origins)
    at = [(x, y + t.router.height / 2) for x, y in plan.origins]
    links = [Hop(at[i], at[i + 1]) for i in range(n - 1) if (i + 1) % columns]
    links += [Hop(at[i], at[i + columns]) for i in range(n - columns)]
    entries = []
    for b in plan.blocks:
        if b.kind == "memory_phy":
            middle = (b.x + b.width / 2, b.y + b.height / 2)
            nearest = min(at, key=lambda p, m=middle: (abs(p[0] - m[0]) + abs(p[1] - m[1]), p))  # type: ignore[misc]
            # It ends at the PHY's point that is nearest to the router.
            side = (min(max(nearest[0], b.x), b.x + b.width), min(max(nearest[1], b.y), b.y + b.height))
            entries.append(Hop(side, nearest))
    wires = plan.spec.noc_bytes_per_cycle * 8 * 2
    whole = sum(h.length for h in (*links, *entries))
    longest = max((h.length for h in (*links, *entries)), default=0.0)
    delay = longest * own(f"wire.{plan.spec.node}", "ps/mm")
    room = 1000 / plan.spec.clock_ghz * own("wire.cycle_share", "1")
    spacing = own("wire.repeater_spacing", "mm")
    return Mesh(
        tuple(links),
        tuple(entries),
        wires,
        whole,
        whole * wires,
        longest,
        delay,
        room,
        max(_ceil(delay / room) - 1, 0),
        sum(max(_ceil(h.length / spacing) - 1, 0) for h in (*links, *entries)) * wires,
        wires * own("wire.pitch", "mm"),
    )


def _ceil(value: float) -> int:
    return -int(-value // 1)
