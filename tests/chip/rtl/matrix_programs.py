"""Random programs of products: what a compiler writes and what it would not, with loads and stores beside them.

The scratchpad in use: codes, scales, results. Memory has bytes of any value and, at SCALES, bytes that are mostly
moderate exponents, so that sums are finite often enough to say something. Every operation says which bytes it reads
and writes; one that needs another's result, or would overwrite what another uses, waits for its token.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry

MEMORY, SCALES, RESULTS, CODE = 1 << 19, 0x20000, 0x30000, 0x70000
STEPS = 6
Range = tuple[int, int]


def memory(seed: int) -> NDArray[np.uint8]:
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, MEMORY, dtype=np.uint8)
    moderate = rng.integers(110, 145, 0x10000)
    any_ = rng.random(0x10000) < 0.002
    data[SCALES : SCALES + 0x10000] = np.where(any_, data[SCALES : SCALES + 0x10000], moderate)
    return data


@dataclass
class Operation:
    """Under way, as far as the program knows."""

    semaphore: int
    engine: str
    reads: list[Range]
    writes: list[Range]
    taken: set[int] = field(
        default_factory=set
    )  # semaphores it waits for, which no other may signal meanwhile


@dataclass
class Layout:
    """Where things are in the scratchpad."""

    codes: Range
    scales: Range
    results: Range
    rows: Range = field(init=False)

    def __post_init__(self) -> None:
        self.rows = self.codes

    @staticmethod
    def of(g: Geometry) -> Layout:
        beats = STEPS * g.rows * g.tiles * max(g.beat_bytes(n) for n in g.formats)
        codes = min(max(beats, 8192), g.pad_bytes // 2) // 64 * 64
        scales = min(codes // 4, 8192, g.pad_bytes // 8)
        return Layout((0, codes), (codes, codes + scales), (codes + scales, codes + 2 * scales))


class Products:
    """Text of a program."""

    def __init__(self, g: Geometry, seed: int, count: int = 12) -> None:
        self.g, self.rng = g, np.random.default_rng(seed)
        self.at = Layout.of(g)
        self.lines: list[str] = []
        self.open: list[Operation] = []
        self.held: dict[int, tuple[int, int, int]] = {}  # bank → rows, tiles, format
        self.stored = 0
        for area, source in ((self.at.codes, 0), (self.at.scales, SCALES), (self.at.results, 0)):
            self.load(area, source)
        for _ in range(count):
            self.matmul() if self.rng.random() < 0.7 else self.move()
        self.settle([], [(0, g.pad_bytes)], "")
        self.load_or_store("store", (0, self.at.results[1]), RESULTS)
        self.settle([], [(0, g.pad_bytes)], "")
        self.lines.append("halt code=77")

    @property
    def text(self) -> str:
        return "\n".join(self.lines) + "\n"

    def set(self, register: int, value: int) -> None:
        self.lines.append(f"add rd=r{register} imm={value}")

    def between(self, low: int, high: int) -> int:
        """low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def settle(self, reads: list[Range], writes: list[Range], engine: str) -> list[Operation]:
        """What must come before an operation; what an engine writes it writes in order."""

        def meet(some: list[Range], others: list[Range]) -> bool:
            return any(a < d and c < b for a, b in some for c, d in others)

        full = len({x for o in self.open for x in (o.semaphore, *o.taken)}) > 12
        kept, waits = [], []
        for one in self.open:
            ordered = engine == one.engine
            clash = meet(reads, one.writes)
            clash |= (meet(writes, one.writes) or meet(writes, one.reads)) and not ordered
            if clash or full:
                waits.append(one)
            else:
                kept.append(one)
        self.open = kept
        if waits and (not engine or full or self.rng.random() < 0.5):
            self.lines.append("sync wait=" + ",".join(str(o.semaphore) for o in waits))
            return []
        return waits

    def issue(self, line: str, engine: str, reads: list[Range], writes: list[Range]) -> None:
        waits = self.settle(reads, writes, engine)
        taken = {x for o in waits for x in (o.semaphore, *o.taken)}
        used = {x for o in self.open for x in (o.semaphore, *o.taken)} | taken
        s = next(int(x) for x in self.rng.permutation(16) if x not in used)
        tail = f" wait={','.join(str(o.semaphore) for o in waits)}" if waits else ""
        self.lines.append(f"{line}{tail} signal={s}")
        # only this engine has waited: for the others what it waited for ends with it
        reads = [*reads, *(r for o in waits for r in o.reads)]
        writes = [*writes, *(r for o in waits for r in o.writes)]
        self.open.append(Operation(s, "" if waits else engine, reads, writes, taken))

    def load_or_store(self, name: str, area: Range, address: int) -> None:
        for register, value in ((1, 1), (2, area[0]), (3, area[1] - area[0]), (4, address)):
            self.set(register, value)
        line = f"{name} pad=r2 memory=r4 bytes=r3 n0=r1 n1=r1"
        self.issue(line, name, [area] if name == "store" else [], [area] if name == "load" else [])

    def load(self, area: Range, source: int) -> None:
        address = source + self.between(0, 0x400)
        self.load_or_store("load", area, address)

    def move(self) -> None:
        """Part of the operands anew, or part of the results out."""
        kind = self.rng.choice(["codes", "scales", "results"])
        area = getattr(self.at, kind)
        size = 8 * self.between(1, min(256, (area[1] - area[0]) // 8))
        low = area[0] + 8 * self.between(0, (area[1] - area[0] - size) // 8)
        if kind == "results":
            self.load_or_store("store", (low, low + size), RESULTS + 0x20000 + 0x1000 * (self.stored % 16))
            self.stored += 1
        else:
            self.load((low, low + size), SCALES if kind == "scales" else 0)

    def matmul(self) -> None:
        g = self.g
        bank = self.between(0, 1)
        held = self.held.get(bank)
        keep = held is not None and self.rng.random() < 0.6
        rows, tiles = self.between(1, g.rows), self.between(1, g.tiles)
        names = [n for n in ("mxfp4", "mxint8") if n in g.formats]
        name = names[self.between(0, len(names) - 1)]
        if keep and held:
            rows, tiles = min(rows, held[0]), min(tiles, held[1])
            name = ("mxfp4", "mxint8")[held[2]]
        height, steps = self.between(1, rows), self.between(1, STEPS)
        groups = -(-rows // height)
        drain = bool(self.rng.random() < 0.7)
        blocks = steps * groups
        beats = blocks * tiles
        codes, scales, results = self.at.codes, self.at.scales, self.at.results
        w, w_range = self.place(codes, beats * g.beat_bytes(name), g.beat_bytes(name))
        unit = max(g.scale_bytes(name), BLOCK_BYTES)
        wscale, wscale_range = self.place(scales, beats * g.scale_bytes(name), unit)
        # rows: one stride for codes and scales; 0 and negative ones too
        strides = [0, 32 * self.between(0, 9), -32 * self.between(0, 9)]
        sa = strides[self.between(0, 2)]
        reach = (rows - 1) * sa
        a_size, s_size = 32 * blocks + abs(reach), blocks + abs(reach)
        a, a_range = self.place(codes, a_size, BLOCK_BYTES, -min(reach, 0))
        ascale, ascale_range = self.place(scales, s_size, BLOCK_BYTES, -min(reach, 0))
        line = tiles * g.pitch(name)
        so = -(-line // 32) * 32 + 32 * self.between(0, 2)
        if self.rng.random() < 0.3:
            so = -so
        reach = (rows - 1) * so
        out, out_range = self.place(results, line + abs(reach), BLOCK_BYTES, -min(reach, 0))
        values = (a, ascale, sa, w, wscale, out, so, steps)
        for register, value in zip(range(1, 9), values, strict=True):
            self.set(register, value)
        text = (
            "matmul a=r1 ascale=r2 sa=r3 w=r4 wscale=r5 out=r6 so=r7 steps=r8 "
            f"rows={rows} height={height} tiles={tiles} bank={bank} keep={int(keep)} drain={int(drain)} format={name}"
        )
        self.issue(
            text, "matrix", [w_range, wscale_range, a_range, ascale_range], [out_range] if drain else []
        )
        self.held[bank] = (rows, tiles, ("mxfp4", "mxint8").index(name))

    def place(self, area: Range, size: int, unit: int, below: int = 0) -> tuple[int, Range]:
        """An address, a multiple of `unit`, with `below` bytes in use below it, and the range in use."""
        low = -(-(area[0] + below) // unit)
        high = (area[1] - size + below) // unit
        assert high >= low, (area, size, unit, below)
        at = unit * self.between(low, high)
        return at, (at - below, at - below + size)
