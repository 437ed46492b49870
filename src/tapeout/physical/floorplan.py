"""Floorplan at block level: rectangles in millimetres, to scale with the area model, none overlapping.

The two memory edges are the long ones (left and right), serial links take the short ones (top and bottom), the
cores an array between. Inside a core: matrix engine, vector engine, scratchpad, sequencer, each of its
modelled area; the mesh is the channels between cores. Whitespace is what the rectangles leave.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapeout.chip.designs import Designs
from tapeout.chip.spec import ChipSpec
from tapeout.physical.area import Area, area, outline
from tapeout.physical.views import shipped

Kind = Literal[
    "core", "matrix", "vector", "scratchpad", "sequencer", "memory_phy", "serdes", "die_to_die", "misc"
]


@dataclass(frozen=True)
class Rectangle:
    """A block: lower left corner and size in mm from the die's lower left corner."""

    kind: Kind
    name: str
    x: float
    y: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """mm²."""
        return self.width * self.height


@dataclass(frozen=True)
class Floorplan:
    """One die. `blocks` do not overlap each other; `parts` are what is inside the cores, likewise.

    `noc_pitch_mm`: (x, y) distance between neighbouring routers; `noc_length_mm`: of all mesh links.
    """

    width: float
    height: float
    blocks: tuple[Rectangle, ...]
    parts: tuple[Rectangle, ...]
    noc_mm2: float  # area of the mesh's routers, in the channels
    noc_pitch_mm: tuple[float, float]
    noc_length_mm: float

    @property
    def used(self) -> float:
        """mm² of all blocks and the mesh."""
        return sum(b.area for b in self.blocks) + self.noc_mm2

    @property
    def utilisation(self) -> float:
        """Share of the die that blocks and mesh take."""
        return self.used / (self.width * self.height)


