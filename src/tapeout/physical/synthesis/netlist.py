"""Mapped netlists: what Yosys writes, module by module, and the flat arrays that timing and energy work on.

Nets are integers; 0 and 1 are the constants. A module is read once however often it is placed; `flatten` places
modules in one another by adding offsets, so a core of half a million cells takes seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import DoesNotHold, InputError, Phrase
from tapeout.physical.synthesis.library import Cell, Library

Nets = NDArray[np.int64]
_CONSTANT = {"0": 0, "1": 1, "x": 0, "z": 0}  # what is not known is built as 0


@dataclass(frozen=True)
class Placed:
    """A module or macro placed in another: ports → nets of the parent."""

    name: str
    module: str
    ports: dict[str, tuple[int, ...]]


@dataclass(eq=False)
class Module:
    """One mapped module. `pins`: of each cell type, nets (cells, pins in the library's order), −1 if open."""

    name: str
    inputs: dict[str, tuple[int, ...]]
    outputs: dict[str, tuple[int, ...]]
    pins: dict[str, Nets]
    placed: list[Placed]
    net_names: dict[int, str]
    nets: int  # all net numbers are below


def from_json(data: Mapping[str, Any], top: str, library: Library) -> Module:
    """The module `top` of a netlist as Yosys' `write_json` has it; cells that the library lacks are placed modules.

    Raises InputError for one that is not there.
    """
    module = data.get("modules", {}).get(top)
    if not module:
        raise InputError(top, "modules", Phrase("no such module"), "a netlist that has it")

    def bits(values: list[Any]) -> tuple[int, ...]:
        return tuple(v if isinstance(v, int) else _CONSTANT[v] for v in values)

    by_type: dict[str, list[list[int]]] = {}
    placed = []
    registers: dict[int, str] = {}
    for name, cell in module["cells"].items():
        kind, connections = cell["type"], cell["connections"]
        if kind.startswith("$") and not kind.startswith("$paramod"):
            if kind == "$scopeinfo":
                continue
            raise DoesNotHold(f"{top}: {kind} was not mapped to the library")
        if kind in library.cells:
            row = [
                (bits(connections[p]) or (-1,))[0] if p in connections else -1
                for p in library.cells[kind].pins
            ]
            by_type.setdefault(kind, []).append(row)
            if library.cells[kind].flip_flop and not name.startswith("$"):
                pins = list(library.cells[kind].pins)  # the register's name is that of what it drives
                registers |= {
                    row[pins.index(p.name)]: name.split("$_")[0] for p in library.cells[kind].outputs
                }
        else:
            placed.append(Placed(name, kind, {p: bits(v) for p, v in connections.items()}))
    names: dict[int, str] = {}
    for name, net in module["netnames"].items():
        hidden = net.get("hide_name", 0)
        for i, bit in enumerate(net["bits"]):
            if isinstance(bit, int) and (bit not in names or names[bit].startswith("$")) and not hidden:
                names[bit] = f"{name}[{i}]" if len(net["bits"]) > 1 else name
    names |= registers
    ports = {
        d: {n: bits(p["bits"]) for n, p in module["ports"].items() if p["direction"] == d}
        for d in ("input", "output")
    }
    cells = {k: np.array(v, dtype=np.int64) for k, v in sorted(by_type.items())}
    most = max(
        [1, *(int(v.max()) for v in cells.values()), *(b for d in ports.values() for v in d.values() for b in v),
         *(b for p in placed for v in p.ports.values() for b in v)]
    )  # fmt: skip
    return Module(top, ports["input"], ports["output"], cells, placed, names, most + 1)


@dataclass(frozen=True)
class _Copy:
    """Where a placement's nets went: local number → number in the flat netlist."""

    path: str
    module: Module
    first: int
    to: Nets


@dataclass(eq=False)
class Flat:
    """A flat netlist. `pins[i]`: nets (cells, pins) of `types[i]`. `macros`: what is placed and not a module.

    `inputs`, `outputs`: nets of the top's ports.
    """

    top: str
    types: list[Cell]
    pins: list[Nets]
    inputs: dict[str, Nets]
    outputs: dict[str, Nets]
    macros: list[tuple[str, str, dict[str, Nets]]]
    nets: int
    _copies: list[_Copy] = field(default_factory=list)
    _alias: Nets | None = None

    @property
    def cells(self) -> int:
        """How many."""
        return sum(len(p) for p in self.pins)

    def copies_of(self, module: Module) -> list[Nets]:
        """Where the nets of a module went, for each time it is placed: local number → number here."""
        return [c.to for c in self._copies if c.module is module]

    def net_name(self, net: int) -> str:
        """A name for a net, as the RTL calls it where it does: instances, then the signal."""
        for copy in reversed(self._copies):
            for local in np.nonzero(copy.to == net)[0]:
                if int(local) in copy.module.net_names:
                    return copy.path + copy.module.net_names[int(local)]
        return f"n{net}"


def flatten(modules: Mapping[str, Module], top: str, library: Library, most_cells: int = 5_000_000) -> Flat:
    """`top` with everything below it. What is placed and not in `modules` is a macro.

    Raises DoesNotHold beyond `most_cells`.
    """
    copies: list[_Copy] = []
    macros: list[tuple[str, str, dict[str, Nets]]] = []
    rows: dict[str, list[Nets]] = {}
    same: list[tuple[int, int]] = []
    count = [2, 0]  # nets, cells

    def add(module: Module, path: str, ports: Mapping[str, Nets]) -> None:
        first = count[0]
        to = np.arange(module.nets, dtype=np.int64) + (first - 2)
        to[:2] = (0, 1)
        given = np.zeros(module.nets, dtype=bool)
        given[:2] = True
        for name, local in (*module.inputs.items(), *module.outputs.items()):
            outer = ports.get(name)
            for i, net in enumerate(local):
                if outer is None or i >= len(outer) or outer[i] < 0:
                    continue
                if given[net]:
                    same.append((int(outer[i]), int(to[net])))
                else:
                    to[net], given[net] = outer[i], True
        count[0] += module.nets - 2
        copies.append(_Copy(path, module, first, to))
        count[1] += sum(len(p) for p in module.pins.values())
        if count[1] > most_cells:
            raise DoesNotHold(f"{top}: more than {most_cells} cells when flat")
        for kind, pins in module.pins.items():
            rows.setdefault(kind, []).append(np.where(pins >= 0, to[pins], -1))
        for one in module.placed:
            joined = {n: to[np.array(v, dtype=np.int64)] for n, v in one.ports.items()}
            where = f"{path}{one.name}."
            if one.module in modules:
                add(modules[one.module], where, joined)
            else:
                macros.append((where[:-1], one.module, joined))

    add(modules[top], "", {})
    root = np.arange(count[0], dtype=np.int64)

    def find(net: int) -> int:
        while root[net] != net:
            root[net] = root[root[net]]
            net = int(root[net])
        return net

    for a, b in same:
        low, high = sorted((find(a), find(b)))
        root[high] = low
    if same:
        while not np.array_equal(root, root[root]):
            root = root[root]
    kinds = sorted(rows)
    out = [np.concatenate(rows[k]) for k in kinds]
    own = copies[0].to
    return Flat(
        top,
        [library.cell(k) for k in kinds],
        [np.where(p >= 0, root[p], -1) for p in out],
        {n: root[own[np.array(v)]] for n, v in modules[top].inputs.items()},
        {n: root[own[np.array(v)]] for n, v in modules[top].outputs.items()},
        [(w, m, {n: root[v] for n, v in p.items()}) for w, m, p in macros],
        count[0],
        [_Copy(c.path, c.module, c.first, root[c.to]) for c in copies],
    )
