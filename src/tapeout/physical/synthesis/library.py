"""A cell library: cells, pins, timing arcs, constraints, internal energy and leakage, in one set of units.

Units here: ps, fF, fJ, nW, µm², V. Tables are over (input slew, load) for delays and energies and over
(related slew, constrained slew) for constraints, whatever order the file has. State-dependent variants of an arc stay
arcs of their own. Semantics follow the Liberty User Guide and, where it leaves a choice, OpenSTA.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError, Phrase
from tapeout.physical.synthesis import function, liberty
from tapeout.physical.synthesis.function import Function
from tapeout.physical.synthesis.liberty import Group

RISE, FALL = 0, 1
EDGES = ("rise", "fall")
_PREFIX = {"f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3, "k": 1e3, "": 1.0}
_SLEW = {"input_net_transition", "input_transition_time", "related_pin_transition"}
_LOAD = {"total_output_net_capacitance", "constrained_pin_transition"}


@dataclass(frozen=True, eq=False)
class Table:
    """values (n, m) over x (n,) and y (m,); bilinear, extrapolated beyond its ends."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Arc:
    """`related` → the pin that holds it. `delay`, `slew`: by output edge, where the arc has that edge.

    kind: "combinational", "clock" (edge of the clock to output), "setup", "hold" (`delay` then has the
    constraint by edge of the data). `related_edge`: the clock's edge. `senses`: the edges (in, out).
    """

    related: str
    kind: str
    edges: tuple[tuple[int, int], ...]
    delay: dict[int, Table]
    slew: dict[int, Table]
    related_edge: int = RISE


@dataclass(frozen=True, eq=False)
class Power:
    """Internal energy per edge of the pin; `related` is empty for an input's own."""

    related: str
    energy: dict[int, Table]


@dataclass(eq=False)
class Pin:
    """One pin; `capacitance_ff` by edge."""

    name: str
    output: bool
    capacitance_ff: tuple[float, float]
    clock: bool
    function: Function | None
    most_ff: float | None
    arcs: list[Arc] = field(default_factory=list)
    powers: list[Power] = field(default_factory=list)


@dataclass(eq=False)
class Cell:
    """One cell. `clocked_on`, `next_state`: of its flip-flop; `state`: the names of Q and its inverse."""

    name: str
    area_um2: float
    leakage_nw: float
    pins: dict[str, Pin]
    state: tuple[str, ...] = ()
    clocked_on: Function | None = None
    next_state: Function | None = None
    clear: Function | None = None
    preset: Function | None = None
    latch: bool = False

    @property
    def flip_flop(self) -> bool:
        """Whether it is edge-triggered."""
        return self.clocked_on is not None

    @property
    def inputs(self) -> list[Pin]:
        """In the order of the file."""
        return [p for p in self.pins.values() if not p.output]

    @property
    def outputs(self) -> list[Pin]:
        """In the order of the file."""
        return [p for p in self.pins.values() if p.output]

    @property
    def clock(self) -> str:
        """The clock pin of a flip-flop."""
        assert self.clocked_on
        return self.clocked_on.inputs[0]


@dataclass(eq=False)
class Library:
    """A library at one corner. `digest`: SHA-256 of the text."""

    name: str
    where: str
    digest: str
    voltage: float
    time_ps: float  # picoseconds of the file's unit of time
    default_slew_ps: float | None  # largest transition, where the file has one
    cells: dict[str, Cell]
    text: str

    def cell(self, name: str) -> Cell:
        """By name. Raises InputError for one that is not there."""
        if name not in self.cells:
            raise InputError(self.where, "cells", name, "a cell of the library")
        return self.cells[name]


@dataclass(frozen=True)
class _Units:
    time: float
    capacitance: float
    energy: float
    leakage: float


def load(path: Path) -> Library:
    """The library in a Liberty file, gzipped or plain. Raises InputError for what cannot be used, with the place."""
    text = liberty.read(path)
    return _library(text, str(path))


@lru_cache(maxsize=8)
def _library(text: str, where: str) -> Library:
    group = liberty.parse(text, where)
    units = _units(group, where)
    voltage = _number(group, "nom_voltage", where, 1.0)
    templates = {g.name: g for g in group.of("lu_table_template", "power_lut_template")}
    cells = {}
    for one in group.of("cell"):
        cells[one.name] = _cell(one, units, templates, where)
    if not cells:
        raise InputError(where, f"library ({group.name})", Phrase("no cell"), "a library of cells")
    if not any(c.flip_flop for c in cells.values()):
        raise InputError(where, f"library ({group.name})", Phrase("no flip-flop"), "a library with one")
    slew = _number(group, "default_max_transition", where, -1.0)
    return Library(
        group.name, where, hashlib.sha256(text.encode()).hexdigest(), voltage, units.time,
        slew * units.time if slew >= 0 else None, cells, text,
    )  # fmt: skip


