"""Drivers of nets that cross modules, sized once everything is placed.

A module is mapped alone, so ABC cannot know what its outputs drive: the activations of a row of the matrix engine go to
every unit of it. Where the transition of such a net is too slow, its driver becomes the smallest cell of the same
function that is fast enough; where none is, a buffer goes between. It is what a synthesis tool calls
a maximum transition, held across hierarchy; within a module ABC has sized already.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tapeout.physical.synthesis.library import Cell
from tapeout.physical.synthesis.mapping import avoided
from tapeout.physical.synthesis.netlist import Flat, Module
from tapeout.physical.synthesis.pdk import Kit
from tapeout.physical.synthesis.tables import Tables

# Transitions are at most this many times that of the smallest inverter driving four like itself (the fanout-of-4 delay
# is the usual unit of a technology: Weste and Harris, CMOS VLSI Design, 4th ed., section 4.4.5).
MOST_TRANSITION = 2.0

Driver = tuple[str, int, int]  # cell type, row and column in the module's pins


class Drivers:
    """The cells of a library as drivers: the same function in several strengths, and buffers."""

    def __init__(self, kit: Kit) -> None:
        self.kit = kit
        cells = [c for c in kit.library.cells.values() if not avoided(kit, c.name) and len(c.outputs) == 1]
        cells.sort(key=lambda c: (c.area_um2, c.name))
        self.alike: dict[object, list[Cell]] = {}
        for cell in cells:
            self.alike.setdefault(_kind(cell), []).append(cell)
        self.buffers = [c for c in cells if _is_unary(c, 1)]
        self.tables = Tables()
        self._slews = {
            c.name: [self.tables.index(t) for p in c.outputs for a in p.arcs for t in a.slew.values()]
            for c in kit.library.cells.values()
        }
        self.tables.seal()
        inverter = next((c for c in cells if _is_unary(c, 0)), None)
        self.most_ps = (
            MOST_TRANSITION * self.transition_ps(inverter, 4 * input_ff(inverter), kit.known.clock_slew_ps)
            if inverter
            else np.inf
        )

    def transition_ps(self, cell: Cell, load_ff: float, slew_ps: float) -> float:
        """The slowest edge of the cell's output at that load, for an input of that slew."""
        which = np.array(self._slews[cell.name], dtype=np.int64)
        if not len(which):
            return 0.0
        every = np.ones(len(which))
        return float(self.tables.look_up(which, slew_ps * every, load_ff * every).max())

    def holds(self, cell: Cell, load_ff: float) -> bool:
        """Whether the cell drives that load fast enough."""
        slew = self.kit.known.clock_slew_ps if cell.flip_flop else self.most_ps / MOST_TRANSITION
        return self.transition_ps(cell, load_ff, slew) <= self.most_ps

    def smallest(self, cells: list[Cell], load_ff: float) -> Cell | None:
        """The first that drives the load."""
        return next((c for c in cells if self.holds(c, load_ff)), None)


def input_ff(cell: Cell) -> float:
    """Capacitance of the first data input, the larger of its edges."""
    return max(next(p for p in cell.inputs if not p.clock).capacitance_ff)


def sized(
    modules: Mapping[str, Module], flat: Flat, kit: Kit, loads_ff: NDArray[np.float64]
) -> dict[str, Module]:
    """The same modules with the drivers of nets between them sized for `flat`, in which they are placed.

    `loads_ff`: what each net of `flat` drives, by edge (nets, 2).
    """
    if len(modules) < 2:
        return dict(modules)
    drivers, loads = Drivers(kit), loads_ff.max(axis=1)
    return {name: _module(m, _loads_of(flat, m, loads), drivers) for name, m in modules.items()}


