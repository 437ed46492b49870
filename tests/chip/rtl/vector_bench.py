"""The vector engine on a scratchpad of its own, and random commands for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out
from floats import bits
from numpy.typing import NDArray

from tapeout.chip import load, spec
from tapeout.chip.isa.definition import IMMEDIATE_LOW, REGISTER_BITS, REGISTER_MASK, Operands, encode, word
from tapeout.chip.isa.geometry import Geometry, round_up
from tapeout.chip.isa.registry import instructions
from tapeout.chip.isa.state import State
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.pad_port import PadPort
from tapeout.chip.rtl.scratchpad import Scratchpad
from tapeout.chip.rtl.sequencer import CAUSE_BITS
from tapeout.chip.rtl.sequencer_dispatch import COMMAND
from tapeout.chip.rtl.vector_engine import VectorEngine
from tapeout.simulator.rtl.simulation import Simulation, pack, simulate

KIB = 16
NAMES = sorted(n for n in instructions() if n.startswith("v"))


def core_of(lanes: int = 8, word_bytes: int = 32, banks: int = 8) -> spec.Core:
    """A small core with this vector engine."""
    pad = spec.Scratchpad(kibibytes=KIB, banks=banks, word_bytes=word_bytes)
    return replace(load("tiny").core, vector_lanes=lanes, scratchpad=pad)


class VectorBench(Block):
    """`command` in, `ends` out (a transfer when a command is done); `pad` and `other`: ports of the scratchpad."""

    module_name = "vector_bench"

    def __init__(self, core: spec.Core) -> None:
        self.engine = VectorEngine(core)
        pad = core.scratchpad
        words = pad.kibibytes * 1024 // pad.word_bytes
        self.ports = (PadPort(), PadPort("other", writes=False), *self.engine.pad_ports)
        self.pad = Scratchpad(pad.banks, words // pad.banks, pad.word_bytes, self.ports)
        members: dict[str, Any] = {}
        for port in self.ports[:2]:
            members[f"{port.name}_request"] = In(stream.Signature(port.request(words, pad.word_bytes)))
            members[f"{port.name}_answer"] = Out(stream.Signature(8 * pad.word_bytes))
        super().__init__(
            members
            | {
                "command": In(stream.Signature(COMMAND)), "ends": Out(stream.Signature(1)), "error": Out(1),
                "cause": Out(CAUSE_BITS),
            }
        )  # fmt: skip

    def placed(self) -> Iterable[Block]:
        return (self.engine, self.pad)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        engine, pad = place(m, "engine", self.engine), place(m, "pad", self.pad)

        def connect(source: Any, sink: Any) -> None:
            m.d.comb += [
                sink.valid.eq(source.valid), sink.payload.eq(source.payload), source.ready.eq(sink.ready)
            ]  # fmt: skip

        connect(self.command, engine.command)
        for k, port in enumerate(self.ports):
            outer = self if k < 2 else engine
            connect(getattr(outer, f"{port.name}_request"), getattr(pad, f"request{k}"))
            if port.reads:
                connect(getattr(pad, f"answer{k}"), getattr(outer, f"{port.name}_answer"))
        m.d.comb += [
            self.ends.valid.eq(engine.done),
            self.error.eq(engine.error),
            self.cause.eq(engine.cause),
        ]
        return m


@dataclass
class Command:
    """A vector instruction with the values of its operands."""

    name: str
    values: dict[str, int]

    @property
    def payload(self) -> int:
        """What the dispatcher would send."""
        one = instructions()[self.name]
        slots = [self.values.get(s.name, 0) & REGISTER_MASK if s.name else 0 for s in one.slots]
        fields = {f.name: self.values[f.name] for f in one.fields if f.name in self.values}
        imm = encode(word(one, **fields)) >> IMMEDIATE_LOW
        raw = sum(v << (5 + REGISTER_BITS * i) for i, v in enumerate(slots))
        return (one.opcode & 31) | raw | imm << (5 + 8 * REGISTER_BITS)

    @property
    def operands(self) -> Operands:
        """For the executable meaning."""
        one = instructions()[self.name]
        found = {s.name: self.values.get(s.name, 0) & REGISTER_MASK for s in one.slots if s.name}
        found |= {f.name: self.values.get(f.name, max(f.bounds()[0], 0)) for f in one.fields}
        return Operands(found)

    def execute(self, state: State) -> None:
        """By the ISA."""
        with np.errstate(all="ignore"):
            instructions()[self.name].meaning(state, self.operands)

    def cycles(self, geometry: Geometry) -> int:
        """By the instruction's file."""
        return instructions()[self.name].cycles(self.operands, geometry)


