"""The floorplan of a die: every block of the area model as a rectangle in millimetres, none overlapping.

The die's outline is the area model's. It is cut from the outside inwards (memory PHYs on the two long edges, serial
and die-to-die links and the host interface on the rest of the edge, an array of cores in what is left), so blocks
cannot overlap; each block lies in the middle of its piece, and the pieces' margins are the whitespace.

HBM faces its stacks, so its PHYs keep the two long edges; PHYs of memories on the board take any edge, the corners
excepted. A PHY keeps its usual length of edge where there is room; gaps between PHYs are filled with what else wants an
edge, so that no depth is lost. Where more PHYs share an edge than it has room for they are made shorter and deeper,
which `checks` reports, and refuses beyond `edge.squeeze`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from tapeout.chip.spec import ChipSpec
from tapeout.physical.floorplan.budget import Budget, budget, own
from tapeout.physical.floorplan.shapes import Item, Kind, Rectangle, across
from tapeout.physical.floorplan.tile import Tile, tile

SLENDER = 4.0  # of a core: longer over shorter side


@dataclass(frozen=True)
class Floorplan:
    """One die of `spec`. `blocks`: all but the tiles, by name. `origins`: lower left corners of the tiles.

    `grid`: columns and rows of the array, the last row perhaps not full; `pitch`: mm from tile to tile.
    """

    spec: ChipSpec
    budget: Budget
    width: float
    height: float
    blocks: tuple[Rectangle, ...]
    tile: Tile
    grid: tuple[int, int]
    pitch: tuple[float, float]
    origins: tuple[tuple[float, float], ...]

    @property
    def used(self) -> float:
        """mm² of all blocks."""
        return sum(b.area for b in self.blocks) + len(self.origins) * self.tile.width * self.tile.height

    @property
    def utilisation(self) -> float:
        """Share of the die that blocks take."""
        return self.used / (self.width * self.height)

    @cached_property
    def tiles(self) -> tuple[Rectangle, ...]:
        """The tiles as blocks of the die."""
        t = self.tile
        return tuple(
            Rectangle("tile", f"core {i}", x, y, t.width, t.height) for i, (x, y) in enumerate(self.origins)
        )

    @property
    def parts(self) -> tuple[Rectangle, ...]:
        """What is inside every tile, on the die: routers and parts of the cores."""
        inside = (self.tile.router, *self.tile.parts)
        return tuple(
            r.moved(x, y, f"{r.name} of core {i}") for i, (x, y) in enumerate(self.origins) for r in inside
        )

    def areas(self) -> dict[Kind, float]:
        """mm² of the die by kind of block, largest first."""
        found: dict[Kind, float] = {}
        for r in (self.tile.router, *self.tile.parts):
            found[r.kind] = found.get(r.kind, 0.0) + r.area * len(self.origins)
        for r in self.blocks:
            found[r.kind] = found.get(r.kind, 0.0) + r.area
        return dict(sorted(found.items(), key=lambda x: -x[1]))


def floorplan(spec: ChipSpec) -> Floorplan:
    """The floorplan of one die of `spec`, at the tables' nominal values.

    A spec that breaks a limit is drawn all the same; `tapeout.physical.floorplan.checks` tells.
    """
    b = budget(spec)
    pieces, region = _ringed(b)
    plan = _planned(spec, b, [p.shrunk(b.used / b.total) for p in pieces], region)
    if b.phys <= 2 and not b.stacked and plan.tile.aspect > SLENDER:
        # A die that is little more than its PHYs: they take the whole width, the rest is in a band below.
        length = b.phys * b.phy / b.width
        if own("edge.squeeze", "1") * b.phy_edge <= length < b.height:
            banded = _planned(spec, b, *_banded(b, length))
            plan = min(plan, banded, key=lambda p: p.tile.aspect)
    return plan


Region = tuple[float, float, float, float]  # x0, y0, x1, y1


def _planned(spec: ChipSpec, b: Budget, blocks: Sequence[Rectangle], region: Region) -> Floorplan:
    """The array of tiles in the region that the blocks leave; a tile no more than 2:1 where its cell has room."""
    x0, y0, x1, y1 = region
    columns, rows = _grid(b, x1 - x0, y1 - y0)
    px, py = (x1 - x0) / columns, (y1 - y0) / rows
    shrink = (b.tile / (px * py)) ** 0.5
    w, h = px * shrink, py * shrink
    if max(w, h) > 2 * min(w, h):
        side = min(0.97 * min(px, py), (b.tile / 2) ** 0.5)
        if side > min(w, h):
            w, h = (b.tile / side, side) if w > h else (side, b.tile / side)
    t = tile(spec, b, w, h)
    origins = tuple(
        (x0 + (i % columns) * px + (px - t.width) / 2, y0 + (i // columns) * py + (py - t.height) / 2)
        for i in range(b.cores)
    )
    return Floorplan(spec, b, b.width, b.height, tuple(blocks), t, (columns, rows), (px, py), origins)


def _soft(b: Budget, scale: float) -> list[Item]:
    """What is placed by its area, times `scale`."""
    return [
        Item("host", "host interface", b.host * scale),
        Item("io", "low-speed IO", b.io * scale),
        Item("management", "management", b.management * scale),
    ]


def _banded(b: Budget, length: float) -> tuple[list[Rectangle], Region]:
    """One PHY of the die's width, or two that share it, and below a band with everything else."""
    low = b.height - length
    sides = [Item("memory_phy", f"memory PHY {side} 0", b.phy) for side in ("left", "right")[: b.phys]]
    scale = low * b.width / (b.used - b.phys * b.phy)  # the margins are all in the band
    items = [Item(i.kind, i.name, i.area * scale) for i in _soft(b, 1.0)]
    items.insert(0, Item("serdes", "SerDes bottom", b.serdes * scale))
    width = _whole(items) / low
    placed = across(items, 0.0, 0.0, width, low, vertical=low > width)
    blocks = across(sides, 0.0, low, b.width, length) + [p.shrunk(1 / scale) for p in placed]
    return blocks, (width, 0.0, b.width, low)


