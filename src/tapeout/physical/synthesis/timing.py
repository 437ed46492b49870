"""Static timing of a flat mapped netlist, vectorised by level.

Delays and output slews are bilinear in input slew and load, extrapolated beyond the tables, slews clipped at zero. Of
several arcs into an output edge the latest arrival and the largest slew go on (for hold the earliest and the least).
The load of a net is its input pins, plus `wire` per fanout if asked for. The clock is ideal: it arrives everywhere at
0 with `clock_slew_ps`. Asynchronous pins start no path. These are OpenSTA's semantics for one corner, and the
arrivals are held equal to its own in the tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import DoesNotHold
from tapeout.physical.synthesis.library import EDGES, FALL, RISE
from tapeout.physical.synthesis.netlist import Flat
from tapeout.physical.synthesis.paths import MacroTiming, Path, Step, Wire
from tapeout.physical.synthesis.tables import Index, Real, Tables

NEVER = -np.inf
KINDS = ("register-register", "input-register", "register-output", "input-output")


@dataclass(frozen=True, eq=False)
class _Edges:
    """Timing arcs of the netlist, one row per arc and pair of edges; sorted by the level of the target."""

    source: Index
    target: Index
    delay: Index
    slew: Index
    cell: Index  # number of the type; −1 for a macro


@dataclass(eq=False)
class Timing:
    """Timing of a netlist. Arrays over nodes 2·net + edge; −inf where nothing arrives. Times in ps.

    `from_register`, `from_port`: latest arrivals of paths that start there. Endpoints: `end_node` (the data's node),
    `end_setup`, `end_hold`, `end_port` (False: the data pin of a register or macro), `end_name`.
    """

    flat: Flat
    load_ff: Real
    from_register: Real
    from_port: Real
    earliest: Real
    slew: Real
    end_node: Index
    end_setup: Real
    end_hold: Real
    end_port: NDArray[np.bool_]
    end_name: list[str | int]  # a port's name, or the output net of a register
    levels: int
    _edges: _Edges
    _delays: Real
    _starts: dict[int, tuple[str, str | int]] = field(default_factory=dict)

    @property
    def arrival(self) -> Real:
        """Latest arrivals, from wherever."""
        return np.maximum(self.from_register, self.from_port)

    def worst(self, kind: str = "register-register") -> Path | None:
        """The path of that kind (`KINDS`) that asks for the longest period; None if there is no such path."""
        first, last = kind.split("-")
        arrival = self.from_register if first == "register" else self.from_port
        here = self.end_port == (last == "output")
        period = np.where(here, arrival[self.end_node] + self.end_setup, NEVER)
        if not len(period) or not np.isfinite(period.max()):
            return None
        return self._trace(kind, int(period.argmax()), arrival)

    def worst_endpoints(self, kind: str = "register-register", most: int = 10) -> list[Path]:
        """The worst path to each of the `most` worst endpoints of that kind, worst first."""
        first, last = kind.split("-")
        arrival = self.from_register if first == "register" else self.from_port
        here = self.end_port == (last == "output")
        period = np.where(here, arrival[self.end_node] + self.end_setup, NEVER)
        paths: list[Path] = []
        seen: set[str | int] = set()
        for end in np.argsort(-period, kind="stable"):
            if len(paths) == most or not np.isfinite(period[end]):
                break
            if self.end_name[end] not in seen:
                seen.add(self.end_name[end])
                paths.append(self._trace(kind, int(end), arrival))
        return paths

    def hold_slack_ps(self) -> float:
        """Least slack of the hold checks on paths between registers; inf if there are none. The clock is ideal."""
        at = ~self.end_port & np.isfinite(self.from_register[self.end_node])
        return float((self.earliest[self.end_node] - self.end_hold)[at].min()) if at.any() else np.inf

    def _trace(self, kind: str, end: int, arrival: Real) -> Path:
        flat, e = self.flat, self._edges
        node = int(self.end_node[end])
        steps = []
        while True:
            into = np.nonzero(e.target == node)[0]
            before = arrival[e.source[into]] + self._delays[into] if len(into) else np.zeros(0)
            hit = len(into) and before.max() >= arrival[node]
            arc = int(into[before.argmax()]) if hit else -1
            kind_of = flat.types[e.cell[arc]].name if arc >= 0 else self._starts.get(node // 2, ("", ""))[0]
            net, edge = divmod(node, 2)
            steps.append(
                Step(flat.net_name(net), kind_of, EDGES[edge], float(arrival[node]), float(self.slew[node]),
                     float(self.load_ff[node]))
            )  # fmt: skip
            if arc < 0:
                break
            node = int(e.source[arc])
        name = self._starts.get(node // 2, ("", node // 2))[1]
        setup = float(self.end_setup[end])
        return Path(
            kind, self._name(name), self._name(self.end_name[end]),
            float(arrival[self.end_node[end]]), setup, tuple(reversed(steps)),
        )  # fmt: skip

    def _name(self, of: str | int) -> str:
        return of if isinstance(of, str) else register_name(self.flat, of)


def register_name(flat: Flat, net: int) -> str:
    """The RTL's name of the register whose cell drives `net`: where the cell inverts, that of the inverter's output."""
    name = flat.net_name(net)
    if name != f"n{net}":
        return name
    for cell, pins in zip(flat.types, flat.pins, strict=True):
        names = list(cell.pins)
        if len(cell.inputs) == 1 and len(cell.outputs) == 1 and not cell.flip_flop:
            i, o = names.index(cell.inputs[0].name), names.index(cell.outputs[0].name)
            for driven in pins[pins[:, i] == net, o]:
                if not (found := flat.net_name(int(driven))).startswith("n"):
                    return found
                if flat.net_name(int(driven)) != f"n{driven}":
                    return found
    return name


def analyse(
    flat: Flat,
    wire: Wire | None = None,
    clock_slew_ps: float = 0.0,
    input_slew_ps: float = 0.0,
    output_ff: float = 0.0,
    macros: Mapping[str, MacroTiming] | None = None,
) -> Timing:
    """Timing of `flat`. `output_ff`: load of each output port. `macros`: by module name; others are cut out.

    Raises DoesNotHold for a combinational loop, naming a net of it.
    """
    macros = macros or {}
    wire = wire or Wire()
    load = loads(flat, wire, output_ff, macros).reshape(-1)
    tables = Tables()
    edges = _edges(flat, tables)
    level = _levels(flat, edges)
    order = np.argsort(level[edges.target // 2], kind="stable")
    edges = _Edges(*(getattr(edges, n)[order] for n in ("source", "target", "delay", "slew", "cell")))
    starts: dict[int, tuple[str, str | int]] = {}
    nodes = 2 * flat.nets
    registers, ports = np.full(nodes, NEVER), np.full(nodes, NEVER)
    earliest, slew, sharpest = np.full(nodes, np.inf), np.zeros(nodes), np.full(nodes, np.inf)
    for name, nets in flat.inputs.items():
        for i, net in enumerate(nets):
            if net > 1:
                for edge in (RISE, FALL):
                    ports[2 * net + edge], earliest[2 * net + edge] = 0.0, 0.0
                    slew[2 * net + edge] = sharpest[2 * net + edge] = input_slew_ps
                starts[int(net)] = ("", f"{name}[{i}]" if len(nets) > 1 else name)
    _clocked(flat, load, clock_slew_ps, registers, earliest, slew, sharpest, starts)
    for where, module, pins in flat.macros:
        if module in macros:
            one = macros[module]
            for pin, nets in pins.items():
                for net in nets:
                    if net > 1 and level[net] == 0 and net not in starts:
                        node = [2 * net, 2 * net + 1]
                        registers[node] = earliest[node] = one.clock_to_output_ps
                        slew[node] = sharpest[node] = one.output_slew_ps
                        starts[int(net)] = (module, f"{where}.{pin}")
    tables.seal()
    delays = np.zeros(len(edges.source))
    bounds = np.searchsorted(level[edges.target // 2], np.arange(1, int(level.max(initial=0)) + 2))
    for first, last in pairwise(bounds):
        at = slice(first, last)
        source, target = edges.source[at], edges.target[at]
        delay = tables.look_up(edges.delay[at], slew[source], load[target])
        delays[at] = delay
        np.maximum.at(registers, target, registers[source] + delay)
        np.maximum.at(ports, target, ports[source] + delay)
        out = np.maximum(tables.look_up(edges.slew[at], slew[source], load[target]), 0.0)
        reached = np.isfinite(earliest[source])
        np.maximum.at(slew, target, np.where(reached, out, 0.0))
        # the earliest arrivals have slews of their own: the least of those that come in
        sharp = np.where(reached, sharpest[source], 0.0)
        quick = tables.look_up(edges.delay[at], sharp, load[target])
        np.minimum.at(earliest, target, earliest[source] + quick)
        out = np.maximum(tables.look_up(edges.slew[at], sharp, load[target]), 0.0)
        np.minimum.at(sharpest, target, np.where(reached, out, np.inf))
    ends = _ends(flat, slew, sharpest, clock_slew_ps, macros, starts)
    return Timing(flat, load, registers, ports, earliest, slew, *ends, len(bounds) - 1, edges, delays, starts)


def loads(
    flat: Flat, wire: Wire, output_ff: float = 0.0, macros: Mapping[str, MacroTiming] | None = None
) -> Real:
    """What each net drives, fF, by edge (nets, 2)."""
    macros = macros or {}
    load, fanout = np.zeros((flat.nets, 2)), np.zeros(flat.nets)
    for cell, pins in zip(flat.types, flat.pins, strict=True):
        for k, pin in enumerate(cell.pins.values()):
            nets = pins[:, k]
            if not pin.output:
                count = np.bincount(nets[nets >= 0], minlength=flat.nets)
                load += count[:, None] * np.array(pin.capacitance_ff)
                fanout += count
    for _where, module, pins_of in flat.macros:
        for nets in pins_of.values():
            if module in macros:  # outputs get it too; it is as nothing beside what they drive
                load[nets] += macros[module].input_ff
                fanout[nets] += 1
    for nets in flat.outputs.values():
        load[nets] += output_ff
        fanout[nets] += output_ff > 0
    return load + wire.ff_per_fanout * fanout[:, None]


def _edges(flat: Flat, tables: Tables) -> _Edges:
    """The combinational arcs."""
    parts: list[list[Index]] = [[], [], [], [], []]
    for t, (cell, pins) in enumerate(zip(flat.types, flat.pins, strict=True)):
        at = {n: k for k, n in enumerate(cell.pins)}
        for out in cell.outputs:
            for arc in out.arcs:
                if arc.kind != "combinational":
                    continue
                for i, o in arc.edges:
                    source, target = pins[:, at[arc.related]], pins[:, at[out.name]]
                    there = (source > 1) & (target > 1)
                    n = int(there.sum())
                    values = (2 * source[there] + i, 2 * target[there] + o, np.full(n, tables.index(arc.delay[o])),
                              np.full(n, tables.index(arc.slew[o])), np.full(n, t))  # fmt: skip
                    for part, value in zip(parts, values, strict=True):
                        part.append(value)
    return _Edges(*(np.concatenate(p).astype(np.int64) if p else np.zeros(0, np.int64) for p in parts))


def _levels(flat: Flat, edges: _Edges) -> Index:
    """By net: the most arcs on any way to it."""
    pairs = np.unique((edges.source // 2) * flat.nets + edges.target // 2)
    source, target = pairs // flat.nets, pairs % flat.nets  # sorted by source
    first = np.searchsorted(source, np.arange(flat.nets + 1))
    waits = np.bincount(target, minlength=flat.nets)
    level = np.zeros(flat.nets, dtype=np.int64)
    ready = np.nonzero(waits == 0)[0]
    done, depth = 0, 0
    while len(ready):
        done += len(ready)
        level[ready] = depth
        depth += 1
        counts = first[ready + 1] - first[ready]
        starts = np.repeat(first[ready] - np.concatenate(([0], np.cumsum(counts)[:-1])), counts)
        reached = target[starts + np.arange(counts.sum())]
        np.subtract.at(waits, reached, 1)
        reached = np.unique(reached)
        ready = reached[waits[reached] == 0]
    if done < flat.nets:
        raise DoesNotHold(f"{flat.top}: a combinational loop through {flat.net_name(int(waits.argmax()))}")
    return level


def _clocked(
    flat: Flat, load: Real, clock_slew_ps: float, registers: Real, earliest: Real, slew: Real, sharpest: Real,
    starts: dict[int, tuple[str, str | int]],
) -> None:  # fmt: skip
    """Arrivals at the outputs of flip-flops: clock to output at their load, the clock at 0."""
    own = Tables()
    work = []
    for cell, pins in zip(flat.types, flat.pins, strict=True):
        at = {n: k for k, n in enumerate(cell.pins)}
        for out in cell.outputs:
            for arc in (a for a in out.arcs if a.kind == "clock"):
                nets = pins[:, at[out.name]]
                nets = nets[nets > 1]
                starts.update((int(n), (cell.name, int(n))) for n in nets)
                work += [
                    (2 * nets + o, own.index(arc.delay[o]), own.index(arc.slew[o])) for _, o in arc.edges
                ]
    if not work:
        return
    own.seal()
    for node, delay, out_slew in work:
        x = np.full(len(node), clock_slew_ps)
        when = own.look_up(np.full(len(node), delay), x, load[node])
        np.maximum.at(registers, node, when)
        np.minimum.at(earliest, node, when)
        out_slews = np.maximum(own.look_up(np.full(len(node), out_slew), x, load[node]), 0.0)
        np.maximum.at(slew, node, out_slews)
        np.minimum.at(sharpest, node, out_slews)


def _ends(
    flat: Flat, slew: Real, sharpest: Real, clock_slew_ps: float, macros: Mapping[str, MacroTiming],
    starts: Mapping[int, tuple[str, str | int]],
) -> tuple[Index, Real, Real, NDArray[np.bool_], list[str | int]]:  # fmt: skip
    """Endpoints: nodes, setup, hold, whether a port, name."""
    nodes: list[Index] = []
    setups: list[Real] = []
    holds: list[Real] = []
    names: list[str | int] = []
    ports: list[NDArray[np.bool_]] = []

    def add(node: Index, setup: Real, hold: Real, port: bool, named: list[str | int]) -> None:
        nodes.append(node)
        setups.append(setup)
        holds.append(hold)
        ports.append(np.full(len(node), port))
        names.extend(named)

    for cell, pins in zip(flat.types, flat.pins, strict=True):
        if not cell.flip_flop:
            continue
        at = {n: k for k, n in enumerate(cell.pins)}
        out = pins[:, at[cell.outputs[0].name]]
        for pin in cell.inputs:
            checks = {a.kind: a for a in pin.arcs if a.kind in ("setup", "hold")}
            nets = pins[:, at[pin.name]]
            for edge in (RISE, FALL):
                if not checks or edge not in checks["setup"].delay:
                    continue
                there = nets > 1
                node = 2 * nets[there] + edge
                found = []
                for kind in ("setup", "hold"):
                    table = Tables()
                    which = np.full(len(node), table.index(checks[kind].delay[edge]) if kind in checks else 0)
                    if kind not in checks:
                        found.append(np.zeros(len(node)))
                        continue
                    table.seal()
                    data = slew if kind == "setup" else np.where(np.isfinite(sharpest), sharpest, 0.0)
                    found.append(table.look_up(which, np.full(len(node), clock_slew_ps), data[node]))
                add(node, found[0], found[1], False, [int(n) for n in out[there]])
    for where, module, pins_of in flat.macros:
        if module in macros:
            for port, nets in pins_of.items():
                if port != macros[module].clock:
                    into = nets[
                        (nets > 1) & ~np.array([starts.get(int(n), ("",))[0] == module for n in nets], bool)
                    ]
                    node = np.concatenate((2 * into, 2 * into + 1))
                    one, n = macros[module], len(node)
                    add(
                        node,
                        np.full(n, one.setup_ps),
                        np.full(n, one.hold_ps),
                        False,
                        [f"{where}.{port}"] * n,
                    )
    for name, nets in flat.outputs.items():
        for i, net in enumerate(nets):
            if net > 1:
                label = f"{name}[{i}]" if len(nets) > 1 else name
                add(2 * net + np.arange(2), np.zeros(2), np.zeros(2), True, [label] * 2)
    if not nodes:
        empty = np.zeros(0)
        return np.zeros(0, np.int64), empty, empty, np.zeros(0, bool), []
    return (
        np.concatenate(nodes),
        np.concatenate(setups),
        np.concatenate(holds),
        np.concatenate(ports),
        names,
    )
