"""Rectangles of a floorplan, and cutting a region into parts of given areas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

Kind = Literal[
    "tile", "core", "matrix", "vector", "scratchpad", "crossbar", "sequencer", "noc",
    "memory_phy", "serdes", "die_to_die", "host", "management", "io",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Rectangle:
    """A block: lower left corner and size in mm. `grid`: columns and rows of equal parts that fill it."""

    kind: Kind
    name: str
    x: float
    y: float
    width: float
    height: float
    grid: tuple[int, int] = (1, 1)

    @property
    def area(self) -> float:
        """mm²."""
        return self.width * self.height

    def moved(self, dx: float, dy: float, name: str | None = None) -> Rectangle:
        """The same elsewhere."""
        return replace(self, x=self.x + dx, y=self.y + dy, name=self.name if name is None else name)

    def shrunk(self, share: float) -> Rectangle:
        """The rectangle of that share of the area in the middle of this one, of the same proportion."""
        side = share**0.5
        w, h = self.width * side, self.height * side
        return replace(
            self, x=self.x + (self.width - w) / 2, y=self.y + (self.height - h) / 2, width=w, height=h
        )


@dataclass(frozen=True)
class Item:
    """What is to be placed: mm² of a kind."""

    kind: Kind
    name: str
    area: float


def across(
    items: Sequence[Item], x: float, y: float, width: float, height: float, vertical: bool = False
) -> list[Rectangle]:
    """The region cut by `items` in proportion to their areas: side by side from the left, or (`vertical`) from the
    bottom up. Together they fill it; items without area are left out."""
    whole = sum(i.area for i in items)
    placed = []
    for item in items:
        if item.area <= 0:
            continue
        share = item.area / whole
        w, h = (width, height * share) if vertical else (width * share, height)
        placed.append(Rectangle(item.kind, item.name, x, y, w, h))
        x, y = (x, y + h) if vertical else (x + w, y)
    return placed


def near_square(count: int, width: float, height: float, aspect: float = 1.0) -> tuple[int, int]:
    """(columns, rows) whose product is `count` and whose cells are nearest to `aspect` wide for 1 high."""
    divisors = [c for c in range(1, int(count**0.5) + 1) if count % c == 0]
    divisors += [count // c for c in divisors]

    def badness(columns: int) -> float:
        shape = (width / columns) / (height / (count // columns)) / aspect
        return max(shape, 1 / shape)

    columns = min(sorted(set(divisors)), key=badness)
    return columns, count // columns


def overlapping(rectangles: Sequence[Rectangle], slack: float = 1e-9) -> list[tuple[str, str]]:
    """Names of every pair that overlaps by more than `slack` mm in both directions."""
    if not rectangles:
        return []
    x, y, w, h = (np.array([getattr(r, k) for r in rectangles]) for k in ("x", "y", "width", "height"))
    wide = np.minimum.outer(x + w, x + w) - np.maximum.outer(x, x)
    high = np.minimum.outer(y + h, y + h) - np.maximum.outer(y, y)
    i, j = np.nonzero(np.triu((wide > slack) & (high > slack), 1))
    return [(rectangles[int(p)].name, rectangles[int(q)].name) for p, q in zip(i, j, strict=True)]
