"""One core's share of a step: the parts that fall to it, one after another, as a program for timing.

What other cores and chips do is not simulated. Where a part needs their results the program waits as long as it is
told: a `vtopk` over so many elements, which the vector engine takes one a cycle, while loads go on. The first part is
given its inputs; every other depends on the one before. Weights of `chosen` experts load only once the scalar that
stands for the choice is read, all others as early as there is room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tapeout.chip.isa import timing
from tapeout.chip.isa.geometry import BLOCK_BYTES, round_up
from tapeout.chip.spec import Core
from tapeout.compiler.ir import Op, Scalar
from tapeout.compiler.lower.attention import Query, attend, extent
from tapeout.compiler.lower.context import Context, Floats, Rows, Step, by_row, each, quantise, reduce
from tapeout.compiler.lower.product import product as lower_product
from tapeout.compiler.lower.product import room
from tapeout.compiler.memory import Chunk, Matrix, chunks
from tapeout.numerics.formats import BLOCK
from tapeout.simulator.cycle.assembled import Assembled, assembled, given

LONGEST = 4096  # elements of a row of vector work
WEIGHTS_PART = 10  # a load of weights is at most this part of the scratchpad
GROUPS_PART = 8  # of weights that several groups of rows meet
OUTPUTS_PART = 8  # outputs of a product, or data of vector work, have at most this part
LONGEST_WAIT = 8192  # cycles of one instruction
WAIT = timing.VECTOR_START + timing.VECTOR_TOPK + 2  # cycles that a wait of one element takes


@dataclass(frozen=True)
class Part:
    """`name`: the operator's. `wait`: cycles before it, for what other cores and chips send."""

    name: str
    wait: int = 0


@dataclass(frozen=True)
class Product(Part):
    """x · wᵀ: `rows` of `k` activations by `outputs` rows of weights in `format`, which lie in `region` of memory.
    `quantised`: elements of x that this core makes; `beside`: instructions, over so many elements each, of vector work
    on the result."""

    rows: int = 1
    outputs: int = 1
    k: int = BLOCK
    format: str = "mxfp4"
    quantised: int = 0
    beside: tuple[int, int] = (0, 0)
    chosen: bool = False
    region: str = "weights"


@dataclass(frozen=True)
class Attention(Part):
    """`times` times `kv` heads of keys with `group` query heads each of `tokens` tokens, over `context` positions."""

    times: int = 1
    kv: int = 1
    group: int = 1
    tokens: int = 1
    dim: int = BLOCK
    value_dim: int = BLOCK
    context: int = BLOCK


@dataclass(frozen=True)
class Vectors(Part):
    """Instructions that wait for each other over `rows` × `n` elements: `reductions` to an element a row, `whole`
    over all of them, `short` over an element a row."""

    rows: int = 1
    n: int = 1
    reductions: int = 0
    whole: int = 1
    short: int = 0


@dataclass(frozen=True)
class Choice(Part):
    """The `k` largest of `n` in each of `rows` rows, and the softmax of them."""

    rows: int = 1
    n: int = 1
    k: int = 1


def program(core: Core, parts: Sequence[Part], slower: Mapping[str, float] | None = None) -> Assembled:
    """The parts in order; operators are numbered by name. `slower`: how many times as long as the port would take
    loads from a region take, where others share the memory. Raises DoesNotHold if the scratchpad is too small."""
    heads = [p for p in parts if isinstance(p, Attention)]
    positions = round_up(max((p.context for p in heads), default=1) + 256, 128)
    kv = max((p.kv for p in heads), default=1)
    dim = max((p.dim for p in heads), default=BLOCK)
    wide = max((p.value_dim for p in heads), default=BLOCK)

    def body(c: Context) -> None:
        _Share(c, parts).lower()

    return assembled(core, Step(1, 1), body, (kv, dim, wide, positions), slower)