def _units(group: Group, where: str) -> _Units:
    def unit(name: str, letter: str, default: str, scale: float) -> float:
        text = group.simple.get(name, default)
        digits = text.rstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        suffix = text[len(digits) :]
        try:
            prefix = _PREFIX[suffix[: -len(letter)]] if suffix.lower().endswith(letter.lower()) else None
            return float(digits or 1) * prefix / scale  # type: ignore[operator]
        except (KeyError, TypeError, ValueError):
            raise InputError(where, name, text, f"a number of {letter}, such as 1p{letter}") from None

    load_ = group.lists.get("capacitive_load_unit", ("1", "pf"))
    try:
        capacitance = float(load_[0]) * _PREFIX[load_[1].lower()[:-1]] / 1e-15
    except (KeyError, ValueError, IndexError):
        raise InputError(where, "capacitive_load_unit", load_, "a number and ff or pf") from None
    # Liberty: the unit of internal energy is that of capacitance times the square of that of voltage.
    volts = unit("voltage_unit", "V", "1V", 1.0)
    return _Units(
        unit("time_unit", "s", "1ns", 1e-12), capacitance, capacitance * volts**2,
        unit("leakage_power_unit", "W", "1nW", 1e-9),
    )  # fmt: skip


def _number(group: Group, name: str, where: str, default: float) -> float:
    text = group.simple.get(name)
    if text is None:
        return default
    try:
        return float(text)
    except ValueError:
        raise InputError(where, f"{group.kind} ({group.name}): {name}", text, "a number") from None


def _floats(texts: tuple[str, ...], where: str, name: str) -> NDArray[np.float64]:
    try:
        return np.array([float(x) for t in texts for x in t.replace(",", " ").replace("\\", " ").split()])
    except ValueError:
        raise InputError(where, name, Phrase(" ".join(texts)[:60]), "numbers") from None


def _table(
    g: Group, scales: tuple[float, float, float], templates: dict[str, Group], where: str, of: str
) -> Table:
    """`scales`: of slews, of the second axis, of the values."""
    name = f"{of}: {g.kind}"
    values = _floats(g.lists.get("values", ()), where, name)
    template = templates.get(g.name)
    axes = []
    for k in (1, 2):
        index = g.lists.get(f"index_{k}") or (template.lists.get(f"index_{k}") if template else None)
        if index is None or g.name == "scalar":
            break
        axes.append(_floats(index, where, f"{name}: index_{k}"))
    if any((np.diff(a) <= 0).any() or not len(a) for a in axes):
        raise InputError(where, f"{name}: index", Phrase("values that do not increase"), "increasing values")
    shape = [len(a) for a in axes]
    if len(values) != int(np.prod(shape)) or not np.isfinite(values).all():
        raise InputError(
            where, name, Phrase(f"{len(values)} values"), f"{'×'.join(map(str, shape)) or 1} numbers"
        )
    kinds = [template.simple.get(f"variable_{k + 1}", "") if template else "" for k in range(len(axes))]
    grid = values.reshape(shape) * scales[2]
    none = np.zeros(1)
    if not axes:
        return Table(none, none, grid.reshape(1, 1))
    if len(axes) == 1:
        if kinds[0] in _LOAD and kinds[0] not in _SLEW:
            return Table(none, axes[0] * scales[1], grid.reshape(1, -1))
        return Table(axes[0] * scales[0], none, grid.reshape(-1, 1))
    if kinds[0] in _LOAD:
        return Table(axes[1] * scales[0], axes[0] * scales[1], grid.T)
    return Table(axes[0] * scales[0], axes[1] * scales[1], grid)


def _boolean(text: str | None, where: str, name: str) -> Function | None:
    if not text:
        return None
    try:
        return function.parse(text)
    except ValueError as e:
        raise InputError(where, name, Phrase(e), "a function of pins") from None


