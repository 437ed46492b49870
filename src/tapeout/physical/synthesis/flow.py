"""From a block of RTL to its figures in a library: area, cells, registers, critical path.

Modules that are placed more than once, or are large, are mapped once and kept apart; everything smaller is flattened
into its parent, where ABC sees across the boundary. Timing is of the whole, flat.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tapeout.chip.rtl.block import Block, Verilog, verilog
from tapeout.errors import InputError
from tapeout.physical.synthesis import drive, netlist, pdk, timing
from tapeout.physical.synthesis.macros import Macro, macro
from tapeout.physical.synthesis.mapping import SCRIPTS, Mapper
from tapeout.physical.synthesis.netlist import Flat, Module
from tapeout.physical.synthesis.paths import Path as TimingPath
from tapeout.physical.synthesis.paths import Wire
from tapeout.physical.synthesis.pdk import Kit

KEEP_REPEATED = 6_000  # rough gates (four to a cell) from which a module placed twice is mapped once
KEEP_LARGE = 150_000  # and from which any module is mapped on its own


@dataclass(frozen=True)
class ModuleResult:
    """One module that was mapped, without what is kept apart below it. Areas in µm²; `count`: copies in the whole."""

    name: str
    count: int
    script: str
    cells: int
    flip_flops: int
    area_um2: float
    sequential_um2: float
    register_ns: float | None  # its own longest path between registers, with what is below it; None: has none


@dataclass(frozen=True, eq=False)
class SynthesisResult:
    """A block in a library. Totals are over all copies. Times at the library's corner, wires as `wire_ff_per_fanout`.

    `macro_um2`: memory macros, whose area is not that of cells. `paths`: the worst of each kind (`timing.KINDS`).
    `combinational_ns`: the longest of paths that start or end at ports, which what is around may lengthen.
    """

    top: str
    library: str
    area_um2: float
    sequential_um2: float
    macro_um2: float
    macro_bits: int
    cells: int
    flip_flops: int
    leakage_uw: float
    wire_ff_per_fanout: float
    critical_path_ns: float
    hold_slack_ns: float
    paths: dict[str, TimingPath]
    modules: tuple[ModuleResult, ...]
    macros: dict[str, int]
    flat: Flat
    timing: timing.Timing
    kit: Kit
    mapped: Mapping[str, Module]

    @property
    def max_clock_ghz(self) -> float:
        """Where the registers' paths let it run; inf for a block without any."""
        return 1 / self.critical_path_ns if self.critical_path_ns else math.inf

    @property
    def period_ns(self) -> float:
        """The worst path of any kind, taken alone."""
        return max((p.period_ps for p in self.paths.values()), default=0.0) / 1000

    def to_json(self) -> dict[str, object]:
        """Everything but the netlist, for `--json`."""
        plain = ("top", "library", "area_um2", "sequential_um2", "macro_um2", "macro_bits", "cells", "flip_flops",
                 "leakage_uw", "wire_ff_per_fanout", "critical_path_ns", "hold_slack_ns", "macros")  # fmt: skip
        out: dict[str, object] = {n: getattr(self, n) for n in plain}
        out["hold_slack_ns"] = self.hold_slack_ns if math.isfinite(self.hold_slack_ns) else None
        out["max_clock_ghz"] = self.max_clock_ghz if self.critical_path_ns else None
        out["paths"] = {
            k: {"start": p.start, "end": p.end, "arrival_ns": p.arrival_ps / 1000, "setup_ns": p.setup_ps / 1000,
                "cells": len(p.steps)}
            for k, p in self.paths.items()
        }  # fmt: skip
        out["modules"] = [m.__dict__ for m in self.modules]
        return out


def synthesise(
    design: Block | Verilog,
    library: str | Path | Kit = "asap7",
    *,
    target_ns: float | None = None,
    wire: str | float = "none",
    scripts: Iterable[str] = tuple(SCRIPTS),
    flat: bool = False,
    cache: Path | None = None,
) -> SynthesisResult:
    """Map `design` and time it.

    `target_ns`: the scripts are tried in order until a module meets it; without one the library's own. `wire`:
    "none", "estimate" (see `wire_load`) or fF per fanout. `flat`: keep nothing apart. Raises InputError for a bad
    library, DoesNotHold where Yosys cannot map.
    """
    kit = library if isinstance(library, Kit) else pdk.find(library)
    text = verilog(design) if isinstance(design, Block) else design
    mapper = Mapper(text.text, kit, cache=cache)
    target_ps = 1000 * target_ns if target_ns else kit.known.target_ps
    if not target_ps > 0:
        raise InputError("target", "", target_ns, "nanoseconds above 0")
    coarse = mapper.coarse(text.top)
    count = _copies(coarse, text.top)
    size = _sizes(coarse, text.top)
    kept = {
        m for m in count
        if m != text.top and not flat
        and ((count[m] > 1 and size[m] >= KEEP_REPEATED) or size[m] >= KEEP_LARGE)
    }  # fmt: skip
    macros: dict[str, Macro] = {}
    mapped: dict[str, Module] = {}
    chosen: dict[str, tuple[str, float | None]] = {}
    for name in (m for m in _bottom_up(coarse, text.top) if m in kept or m == text.top):
        below = _reachable(coarse, name) & kept
        best: tuple[float, Module, str] | None = None
        for script in scripts:
            module = netlist.from_json(mapper.map(name, script, target_ps, below), name, kit.library)
            one = netlist.flatten({**mapped, name: module}, name, kit.library)
            macros |= {m: macro(p, kit) for _, m, p in one.macros}
            path = timing.analyse(
                one, _wire(wire, kit, one), kit.known.clock_slew_ps, kit.known.clock_slew_ps,
                macros={m: x.timing for m, x in macros.items()},
            ).worst()  # fmt: skip
            period = path.period_ps if path else 0.0
            if best is None or period < best[0]:
                best = (period, module, script)
            if period <= target_ps:
                break
        assert best
        mapped[name] = best[1]
        chosen[name] = (best[2], best[0] / 1000 or None)
    whole = netlist.flatten(mapped, text.top, kit.library)
    mapped = drive.sized(mapped, whole, kit, timing.loads(whole, _wire(wire, kit, whole)))
    return _result(text.top, kit, mapped, chosen, count, macros, wire)


