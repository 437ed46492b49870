"""Programs of the sequencer and of the load and store engines, as text with the data they start from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from tapeout.chip.isa.definition import ARGUMENTS
from tapeout.chip.isa.geometry import Geometry


@dataclass
class Program:
    """Text with its data in memory, (address, bytes). `pad_bytes`: of the scratchpad in use; `end`: of memory."""

    name: str
    lines: list[str] = field(default_factory=list)
    data: list[tuple[int, np.ndarray]] = field(default_factory=list)
    pad_bytes: int = 0
    end: int = 0

    @property
    def text(self) -> str:
        """The assembler's input."""
        return "\n".join(self.lines) + "\n"

    def named(self, name: str) -> Program:
        """The same under another name."""
        return replace(self, name=name)

    def add(self, *lines: str) -> None:
        """Append lines."""
        self.lines += lines

    def set(self, register: int, value: int) -> None:
        """A register gets a constant."""
        self.add(f"add rd=r{register} imm={value}")

    def engine(self, line: str) -> None:
        """An engine's instruction, waited for."""
        self.add(f"{line} signal=15", "sync wait=15")

    def memory(self, at: int, data: np.ndarray) -> None:
        """Data that memory starts with."""
        self.data.append((at, np.ascontiguousarray(data, np.uint8)))
        self.end = max(self.end, at + len(data))

    def load(self, memory: int, pad: int, size: int) -> None:
        """One run into the scratchpad."""
        self._move("load", memory, pad, size)

    def store(self, pad: int, memory: int, size: int) -> None:
        """One run out of it."""
        self._move("store", memory, pad, size)
        self.end = max(self.end, memory + size)

    def _move(self, name: str, memory: int, pad: int, size: int) -> None:
        for register, value in ((1, 1), (2, pad), (3, memory), (4, size)):
            self.set(register, value)
        self.engine(f"{name} pad=r2 memory=r3 bytes=r4 n0=r1 n1=r1")


def noise(size: int, seed: int) -> np.ndarray:
    """Bytes of any value."""
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


def scalar_program() -> Program:
    """Scalar operations on constants of every size, loops within loops, every branch, the host's arguments."""
    p = Program("scalar")
    p.pad_bytes = 256
    rng = np.random.default_rng(11)
    ops = ("add", "sub", "mul", "and", "or", "xor", "shl", "shr", "min", "max", "less", "equal")
    for r in range(16, 24):
        p.set(r, int(rng.integers(-(1 << 47), 1 << 47)) >> int(rng.integers(0, 40)))
    for i, name in enumerate(ops):
        p.add(f"{name} rd=r{4 + i} a=r{16 + i % 8} b=r{16 + (i + 3) % 8} imm={int(rng.integers(-9, 9))}")
    for i in range(ARGUMENTS):
        p.add(f"argument rd=r{24 + i} index={i}")
    p.add("add rd=r1 imm=3", "loop count=r1 end=outer", "loop count=r1 end=inner", "add rd=r2 a=r2 imm=1",
          "add rd=r3 a=r3 b=r2", "inner:", "add rd=r2 a=r2 imm=100", "outer:")  # fmt: skip
    for i, condition in enumerate(("equal", "unequal", "less", "at_least")):
        for a, b in ((16, 16), (16, 17), (17, 16)):
            p.add(f"branch a=r{a} b=r{b} if={condition} target=b{i}_{a}_{b}")
            p.add(f"add rd=r2 a=r2 imm={1 << (3 * i) + 7}", f"b{i}_{a}_{b}:")
    p.add("interrupt code=40001", "interrupt code=7")
    for r in range(1, 32):
        p.add(f"write a=r{r} imm={8 * r}")
    p.add("read rd=r5 imm=20", "write a=r5 imm=0", "sync signal=3,4", "sync wait=3,4")
    p.store(0, 0x1000, 256)
    p.add("halt code=77")
    return p


def transfer_program(name: str, g: Geometry) -> Program:
    """Loads and stores: `copy`, `overlap`, `chosen`, `transpose`."""
    p = Program(name)
    p.memory(0, noise(0x2000, len(name)))
    if name == "copy":
        p.pad_bytes = 1024
        constants: tuple[tuple[int, int], ...] = (
            (1, 5), (2, 44), (3, 100), (4, 3),
            (5, 0x310), (6, 48), (7, 0x101), (8, 0x4003), (9, 64),
        )  # fmt: skip
        for r, value in constants:
            p.set(r, value)
        p.engine("load pad=r0 memory=r7 bytes=r2 n0=r1 s0=r3 n1=r4 s1=r5 pitch=r6")
        p.engine("store pad=r0 memory=r8 bytes=r2 n0=r1 s0=r9 n1=r4 s1=r5 pitch=r6")
    elif name == "overlap":
        p.pad_bytes = 1024
        p.add(
            "add rd=r1 imm=1", "add rd=r2 imm=96", "add rd=r4 imm=4", "add rd=r5 imm=0x4000", "add rd=r9 imm=128",
            "sync signal=1", "sync signal=1", "loop count=r4 end=done",
            "load  pad=r6 memory=r7 bytes=r2 n0=r4 s0=r9 n1=r1 pitch=r2 wait=1 signal=0",
            "store pad=r6 memory=r5 bytes=r2 n0=r4 s0=r9 n1=r1 pitch=r2 wait=0 signal=1",
            "add rd=r7 a=r7 imm=512", "add rd=r5 a=r5 imm=512", "xor rd=r6 a=r6 imm=512", "done:",
        )  # fmt: skip
    elif name == "chosen":
        p.pad_bytes = 1024
        constants = (
            (2, 40), (3, 4), (4, 0x300000005), (5, 0x200000009),
            (6, 64), (8, 200), (9, 0x100), (10, 0x6000),
        )  # fmt: skip
        for r, value in constants:
            p.set(r, value)
        p.add("write a=r4 b=r6", "write a=r5 b=r6 imm=8")
        p.engine("gather pad=r9 memory=r8 bytes=r2 n0=r3 s0=r2 table=r6 pitch=r2")
        p.engine("scatter pad=r9 memory=r10 bytes=r2 n0=r3 s0=r2 table=r6 pitch=r2")
    else:
        word = g.word_bytes
        wide, tiles = max(word, 32), 2
        split = max(32 * 32, word)
        size = wide // 32 * split
        p.pad_bytes = tiles * size
        constants = (
            (2, wide), (3, tiles), (4, wide + 5),
            (5, split), (6, 33 * (wide + 5)), (7, size), (8, 3),
        )  # fmt: skip
        for r, value in constants:
            p.set(r, value)
        p.engine("transpose pad=r0 memory=r8 bytes=r2 n0=r3 s0=r4 split=r5 s1=r6 pitch=r7")
        if tiles * 33 * (wide + 5) > 0x2000:
            p.memory(0x2000, noise(tiles * 34 * (wide + 5), 3))
        p.store(0, 0x8000, tiles * size)
    p.end = max(p.end, 0x7000)
    p.add("halt code=2")
    return p