def _ringed(b: Budget) -> tuple[list[Rectangle], Region]:
    """PHYs and links around the array."""
    scale = b.total / b.used  # a piece's area for each mm² of block
    counts, each = _sides(b)
    phy = b.phy * scale
    rest = [*_soft(b, scale), Item("serdes", "SerDes", b.serdes * scale)]
    pieces: list[Rectangle] = []
    x0, x1, y0, y1 = 0.0, b.width, 0.0, b.height
    # The long edges, whole; what fills gaps there is what needs least of the edge first.
    for side in ("left", "right"):
        if not (n := counts[side]):
            continue
        spare = (b.height - n * each) * phy / each
        gap, rest = _filled(spare, rest, ("management", "io", "host", "serdes"), side)
        column = _between(side, n, phy, gap)
        depth = sum(i.area for i in column) / b.height
        x = x0 if side == "left" else x1 - depth
        pieces += across(column, x, 0.0, depth, b.height, vertical=True)
        x0, x1 = (x0 + depth, x1) if side == "left" else (x0, x1 - depth)
    # The short edges between them. Lanes stay on the edge; without PHYs the host interface does too.
    inner = x1 - x0
    links = {side: i < b.link_count for i, side in enumerate(("top", "bottom"))}
    serial = _whole([i for i in rest if i.kind == "serdes"])
    rest = [i for i in rest if i.kind != "serdes"]
    lanes = _lanes(serial, links, 0.0 if any(counts[s] for s in ("bottom", "top")) else _whole(rest))
    for side in ("bottom", "top"):
        row = [Item("serdes", f"SerDes {side}", lanes[side])] if lanes[side] > 0 else []
        if n := counts[side]:
            spare = (inner - n * each) * phy / each - _whole(row)
            gap, rest = _filled(spare, rest, ("host", "io"), side)
            row = _between(side, n, phy, [*row, *gap])
        elif side == "bottom" and not counts["top"]:
            row, rest = [*row, *rest], []
        if links[side]:
            row.insert(len(row) // 2, Item("die_to_die", f"die to die {side}", b.link * scale))
        if not row:
            continue
        depth = _whole(row) / inner
        y = y0 if side == "bottom" else y1 - depth
        pieces += across(row, x0, y, inner, depth)
        y0, y1 = (y0 + depth, y1) if side == "bottom" else (y0, y1 - depth)
    if rest:  # behind the lower edge
        depth = _whole(rest) / inner
        pieces += across(rest, x0, y0, inner, depth)
        y0 += depth
    return pieces, (x0, y0, x1, y1)


def _whole(items: Sequence[Item]) -> float:
    return sum(i.area for i in items)


def _lanes(lanes: float, links: dict[str, bool], others: float) -> dict[str, float]:
    """mm² of `lanes` on either short edge: both equally deep with the `others` on the lower one; where another
    die is, its links have the edge to themselves as long as there is a free one."""
    if links["top"] and not links["bottom"]:
        return {"top": 0.0, "bottom": lanes}
    top = min(lanes, (lanes + others) / 2)
    return {"top": top, "bottom": lanes - top}


def _sides(b: Budget) -> tuple[dict[str, int], float]:
    """PHYs on each side, and mm of edge that each gets: both long edges where they face stacks, else where they
    keep most of their usual length, and as many on the long edges as that allows."""

    def split(long: int) -> dict[str, int]:
        short = b.phys - long
        return {"left": long - long // 2, "right": long // 2, "bottom": short - short // 2, "top": short // 2}

    def length(counts: dict[str, int]) -> float:
        each = min([b.phy_edge, *(b.height / counts[s] for s in ("left", "right") if counts[s])])
        for _ in range(40):  # shorter PHYs are deeper, which takes from the edges between them
            inner = b.width - sum(b.phy / each for s in ("left", "right") if counts[s])
            tight = min([each, *(inner / counts[s] for s in ("bottom", "top") if counts[s])])
            if tight <= 0:
                return 0.0
            if tight > each * (1 - 1e-9):
                break
            each = tight
        return each

    if b.stacked:
        return split(b.phys), length(split(b.phys))
    best = max(range(b.phys + 1), key=lambda long: (round(length(split(long)), 9), long))
    counts = split(best)
    if length(counts) <= 0:  # refused by `checks`; drawn as if there were only the long edges
        counts = split(b.phys)
    return counts, length(counts)


def _filled(
    spare: float, soft: Sequence[Item], kinds: Sequence[str], side: str
) -> tuple[list[Item], list[Item]]:
    """(what fills a gap of `spare` mm², what is left of `soft`): the `kinds` in their order, the last one cut."""
    found = []
    left = {i.kind: i for i in soft}
    for kind in kinds:
        item = left.get(kind)  # type: ignore[call-overload]
        if item is None or spare < 0.1 * item.area or item.area <= 0:  # no slivers
            continue
        take = item.area if spare > 0.95 * item.area else spare
        found.append(Item(item.kind, f"{item.name} {side}", take))
        spare -= take
        if take < item.area:
            left[item.kind] = Item(item.kind, item.name, item.area - take)
        else:
            del left[item.kind]
    return found, list(left.values())


def _between(side: str, count: int, area: float, gap: Sequence[Item]) -> list[Item]:
    """PHYs along an edge with what fills the gap in the middle."""
    phys = [Item("memory_phy", f"memory PHY {side} {i}", area) for i in range(count)]
    return [*phys[: count // 2], *gap, *phys[count // 2 :]]


def _grid(b: Budget, width: float, height: float) -> tuple[int, int]:
    """Columns and rows of the array: its cells hold a tile and are as near to square as any."""

    def badness(columns: int) -> tuple[bool, float]:
        rows = -(-b.cores // columns)
        w, h = width / columns, height / rows
        return (w * h < b.tile * (1 - 1e-9), max(w / h, h / w))

    guess = max(1, round((b.cores * width / height) ** 0.5))
    # Every exact divisor is a full grid, whose cells always hold a tile; others may be squarer.
    choices = {c for c in range(1, b.cores + 1) if b.cores % c == 0}
    choices |= set(range(max(1, guess - 8), min(b.cores, guess + 8) + 1))
    columns = min(sorted(choices), key=badness)
    return columns, -(-b.cores // columns)