def _cell(g: Group, units: _Units, templates: dict[str, Group], where: str) -> Cell:
    name = f"cell ({g.name})"
    state = next(g.of("ff", "ff_bank"), None)
    latch = next(g.of("latch", "latch_bank"), None)
    cell = Cell(
        g.name, _number(g, "area", where, 0.0), _leakage(g, where) * units.leakage, {},
        tuple((state or latch or g).names) if state or latch else (),
        _boolean(state.simple.get("clocked_on") if state else None, where, f"{name}: clocked_on"),
        _boolean(state.simple.get("next_state") if state else None, where, f"{name}: next_state"),
        _boolean(state.simple.get("clear") if state else None, where, f"{name}: clear"),
        _boolean(state.simple.get("preset") if state else None, where, f"{name}: preset"),
        latch is not None,
    )  # fmt: skip
    for p in g.of("pin"):
        for pin_name in p.names:
            cell.pins[pin_name] = _pin(p, pin_name, units, templates, where, f"{name}: pin ({pin_name})")
    return cell


def _leakage(g: Group, where: str) -> float:
    """`cell_leakage_power`, or the mean of the states where only they are given."""
    if "cell_leakage_power" in g.simple:
        return _number(g, "cell_leakage_power", where, 0.0)
    states = [_number(s, "value", where, 0.0) for s in g.of("leakage_power")]
    return sum(states) / len(states) if states else 0.0


def _pin(g: Group, pin_name: str, units: _Units, templates: dict[str, Group], where: str, of: str) -> Pin:
    both = _number(g, "capacitance", where, 0.0)
    most = _number(g, "max_capacitance", where, -1.0)
    pin = Pin(
        pin_name, g.simple.get("direction") in ("output", "inout"),
        (_number(g, "rise_capacitance", where, both) * units.capacitance,
         _number(g, "fall_capacitance", where, both) * units.capacitance),
        g.simple.get("clock") == "true",
        _boolean(g.simple.get("function"), where, f"{of}: function"),
        most * units.capacitance if most >= 0 else None,
    )  # fmt: skip
    for t in g.of("timing"):
        for related in t.simple.get("related_pin", "").split():
            arc = _arc(t, related, pin, units, templates, where, of)
            if arc:
                pin.arcs.append(arc)
    for p in g.of("internal_power"):
        scales = (units.time, units.capacitance, units.energy)
        tables = {
            e: _table(next(p.of(k)), scales, templates, where, of)
            for e, name in enumerate(EDGES)
            if (k := next((k for k in (f"{name}_power", "power") if next(p.of(k), None)), ""))
        }
        pin.powers += [Power(r, tables) for r in (p.simple.get("related_pin", "").split() or [""])]
    return pin


def _arc(
    t: Group, related: str, pin: Pin, units: _Units, templates: dict[str, Group], where: str, of: str
) -> Arc | None:
    """None for what timing here does not use: asynchronous pins, three states, pulse widths, latches' paths."""
    kind, sense = t.simple.get("timing_type", "combinational"), t.simple.get("timing_sense", "")

    def tables(pattern: str, second: float) -> dict[int, Table]:
        scales = (units.time, second, units.time)
        return {
            e: _table(next(t.of(pattern.format(name))), scales, templates, where, of)
            for e, name in enumerate(EDGES)
            if next(t.of(pattern.format(name)), None)
        }

    if kind in ("setup_rising", "setup_falling", "hold_rising", "hold_falling"):
        which, edge = kind.split("_")
        return Arc(
            related, which, (), tables("{}_constraint", units.time), {}, RISE if edge == "rising" else FALL
        )
    if kind not in (
        "combinational",
        "combinational_rise",
        "combinational_fall",
        "rising_edge",
        "falling_edge",
    ):
        return None
    delay, slew = tables("cell_{}", units.capacitance), tables("{}_transition", units.capacitance)
    outs = [e for e in (RISE, FALL) if e in delay]
    if missing := [EDGES[e] for e in outs if e not in slew]:
        raise InputError(
            where, f"{of}: timing", Phrase(f"no {missing[0]}_transition"), "one beside the delay"
        )
    if kind in ("rising_edge", "falling_edge"):
        clock = RISE if kind == "rising_edge" else FALL
        return Arc(related, "clock", tuple((clock, e) for e in outs), delay, slew, clock)
    if kind != "combinational":
        outs = [e for e in outs if EDGES[e] == kind.split("_")[1]]
    if not sense:
        known = pin.function is not None and related in pin.function.inputs
        sense = pin.function.sense(related) if pin.function and known else "non_unate"
    edges = tuple(
        (i, o)
        for o in outs
        for i in (RISE, FALL)
        if sense == "non_unate" or (i == o) == (sense == "positive_unate")
    )
    return Arc(related, "combinational", edges, delay, slew)