def floorplan(spec: ChipSpec) -> Floorplan:
    """The floorplan of one die of `spec`, at the tables' nominal values.

    The outline is the area model's. A spec that breaks a limit (`tapeout.physical.problems`) is drawn all the
    same: its picture shows the same total area.
    """
    view = shipped().nominal()
    a = area(spec, view)
    o = outline(Designs.from_specs([spec]), view, a.total)
    width, height = float(o.width[0]), float(o.height[0])
    block = {name: float(np.ravel(value)[0]) for name, value in a.parts().items()}

    # Memory PHYs: columns of full height on both long edges, one rectangle for each stack.
    stacks = -(-spec.memory.stacks // spec.dies)
    blocks: list[Rectangle] = []
    one = block["memory_phy"] / stacks
    columns_mm = {}
    for side, count in (("left", stacks - stacks // 2), ("right", stacks // 2)):
        columns_mm[side] = wide = one * count / height
        x = 0.0 if side == "left" else width - wide
        for i in range(count):
            each = height / count
            blocks.append(Rectangle("memory_phy", f"memory {side} {i}", x, i * each, wide, each))
    x0, inner = columns_mm["left"], width - columns_mm["left"] - columns_mm["right"]

    # Rows across the short edges: links above and below, die-to-die and the rest on the lower one.
    rows: tuple[tuple[Kind, float], ...] = (
        ("serdes", block["serdes"] / 2),
        ("die_to_die", block["die_to_die"]),
        ("misc", block["misc"]),
    )
    bottom = 0.0
    for kind, mm2 in rows:
        if mm2 > 0:
            blocks.append(Rectangle(kind, kind, x0, bottom, inner, mm2 / inner))
            bottom += mm2 / inner
    top = block["serdes"] / 2 / inner
    if top > 0:
        blocks.append(Rectangle("serdes", "serdes top", x0, height - top, inner, top))

    cores, parts, pitch_xy = _array(spec.cores // spec.dies, block, x0, bottom, inner, height - bottom - top)
    columns = max(1, round(inner / pitch_xy[0]))
    full, rest = divmod(len(cores), columns)
    across = full * (columns - 1) + max(rest - 1, 0)
    up = max(full - 1, 0) * columns + (rest if full else 0)
    return Floorplan(
        width,
        height,
        (*blocks, *cores),
        tuple(parts),
        block["noc"],
        pitch_xy,
        across * pitch_xy[0] + up * pitch_xy[1],
    )


def _array(
    count: int, block: dict[str, float], x0: float, y0: float, width: float, height: float
) -> tuple[list[Rectangle], list[Rectangle], tuple[float, float]]:
    """`count` cores in the grid whose cells are nearest to square, each centred in its cell."""
    inside: dict[Kind, float] = {
        "scratchpad": block["scratchpad"] / count,
        "matrix": (block["matrix"] + block["accumulators"]) / count,
        "vector": block["vector"] / count,
        "sequencer": block["sequencer"] / count,
    }
    core_mm2 = sum(inside.values())
    columns = _columns(count, width, height, core_mm2)
    rows = -(-count // columns)
    cell_w, cell_h = width / columns, height / rows
    shrink = (core_mm2 / (cell_w * cell_h)) ** 0.5
    w, h = cell_w * shrink, cell_h * shrink
    cores: list[Rectangle] = []
    parts: list[Rectangle] = []
    for i in range(count):
        row, column = divmod(i, columns)
        x = x0 + column * cell_w + (cell_w - w) / 2
        y = y0 + row * cell_h + (cell_h - h) / 2
        cores.append(Rectangle("core", f"core {i}", x, y, w, h))
        parts += _split(inside, i, x, y, w, h)
    return cores, parts, (cell_w, cell_h)


def _columns(count: int, width: float, height: float, core_mm2: float) -> int:
    """Columns of the grid: its cells hold a core and are as near to square as any."""

    def badness(columns: int) -> tuple[bool, float]:
        rows = -(-count // columns)
        w, h = width / columns, height / rows
        return (w * h < core_mm2, max(w / h, h / w))

    guess = max(1, round((count * width / height) ** 0.5))
    # Every exact divisor is a full grid, whose cells always hold a core; others may be squarer.
    choices = {c for c in range(1, count + 1) if count % c == 0} | set(
        range(max(1, guess - 8), min(count, guess + 8) + 1)
    )
    return min(sorted(choices), key=badness)


def _split(inside: dict[Kind, float], i: int, x: float, y: float, w: float, h: float) -> Iterator[Rectangle]:
    """Scratchpad and matrix engine as two columns or rows along the longer side, the rest above the matrix."""
    total = sum(inside.values())
    pad = w * inside["scratchpad"] / total
    yield Rectangle("scratchpad", f"scratchpad {i}", x, y, pad, h)
    bottom = y
    for kind in ("matrix", "vector", "sequencer"):
        mm2 = inside[kind]
        yield Rectangle(kind, f"{kind} {i}", x + pad, bottom, w - pad, mm2 / (w - pad))
        bottom += mm2 / (w - pad)


def legend(a: Area) -> dict[str, float]:
    """mm² by block of one design, largest first: the caption of the picture."""
    parts = {name: float(np.ravel(value)[0]) for name, value in a.parts().items()}
    return dict(sorted(((k, v) for k, v in parts.items() if v > 0), key=lambda item: -item[1]))


def overlapping(rectangles: tuple[Rectangle, ...], slack: float = 1e-9) -> list[tuple[str, str]]:
    """Names of every pair that overlaps by more than `slack` mm in both directions."""
    if not rectangles:
        return []
    x, y, w, h = (np.array([getattr(r, k) for r in rectangles]) for k in ("x", "y", "width", "height"))
    across = np.minimum.outer(x + w, x + w) - np.maximum.outer(x, x)
    up = np.minimum.outer(y + h, y + h) - np.maximum.outer(y, y)
    i, j = np.nonzero(np.triu((across > slack) & (up > slack), 1))
    return [(rectangles[p].name, rectangles[q].name) for p, q in zip(i, j, strict=True)]
