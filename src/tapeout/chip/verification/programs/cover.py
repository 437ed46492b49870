"""What a set of programs exercised, of all there is: instructions, codes of their fields, kinds of operands, hazards
between engines, shapes of loops. What nothing exercised is listed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import product
from typing import Any

from tapeout.chip.isa.definition import REGISTER_BITS, Engine, Operands
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import Executed
from tapeout.chip.isa.matrix.matmul import NAMES as FORMATS
from tapeout.chip.isa.registry import instructions

ENGINES = ("SEQUENCER", "LOAD", "MATRIX", "VECTOR", "STORE")
READS = {"pad": ("SEQUENCER", "LOAD", "MATRIX", "VECTOR", "STORE"), "memory": ("LOAD",)}
WRITES = {"pad": ("SEQUENCER", "LOAD", "MATRIX", "VECTOR"), "memory": ("STORE",)}
WIDE_FIELDS = 4  # bits of a field whose every code is asked for


def _negative(value: int) -> bool:
    return bool(value >> (REGISTER_BITS - 1))


def _kinds(one: Executed, g: Geometry) -> Iterable[str]:
    """Corners of the operands of an instruction as executed."""
    o: Any = one.operands
    name = one.word.instruction.name
    values = vars(o)
    if name in ("load", "store", "gather", "scatter"):
        runs = o.n0 * values.get("n1", 1)
        yield "nothing to move" if not runs or not o.bytes else "several runs" if runs > 1 else "one run"
        if runs and o.bytes:
            inside = (o.memory % g.port_bytes) - (o.pad % g.word_bytes) % g.port_bytes
            yield "aligned alike" if inside == 0 else "shifted"
            if o.bytes % 8:
                yield "not whole granules"
            if _negative(o.s0):
                yield "backwards in memory"
    elif name == "transpose":
        yield (
            "nothing to move"
            if not o.n0 or not o.bytes
            else "one group"
            if o.bytes == 32
            else "several groups"
        )
        if o.n0 > 1:
            yield "several tiles"
        yield (
            "rows at words of the port"
            if o.memory % g.port_bytes == 0 == o.s0 % g.port_bytes
            else "rows at any byte"
        )
    elif name == "matmul":
        yield "whole contraction" if o.height == o.rows else "contraction split over rows"
        yield "one tile" if o.tiles == 1 else "all tiles" if o.tiles == g.tiles else "several tiles"
        yield "one row" if o.rows == 1 else "all rows" if o.rows == g.rows else "several rows"
        yield "one step" if o.steps == 1 else "several steps"
        for stride in ("sa", "so"):
            v = getattr(o, stride)
            yield f"{stride} {'zero' if v == 0 else 'negative' if _negative(v) else 'positive'}"
    elif name.startswith("v"):
        yield "no rows" if not o.rows else "one row" if o.rows == 1 else "several rows"
        n = o.n
        yield ("no elements" if not n else "whole passes" if n % g.lanes == 0 else "less than a pass" if n < g.lanes
               else "passes and a part")  # fmt: skip
        if o.rows > 1 and n:
            yield f"sa {'zero' if o.sa == 0 else 'negative' if _negative(o.sa) else 'positive'}"
            yield f"so {'negative' if _negative(o.so) else 'positive'}"
        if n and o.rows and o.a == o.out:
            yield "in place of a"


def wanted_kinds(name: str, g: Geometry) -> set[str]:
    """The corners that `_kinds` can see of an instruction."""
    if name in ("load", "store", "gather", "scatter"):
        some = {
            "nothing to move",
            "several runs",
            "one run",
            "aligned alike",
            "shifted",
            "not whole granules",
        }
        return some | ({"backwards in memory"} if name == "load" else set())
    if name == "transpose":
        return {"nothing to move", "one group", "several groups", "several tiles", "rows at words of the port",
                "rows at any byte"}  # fmt: skip
    if name == "matmul":
        some = {"whole contraction", "one tile", "one row", "one step", "several steps"}
        some |= {f"{s} {k}" for s in ("sa", "so") for k in ("negative", "positive")} | {"sa zero"}
        some |= {"contraction split over rows", "all rows"} if g.rows > 1 else set()
        some |= {"several rows"} if g.rows > 2 else set()
        return (
            some | ({"all tiles"} if g.tiles > 1 else set()) | ({"several tiles"} if g.tiles > 2 else set())
        )
    if name.startswith("v"):
        some = {"no rows", "one row", "several rows", "whole passes", "sa zero", "sa negative", "sa positive"}
        some |= {"so negative", "so positive"}
        some |= {"less than a pass", "passes and a part"} if g.lanes > 1 else set()
        some |= {"no elements"} if name != "vtopk" else set()
        shifts = ("vtopk", "vtotal", "vgreatest", "vquantise", "vdequantise", "vconvert", "vtake", "vselect")
        return some | ({"in place of a"} if name not in shifts else set())
    return set()


class Coverage:
    """Counts, by the kind of thing and its name."""

    def __init__(self, g: Geometry, names: frozenset[str]) -> None:
        self.g, self.names = g, names
        self.seen: dict[str, Counter[str]] = {k: Counter() for k in self.wanted()}

    def wanted(self) -> dict[str, list[str]]:
        """All there is to exercise, by kind."""
        choices, corners = [], []
        for name in sorted(self.names):
            for f in instructions()[name].fields:
                codes = f.choices or (
                    [str(f.bias + c) for c in range(1 << f.bits)]
                    if f.bits <= WIDE_FIELDS and f.kind == "unsigned"
                    else []
                )
                codes = self._made(name, f.name, list(codes))
                choices += [f"{name} {f.name}={c}" for c in codes]
            corners += [f"{name}: {k}" for k in sorted(wanted_kinds(name, self.g))]
        hazards = []
        for space in ("pad", "memory"):
            for kind, first, second in (
                ("RAW", WRITES[space], READS[space]),
                ("WAR", READS[space], WRITES[space]),
                ("WAW", WRITES[space], WRITES[space]),
            ):
                for a, b in product(first, second):
                    if a == "SEQUENCER":
                        continue  # it waits for its own access, so nothing of it is ever under way
                    if (a == b and not (a == "MATRIX" and kind == "RAW")) or not self._has(a, b):
                        continue
                    hows = ("sync",) if b == "SEQUENCER" else ("token", "sync")
                    if space == "pad" and a == "MATRIX" and (a == b or (kind == "RAW" and b == "LOAD")):
                        continue  # its results are FP32: neither codes, nor indices, which is what these read
                    if space == "pad" and a == "LOAD" and kind == "WAR" and b in ("MATRIX", "SEQUENCER"):
                        continue  # loads read indices: these write none
                    hazards += [f"{space} {kind}: {a.lower()} then {b.lower()}, {how}" for how in hows]
                    hazards += [f"{space} {kind}: {a.lower()} then {b.lower()}, from trip to trip"]
        loops = [
            f"loop of {n} trips, count from {s}"
            for n in ("0", "1", "2+")
            for s in ("constant", "argument", "pad")
        ]
        loops += ["loops nested 1", "loops nested 2", "loops nested 3", "operand stepped by a loop"]
        loops += ["loop that does not fit the window", "branch taken", "branch not taken"]
        return {
            "instructions": sorted(self.names), "choices of fields": choices, "operands": corners,
            "products": self._products(), "one behind another": self._pairs(),
            "hazards": hazards, "control": loops,
            "waiting in RTL": ["load_blocked", "matrix_blocked", "vector_blocked", "store_blocked",
                               "matrix_wants_weights", "matrix_wants_activations", "window fetched again",
                               "queue of an engine full"],
        }  # fmt: skip

    def _made(self, name: str, field: str, codes: list[str]) -> list[str]:
        """Without those that this core cannot execute."""
        if name == "matmul" and field == "format":
            return [c for c in codes if c in self.g.formats]
        if name == "matmul" and field == "tiles":
            return [c for c in codes if int(c) <= self.g.tiles]
        return codes

    def _products(self) -> list[str]:
        """Every mode of `matmul` with every other."""
        if "matmul" not in self.names:
            return []
        splits = ("whole", "split") if self.g.rows > 1 else ("whole",)
        formats = [n for n in FORMATS if n in self.g.formats]
        return [
            f"{f}, {s}, bank {b}, {k}, {d}"
            for f, s, b, k, d in product(formats, splits, (0, 1), ("from zero", "keeps"), ("drains", "holds"))
        ]

    def _pairs(self) -> list[str]:
        """An engine's instruction right behind another of its own."""
        by_engine: dict[Engine, list[str]] = {}
        for name in sorted(self.names):
            by_engine.setdefault(instructions()[name].engine, []).append(name)
        by_engine.pop(Engine.SEQUENCER, None)
        return [f"{a}, {b}" for names in by_engine.values() for a, b in product(names, names)]

    def _has(self, *engines: str) -> bool:
        there = {instructions()[n].engine.name for n in self.names}
        return all(e in there for e in engines)

    def executed(self, trace: Iterable[Executed]) -> None:
        """Instructions as the executable ISA ran them."""
        before: dict[Engine, str] = {}
        for one in trace:
            name, o = one.word.instruction.name, one.operands
            self.seen["instructions"][name] += 1
            for f, value in zip(one.word.instruction.fields, one.word.values, strict=True):
                shown = f.choices[value] if f.choices else str(value)
                self.seen["choices of fields"][f"{name} {f.name}={shown}"] += 1
            for kind in _kinds(one, self.g):
                self.seen["operands"][f"{name}: {kind}"] += 1
            if name == "branch":
                self.seen["control"]["branch taken" if _taken(o) else "branch not taken"] += 1
            if name == "matmul":
                self.seen["products"][_product(o)] += 1
            engine = one.word.instruction.engine
            if engine in before and engine != Engine.SEQUENCER:
                self.seen["one behind another"][f"{before[engine]}, {name}"] += 1
            before[engine] = name

    def lowered(self, hazards: Counter[tuple[str, str, str, str]], features: Counter[str]) -> None:
        """What `Lowering` ordered, and the shapes of its loops."""
        for (a, b, hazard, how), n in hazards.items():
            trips = how.endswith("from trip to trip")
            text = "from trip to trip" if trips else how
            self.seen["hazards"][f"{hazard}: {a.lower()} then {b.lower()}, {text}"] += n
        for name, n in features.items():
            self.seen["control"][name] += n

    def measured(self, counters: dict[str, int], lines: int, full: bool) -> None:
        """The core's own counters; `lines`: words of the memory port that the program takes; `full`: more commands were
        behind one that waited than a queue holds."""
        for name in self.wanted()["waiting in RTL"]:
            if counters.get(name):
                self.seen["waiting in RTL"][name] += 1
        if counters["fetch_beats"] > lines + 64:
            self.seen["waiting in RTL"]["window fetched again"] += 1
        if full:
            self.seen["waiting in RTL"]["queue of an engine full"] += 1

    def merge(self, other: dict[str, dict[str, int]]) -> None:
        """Counts of other programs."""
        for kind, counts in other.items():
            self.seen[kind].update(counts)

    def counts(self) -> dict[str, dict[str, int]]:
        """Everything that was seen, for `merge`."""
        return {k: dict(sorted(c.items())) for k, c in self.seen.items()}

    def report(self) -> dict[str, Any]:
        """By kind: how many of how many, counts of each, and the holes."""
        found = {}
        for kind, names in self.wanted().items():
            holes = [n for n in names if not self.seen[kind][n]]
            found[kind] = {
                "covered": len(names) - len(holes), "of": len(names), "holes": holes,
                "counts": {n: self.seen[kind][n] for n in names},
            }  # fmt: skip
        return found


def _product(o: Operands) -> str:
    return (
        f"{FORMATS[o.format]}, {'whole' if o.height == o.rows else 'split'}, bank {o.bank}, "
        f"{'keeps' if o.keep else 'from zero'}, {'drains' if o.drain else 'holds'}"
    )


def _taken(o: Operands) -> bool:
    from tapeout.chip.isa.state import signed

    b = (o.b + o.imm) & ((1 << REGISTER_BITS) - 1)
    return (o.a == b, o.a != b, signed(o.a) < signed(b), signed(o.a) >= signed(b))[getattr(o, "if")]


def page(report: dict[str, Any], title: str) -> str:
    """As Markdown."""
    lines = [f"# {title}", "", "| | covered | of | holes |", "|---|---|---|---|"]
    for kind, part in report.items():
        lines.append(f"| {kind} | {part['covered']} | {part['of']} | {len(part['holes'])} |")
    for kind, part in report.items():
        if part["holes"]:
            lines += ["", f"Holes in {kind}:", "", *(f"- {h}" for h in part["holes"])]
    return "\n".join(lines) + "\n"