def random_command(
    rng: np.random.Generator, name: str, largest: int = 90, rows: int | None = None
) -> Command:
    """Operands that do not overlap what is written, unless they are in the same place."""
    n = int(rng.choice([0, 1, 8, 32, 64, int(rng.integers(0, largest)), int(rng.integers(0, largest))]))
    n = min(n, largest)
    count = int(rng.choice([0, 1, 1, 2, 3, 5])) if rows is None else rows
    v: dict[str, int] = {"n": n, "rows": count}
    imm = int(bits(rng, 1)[0])
    a_bytes, b_bytes, out_bytes = 4 * n, 4 * n, 4 * n
    k = round_up(n, 32)
    pairs = 0
    if name in ("vadd", "vsub", "vmul", "vmaximum", "vminimum", "vcompare"):
        v |= {"imm": imm, "from": int(rng.integers(0, 3))}
        b_bytes = (b_bytes, 4, 0)[v["from"]]
        if name == "vcompare":
            v["if"] = int(rng.integers(0, 3))
    elif name == "vwindow":
        v |= {"imm": imm, "per": int(rng.choice([1, 1, 2, 3, 40]))}
        v |= {
            x: int(rng.choice([rng.integers(-9, n + 9), rng.integers(-(1 << 47), 1 << 47)]))
            for x in ("low", "high")
        }
    elif name in ("vtotal", "vgreatest"):
        out_bytes = 8
    elif name == "vrope":
        halves = range(0, n // 2 + 1, 8)
        pairs = int(rng.choice(list(halves)[-2:]))
        v |= {"half": pairs, "interleaved": int(rng.integers(0, 2))}
        b_bytes = 8 * pairs
    elif name in ("vquantise", "vdequantise"):
        v["format"] = int(rng.integers(0, 2))
        codes = k if v["format"] else k // 2
        b_bytes = round_up(k // 32, 8)
        a_bytes, out_bytes = (codes, out_bytes) if name == "vdequantise" else (a_bytes, codes)
    elif name == "vconvert":
        v["kind"] = int(rng.integers(0, 3))
        a_bytes, out_bytes = ((2 * n, 4 * n), (4 * n, 2 * n), (n, 4 * n))[v["kind"]]
    elif name == "vtopk":
        n = v["n"] = max(n, 1)
        v["k"] = int(rng.integers(1, min(n, 64) + 1)) if rng.random() < 0.7 else min(n, 8)
        a_bytes, out_bytes = 4 * n, 4 * v["k"]
    # three parts of the scratchpad; a, b and out each in its own
    part = KIB * 1024 // 3 // 32 * 32
    places = rng.permutation(3)
    for x, size, where in (
        ("a", a_bytes, places[0]),
        ("b", b_bytes, places[1]),
        ("out", out_bytes, places[2]),
    ):
        row = round_up(size, 32)
        stride = row + 32 * int(rng.integers(0, 3))
        if stride * count + row > part:
            stride = row
        low = int(where) * part
        base = low + 32 * int(rng.integers(0, max((part - stride * max(count, 1)) // 32, 1)))
        if x != "out" and rng.random() < 0.2:
            stride = 0
        elif rng.random() < 0.15 and count:  # from the last row down
            base, stride = base + stride * (count - 1), -stride
        v |= {x: base, "s" + x[0]: stride}
    same = a_bytes == out_bytes and name not in ("vtake", "vrope", "vtopk", "vtotal", "vgreatest")
    if (same or name == "vrope") and v["sa"] and rng.random() < 0.3:
        v |= {"out": v["a"], "so": v["sa"]}
    if name in ("vtake", "vselect") and v["sb"] and rng.random() < 0.3:
        v |= {"out": v["b"], "so": v["sb"]}
    v["span"] = pairs
    v.pop("span")
    return Command(name, v)


def random_pad(rng: np.random.Generator) -> NDArray[np.uint8]:
    """FP32 of all kinds; much of it of moderate exponents, so that sums and products are finite."""
    n = KIB * 256
    x = bits(rng, n)
    tame = (x & np.uint32(0x807FFFFF)) | (rng.integers(110, 140, n) << 23).astype(np.uint32)
    block = np.repeat(rng.random(n // 32) < 0.7, 32)
    x = np.where(block, tame, x).astype(np.uint32)
    return x.view(np.uint8).copy()


def prepare(rng: np.random.Generator, command: Command, pad: NDArray[np.uint8]) -> None:
    """Indices for `vtake`, and some zeros in masks."""
    v = command.values
    for r in range(v["rows"]):
        if command.name == "vtake":
            index = rng.integers(0, 40, v["n"], dtype=np.uint32)
            at = v["b"] + r * v["sb"]
            pad[at : at + 4 * v["n"]] = index.view(np.uint8)
        if command.name == "vselect":
            at = v["b"] + r * v["sb"]
            mask = pad[at : at + 4 * v["n"]].view(np.uint32)
            mask[rng.random(v["n"]) < 0.4] = rng.choice([0, 0x80000000])


class Bench:
    """A simulation of `VectorBench`."""

    def __init__(self, core: spec.Core) -> None:
        self.core, self.geometry = core, Geometry.of(core)
        self.block = VectorBench(core)
        self.sim: Simulation = simulate(self.block)
        self.word = core.scratchpad.word_bytes
        self.words = KIB * 1024 // self.word
        self.address_bits = (self.words - 1).bit_length()

    def fill(self, pad: NDArray[np.uint8]) -> None:
        """Write the whole scratchpad, when its reset is over."""
        self.sim.step(self.block.pad.depth)
        mask = (1 << self.word // 8) - 1
        a = self.address_bits
        rows = [
            i | 1 << a | mask << (a + 1) | int.from_bytes(row.tobytes(), "little") << (a + 1 + self.word // 8)
            for i, row in enumerate(pad.reshape(-1, self.word))
        ]
        self.sim.run({"pad_request": pack(rows, self.sim.ports["pad_request__payload"][1])}, {})

    def dump(self) -> NDArray[np.uint8]:
        """Read the whole scratchpad."""
        rows = pack(list(range(self.words)), self.sim.ports["pad_request__payload"][1])
        run = self.sim.run({"pad_request": rows}, {"pad_answer": self.words})
        return np.ascontiguousarray(run["pad_answer"]).view(np.uint8).reshape(-1)

    def run(self, commands: list[Command], traffic: int = 0, seed: int = 1, offer: float = 1.0) -> Any:
        """Execute them back to back, with so many reads of another port meanwhile."""
        send = {"command": pack([c.payload for c in commands], self.sim.ports["command__payload"][1])}
        receive = {"ends": len(commands)}
        if traffic:
            rng = np.random.default_rng(seed)
            send["other_request"] = pack(
                [int(x) for x in rng.integers(0, self.words, traffic)], self.address_bits
            )
            receive["other_answer"] = traffic
        accept = {"ends": 1.0, "other_answer": 0.8, "pad_answer": 1.0}
        return self.sim.run(
            send,
            receive,
            offer={"command": offer, "other_request": 0.7, "pad_request": 1.0},
            accept=accept,
            seed=seed,
        )

    def state(self, pad: NDArray[np.uint8]) -> State:
        """The ISA's state with this scratchpad."""
        state = State(self.geometry, np.zeros(0, np.uint8))
        state.pad[:] = pad
        return state
