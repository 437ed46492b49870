"""A core with its router: what is repeated over the array.

The router and the registers of its channels are a strip below the core. In the core, the scratchpad's banks stand in
two halves on either side of the engines, each half with its part of the crossbar beside them; matrix engine, vector
engine and sequencer with the load and store engines are between.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.chip.spec import ChipSpec
from tapeout.physical.floorplan.budget import Budget
from tapeout.physical.floorplan.shapes import Item, Rectangle, across, near_square


@dataclass(frozen=True)
class Tile:
    """Size in mm; `router`, `core`, and the core's `parts`, from the tile's lower left corner."""

    width: float
    height: float
    router: Rectangle
    core: Rectangle
    parts: tuple[Rectangle, ...]

    @property
    def aspect(self) -> float:
        """Longer over shorter side."""
        return max(self.width / self.height, self.height / self.width)


def tile(spec: ChipSpec, b: Budget, width: float, height: float) -> Tile:
    """The tile of `spec` in width × height mm, which is its area exactly."""
    n = b.cores
    router = Rectangle("noc", "router", 0.0, 0.0, width, b.noc / n / width)
    core = Rectangle("core", "core", 0.0, router.height, width, height - router.height)
    engine = spec.core.matrix
    tall = core.height > 1.4 * core.width  # then the halves of the scratchpad are below and above
    banks = spec.core.scratchpad.banks
    halves = (banks - banks // 2, banks // 2)
    pads = [
        Item("scratchpad", f"scratchpad half {i}", (b.sram + b.crossbar) / n * k / banks)
        for i, k in enumerate(halves)
    ]
    middle = Item("matrix", "engines", (b.matrix + b.vector + b.sequencer) / n)
    regions = across(
        [pads[0], middle, *([pads[1]] if halves[1] else [])], core.x, core.y, core.width, core.height, tall
    )
    parts: list[Rectangle] = []
    for i, region in enumerate(r for r in regions if r.kind == "scratchpad"):
        macros = Item("scratchpad", f"banks {i}", b.sram)
        bar = Item("crossbar", f"crossbar {i}", b.crossbar)
        order = [macros, bar] if i == 0 else [bar, macros]
        for r in across(order, region.x, region.y, region.width, region.height, tall):
            grid = near_square(halves[i], r.width, r.height, 1.6) if r.kind == "scratchpad" else (1, 1)
            parts.append(Rectangle(r.kind, r.name, r.x, r.y, r.width, r.height, grid))
    inside = next(r for r in regions if r.name == "engines")
    engines = [
        Item("matrix", "matrix engine", b.matrix),
        Item("vector", "vector engine", b.vector),
        Item("sequencer", "sequencer, load, store", b.sequencer),
    ]
    flat = inside.width > 2.5 * inside.height
    for r in across(engines, inside.x, inside.y, inside.width, inside.height, not flat):
        grid = (1, 1)
        if r.kind == "matrix":
            # Columns of units stand along the longer side if they are more.
            swap = (engine.columns > engine.rows) != (r.width > r.height) and engine.columns != engine.rows
            grid = (engine.rows, engine.columns) if swap else (engine.columns, engine.rows)
        elif r.kind == "vector":
            grid = near_square(spec.core.vector_lanes, r.width, r.height)
        parts.append(Rectangle(r.kind, r.name, r.x, r.y, r.width, r.height, grid))
    return Tile(width, height, router, core, tuple(parts))