def wire_load(kit: Kit, flat: Flat) -> float:
    """Estimated fF of wire per fanout.

    Donath's mean length of a placed block by Rent's rule with exponent 0.6 (W. E. Donath, IEEE Trans. Circuits and
    Systems 26(4), 1979), in cell pitches, at 70 % utilisation, times the wire's capacitance per length. A block's nets
    do not see more than some 50,000 cells around them: larger designs are placed as clusters.
    """
    area = sum(len(p) * c.area_um2 for c, p in zip(flat.types, flat.pins, strict=True))
    n = flat.cells
    if n < 2:
        return 0.0
    pitch = math.sqrt(area / n / 0.7)
    n = min(n, 50_000)
    p = 0.6
    length = (2 / 9) * (
        7 * (n ** (p - 0.5) - 1) / (4 ** (p - 0.5) - 1) - (1 - n ** (p - 1.5)) / (1 - 4 ** (p - 1.5))
    ) * (1 - 4 ** (p - 1)) / (1 - n ** (p - 1))  # fmt: skip
    return kit.known.wire_ff_per_um * pitch * length


def _wire(wire: str | float, kit: Kit, flat: Flat) -> Wire:
    if wire == "none":
        return Wire()
    if wire == "estimate":
        return Wire(wire_load(kit, flat))
    try:
        value = float(wire)
    except ValueError:
        value = -1.0
    if not 0 <= value < math.inf:
        raise InputError("--wire", "", wire, "none, estimate, or fF per fanout (0 or more)")
    return Wire(value)


def _copies(coarse: Mapping[str, dict[str, dict[str, int]]], top: str) -> dict[str, int]:
    count: dict[str, int] = {}

    def add(name: str, n: int) -> None:
        if name in coarse:
            count[name] = count.get(name, 0) + n
            for child, k in coarse[name]["placed"].items():
                add(child, n * k)

    add(top, 1)
    return count


def _sizes(coarse: Mapping[str, dict[str, dict[str, int]]], top: str) -> dict[str, int]:
    size: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in coarse:
            return 0
        if name not in size:
            size[name] = int(coarse[name]["gates"]) + sum(  # type: ignore[call-overload]
                k * of(c) for c, k in coarse[name]["placed"].items()
            )
        return size[name]

    of(top)
    return size


def _reachable(coarse: Mapping[str, dict[str, dict[str, int]]], top: str) -> set[str]:
    found: set[str] = set()
    work = [top]
    while work:
        for child in coarse[work.pop()]["placed"]:
            if child in coarse and child not in found:
                found.add(child)
                work.append(child)
    return found


def _bottom_up(coarse: Mapping[str, dict[str, dict[str, int]]], top: str) -> list[str]:
    order: list[str] = []

    def visit(name: str) -> None:
        if name in coarse and name not in order:
            for child in coarse[name]["placed"]:
                visit(child)
            order.append(name)

    visit(top)
    return order


def _result(
    top: str, kit: Kit, mapped: Mapping[str, Module], chosen: Mapping[str, tuple[str, float | None]],
    count: Mapping[str, int], macros: Mapping[str, Macro], wire: str | float,
) -> SynthesisResult:  # fmt: skip
    cells = kit.library.cells
    modules = []
    for name, module in mapped.items():
        rows = [(cells[k], len(p)) for k, p in module.pins.items()]
        modules.append(
            ModuleResult(
                name, count[name], chosen[name][0], sum(n for _, n in rows),
                sum(n for c, n in rows if c.flip_flop), sum(n * c.area_um2 for c, n in rows),
                sum(n * c.area_um2 for c, n in rows if c.flip_flop or c.latch), chosen[name][1],
            )
        )  # fmt: skip
    flat = netlist.flatten(mapped, top, kit.library)
    load = _wire(wire, kit, flat)
    timed = timing.analyse(
        flat, load, kit.known.clock_slew_ps, kit.known.clock_slew_ps,
        macros={m: x.timing for m, x in macros.items()},
    )  # fmt: skip
    paths = {k: p for k in timing.KINDS if (p := timed.worst(k))}
    placed: dict[str, int] = {}
    for _, name, _ in flat.macros:
        placed[name] = placed.get(name, 0) + 1
    rows = [(c, len(p)) for c, p in zip(flat.types, flat.pins, strict=True)]
    longest = paths.get("register-register")
    return SynthesisResult(
        top, kit.known.name, sum(n * c.area_um2 for c, n in rows),
        sum(n * c.area_um2 for c, n in rows if c.flip_flop or c.latch),
        sum(n * macros[m].area_um2 for m, n in placed.items()), sum(n * macros[m].bits for m, n in placed.items()),
        flat.cells, sum(n for c, n in rows if c.flip_flop), sum(n * c.leakage_nw for c, n in rows) / 1000,
        load.ff_per_fanout, longest.period_ps / 1000 if longest else 0.0, timed.hold_slack_ps() / 1000,
        paths, tuple(modules), dict(sorted(placed.items())), flat, timed, kit, mapped,
    )  # fmt: skip