class _Share:
    def __init__(self, c: Context, parts: Sequence[Part]) -> None:
        self.c, self.parts = c, parts
        longest = max((p.wait for p in parts), default=0)
        self.zeros = given(c, 4 * max(min(longest, LONGEST_WAIT), 1024))
        self.last = given(c, 64)  # where the part before left its result
        self.choice: Scalar | None = None
        c.tables["ones"] = given(c, 1024)

    def lower(self) -> None:
        """All parts."""
        for p in self.parts:
            self.c.builder.of(None, p.name)
            self._wait(p.wait)
            if isinstance(p, Product):
                self._product(p)
            elif isinstance(p, Attention):
                self._attention(p)
            elif isinstance(p, Choice):
                self._choose(p)
            elif isinstance(p, Vectors):
                self._vectors(p)

    def _after(self) -> None:
        """The instruction just appended needs the part before."""
        op = self.c.builder.items[-1]
        assert isinstance(op, Op)
        op.reads = (*op.reads, (self.last.buffer, self.last.offset, 4))

    def _wait(self, cycles: int) -> None:
        while cycles > WAIT:
            n = min(cycles, LONGEST_WAIT) - WAIT + 1
            flag = self.c.work("arrived", 32)
            self.c.builder.vector("vtopk", flag, self.zeros, n, k=1)
            self._after()
            self.last, cycles = flag, cycles - n - WAIT + 1

    def _over(self, elements: int) -> tuple[int, int]:
        """Rows and elements of each for so much vector work."""
        rows = -(-elements // LONGEST)
        return rows, round_up(-(-elements // rows), BLOCK)

    def _product(self, p: Product) -> None:
        c = self.c
        x = c.rows("inputs", p.rows, p.k)
        left, most = max(p.quantised, BLOCK), c.g.pad_bytes // OUTPUTS_PART // 4
        while left > 0:
            rows, n = self._over(min(left, most))
            source = c.floats("made", rows, n)
            self._first(source)
            self.last = quantise(c, source, rows, "codes").at
            left -= rows * n
        self._filled(x, p.rows)
        # as many outputs at a time as have room; what is done with them comes before the next
        unit = c.g.outputs(p.format) * (c.g.tiles if p.rows <= c.g.rows else 1)
        most = max(c.g.pad_bytes // OUTPUTS_PART // (4 * p.rows) // unit * unit, unit)
        for first in range(0, p.outputs, most):
            n = min(most, p.outputs - first)
            commands = self._cut(replace(p, outputs=n))
            size = commands[-1][-1].offset + commands[-1][-1].bytes
            matrix = Matrix(c.memory.room(p.region, size, 4096), n, p.k, p.format, commands, size)
            out = c.floats("outputs", p.rows, n, room(c, n))
            lower_product(c, x, p.rows, matrix, out, self.choice if p.chosen else None)
            self.last = out.at
            times, elements = p.beside
            if times and elements:
                self._beside(out, p, times, elements * n // p.outputs)

    def _first(self, x: Floats) -> None:
        """A part's own data, as the first instruction that needs the part before makes it."""
        self.c.builder.vector("vmaximum", x.at, x.at, 8, 1, b=0.0)
        self._after()

    def _filled(self, x: Rows, rows: int) -> None:
        """The rows of a product depend on what was made: its last row's first codes, an instruction over a block."""
        for r in {0, rows - 1}:
            self.c.builder.vector("vquantise", x.row(r).at, self.zeros, BLOCK, 1, b=x.row(r).scales, format=1)
            self._after()

    def _cut(self, p: Product) -> tuple[tuple[Chunk, ...], ...]:
        c = self.c
        blocks = steps = -(-p.k // BLOCK)
        beat = c.g.beat_bytes(p.format) + c.g.scale_bytes(p.format)
        room_for = c.g.pad_bytes // WEIGHTS_PART
        wide = min(c.g.tiles, -(-p.outputs // c.g.outputs(p.format)))
        if p.rows <= c.g.rows:
            # part by part along the contraction; scales of activations start at multiples of 32 blocks
            tiles = min(wide, max(room_for // (min(blocks, BLOCK_BYTES) * beat), 1))
            if blocks * tiles * beat > room_for:
                steps = max(room_for // (tiles * beat) // BLOCK_BYTES, 1) * BLOCK_BYTES
        else:  # several groups of rows meet the same weights, which must all be there
            tiles = min(wide, max(c.g.pad_bytes // GROUPS_PART // (blocks * beat), 1))
        if tiles < -(-p.outputs // c.g.outputs(p.format)):  # results end where the next command's can begin
            even = max(BLOCK_BYTES // (4 * c.g.outputs(p.format)), 1)
            tiles = max(tiles // even, 1) * even
        return chunks(c.g, p.outputs, p.k, p.format, tiles, steps)

    def _beside(self, out: Floats, p: Product, times: int, elements: int) -> None:
        """Vector work on the result, in place, as much of each row as there is work for."""
        n = min(max(elements // p.rows, 8) // 8 * 8, out.n // 8 * 8) or 8
        rows = min(p.rows, max(round(elements / n), 1))
        part = Floats(out.at, min(n, max(out.stride // 4, 8)), out.stride)
        for _ in range(times):
            each(self.c, "vadd", part, part, rows, 1.0)

    def _attention(self, p: Attention) -> None:
        c = self.c
        rows = p.kv * p.tokens * p.group
        position = c.builder.constant(max(p.context - p.tokens, 0))
        position.nominal = max(p.context - p.tokens, 0)
        slot = c.builder.constant(0)
        queries = Rows(c.rows("queries", rows, p.dim).at, p.dim)
        self._filled(queries, rows)
        for _ in range(p.times):
            q = Query(queries, p.tokens, 0, p.kv, p.group, p.dim**-0.5, None, None)
            out = c.floats("attended", rows, round_up(p.value_dim, BLOCK), extent(c, p.value_dim))
            attend(c, q, 0, position, slot, out)
        self.last = out.at

    def _vectors(self, p: Vectors) -> None:
        c = self.c
        pieces = -(-4 * p.rows * p.n // (c.g.pad_bytes // OUTPUTS_PART))
        if pieces > 1:  # pieces of rows or of a row, one after another
            rows = -(-p.rows // pieces)
            n = p.n if rows > 1 else -(-p.n * p.rows // pieces)
            for _ in range(pieces):
                self._vectors(replace(p, rows=rows, n=min(n, c.g.pad_bytes // OUTPUTS_PART // 4 // rows)))
            return
        x = c.floats("rows", p.rows, round_up(p.n, 8))
        self._first(x)
        s: Floats | None = None
        for _ in range(p.reductions):
            s = reduce(c, "vtotal", x, p.rows, "statistics")
        for _ in range(p.short):
            s = s or c.floats("statistics", p.rows, 1)
            each(c, "vadd", s, s, p.rows, 1.0)
        for i in range(p.whole):
            if i == 0 and s is not None:
                by_row(c, "vmul", x, x, p.rows, s)
            else:
                each(c, "vmul", x, x, p.rows, 1.0)
        self.last = x.at

    def _choose(self, p: Choice) -> None:
        c, b = self.c, self.c.builder
        x = c.floats("logits", p.rows, round_up(p.n, 8))
        self._first(x)
        stride = round_up(4 * p.k, BLOCK_BYTES)
        index = c.work("chosen", p.rows * stride)
        w = c.floats("weights", p.rows, p.k)
        b.vector("vtopk", index, x.at, p.n, p.rows, x.stride, stride, k=p.k)
        self.choice = b.scalar("mul", b.read(index, 0), 0)
        b.vector("vtake", w.at, x.at, p.k, p.rows, x.stride, w.stride, index, stride)
        each(c, "vmul", w, w, p.rows, 1.4426950408889634)
        by_row(c, "vsub", w, w, p.rows, reduce(c, "vgreatest", w, p.rows, "greatest"))
        each(c, "vexp2", w, w, p.rows)
        s = reduce(c, "vtotal", w, p.rows, "total")
        each(c, "vreciprocal", s, s, p.rows)
        by_row(c, "vmul", w, w, p.rows, s)
        self.last = w.at


__all__ = ["Attention", "Choice", "Part", "Product", "Vectors", "program"]