def _kind(cell: Cell) -> object:
    """The same for cells that can take each other's place: pins by name, function, state."""
    out = cell.outputs[0]
    if out.function is None or cell.state or cell.latch:
        of_state = (cell.clocked_on, cell.next_state, cell.clear, cell.preset, out.function)
        texts = tuple(f.text if f else "" for f in of_state)
        return (tuple(cell.pins), cell.state, texts, cell.name if cell.latch or not out.function else "")
    inputs = [p.name for p in cell.inputs]
    rows = tuple(_evaluated(cell, inputs, i) for i in range(1 << len(inputs)))
    return (tuple(cell.pins), rows)


def _evaluated(cell: Cell, inputs: list[str], row: int) -> int:
    function = cell.outputs[0].function
    assert function
    return function.evaluate({n: -(row >> k & 1) for k, n in enumerate(inputs)}) & 1


def _is_unary(cell: Cell, at_one: int) -> bool:
    """Whether it is a buffer (`at_one` = 1) or an inverter (0)."""
    function = cell.outputs[0].function
    if cell.state or cell.latch or len(cell.inputs) != 1 or function is None:
        return False
    name = cell.inputs[0].name
    return list(function.inputs) == [name] and [_evaluated(cell, [name], i) for i in (0, 1)] == [
        1 - at_one,
        at_one,
    ]


def _loads_of(flat: Flat, module: Module, loads: NDArray[np.float64]) -> dict[int, float]:
    """What each net that leaves the module drives in the copy where it drives most, fF."""
    nets = sorted(
        {n for v in module.outputs.values() for n in v if n > 1}
        | {n for p in module.placed for v in p.ports.values() for n in v if n > 1}
    )
    local = np.array(nets, dtype=np.int64)
    most = np.zeros(len(local))
    for to in flat.copies_of(module):
        most = np.maximum(most, loads[to[local]])
    return dict(zip(nets, most.tolist(), strict=True))


def _module(module: Module, needs: Mapping[int, float], drivers: Drivers) -> Module:
    cells = drivers.kit.library.cells
    at: dict[int, Driver] = {}
    for kind, pins in module.pins.items():
        for column, pin in enumerate(cells[kind].pins.values()):
            if pin.output:
                at |= {int(n): (kind, row, column) for row, n in enumerate(pins[:, column]) if n in needs}
    swapped: dict[tuple[str, int], str] = {}
    moved: dict[Driver, int] = {}  # drivers whose output is another net now
    buffers: list[tuple[Cell, int, int]] = []
    names, nets = dict(module.net_names), module.nets
    for net, load in needs.items():
        if net not in at:
            continue
        kind, row, column = at[net]
        cell = cells[kind]
        if drivers.holds(cell, load):
            continue
        several = drivers.alike.get(_kind(cell), [cell]) if len(cell.outputs) == 1 else [cell]
        better = drivers.smallest(several, load)
        if not better and drivers.buffers:
            buffer = drivers.smallest(drivers.buffers, load) or drivers.buffers[-1]
            better = drivers.smallest(several, input_ff(buffer)) or several[-1]
            buffers.append((buffer, nets, net))
            moved[at[net]] = nets
            names[nets] = names.get(net, f"n{net}")
            nets += 1
        if better and better.name != kind:
            swapped[kind, row] = better.name
    if not swapped and not buffers:
        return module
    rows: dict[str, list[NDArray[np.int64]]] = {}
    for kind, pins in module.pins.items():
        pins = pins.copy()
        for (k, row, column), net in moved.items():
            if k == kind:
                pins[row, column] = net
        out = {row: new for (k, row), new in swapped.items() if k == kind}
        stay = np.ones(len(pins), dtype=bool)
        stay[list(out)] = False
        rows.setdefault(kind, []).append(pins[stay])
        for row, new in out.items():
            rows.setdefault(new, []).append(pins[row : row + 1])
    for buffer, source, target in buffers:
        ends = {p: target if pin.output else source for p, pin in buffer.pins.items()}
        rows.setdefault(buffer.name, []).append(np.array([[ends[p] for p in buffer.pins]], dtype=np.int64))
    merged = {k: np.concatenate(v) for k, v in sorted(rows.items())}
    return replace(module, pins={k: v for k, v in merged.items() if len(v)}, net_names=names, nets=nets)
