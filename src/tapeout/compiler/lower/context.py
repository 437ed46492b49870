"""What the operators share while one entry is lowered."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry, round_up
from tapeout.chip.isa.layout import row_bytes
from tapeout.compiler.builder import Builder
from tapeout.compiler.ir import VECTORS, WORK, Area, Buffer, Mem, Ref, Scalar
from tapeout.compiler.lower.cached import Kept
from tapeout.compiler.memory import Memory
from tapeout.compiler.program import CacheTensor, StateTensor
from tapeout.model.architecture import Model, Tensor
from tapeout.numerics.formats import BLOCK
from tapeout.numerics.plan import FormatPlan

SLOT = (
    BLOCK_BYTES // 4
)  # elements from one row's only element to the next's: rows begin at multiples of a block


@dataclass(frozen=True)
class Rows:
    """Quantised activations: rows of `k` MXINT8 codes (padded to blocks), each with its scales behind them."""

    at: Ref
    k: int

    @property
    def stride(self) -> int:
        """Bytes from a row to the next."""
        return row_bytes(self.k)

    @property
    def scales(self) -> Ref:
        """The scales of the first row."""
        return self.at + round_up(self.k, BLOCK)

    def row(self, r: int) -> Rows:
        """The rows from row r on."""
        return Rows(self.at + r * self.stride, self.k)


@dataclass(frozen=True)
class Floats:
    """FP32 rows of `n` elements, `stride` bytes apart."""

    at: Ref
    n: int
    stride: int

    def row(self, r: int) -> Floats:
        """The rows from row r on."""
        return Floats(self.at + r * self.stride, self.n, self.stride)

    def part(self, start: int, n: int) -> Floats:
        """Elements start to start + n of every row; `start` a multiple of 8."""
        return Floats(self.at + 4 * start, n, self.stride)


@dataclass(frozen=True)
class Step:
    """One entry: `tokens` new tokens of one sequence, or one token of each of `sequences`. `chunk`: the most
    tokens of any entry."""

    tokens: int
    sequences: int

    @property
    def rows(self) -> int:
        """Rows of activations."""
        return self.tokens * self.sequences


class Each(Sequence[Scalar]):
    """A number of each sequence, which `get` makes when it is asked for: there are fewer registers than numbers."""

    def __init__(self, number: int, get: Callable[[int], Scalar]) -> None:
        self.number, self.get = number, get

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, i: int) -> Scalar:  # type: ignore[override]
        if not 0 <= i < self.number:
            raise IndexError(i)
        return self.get(i)


@dataclass
class Context:
    """One entry being lowered. `positions[i]`, `slots[i]`: the position of the first new token and the byte offset
    of the cache slot of sequence i, `sources[i]`: of the slot whose states it starts from; `count`: new tokens that are
    real. `resident`: weights of experts of several tokens may stay in the scratchpad while their rows come by."""

    builder: Builder
    memory: Memory
    model: Model
    plan: FormatPlan
    step: Step
    capacity: int
    tile: int
    kept: Kept
    slots_there: int
    caches: dict[int, Area]
    resident: bool = True
    positions: Sequence[Scalar] = ()
    slots: Sequence[Scalar] = ()
    sources: Sequence[Scalar] = ()
    count: Scalar | None = None
    tables: dict[str, Ref] = field(default_factory=dict)

    @property
    def g(self) -> Geometry:
        """The core's."""
        return self.builder.g

    @property
    def cache(self) -> tuple[tuple[CacheTensor, ...], ...]:
        """Keys and values of each layer."""
        return self.kept.cache

    @property
    def states(self) -> tuple[tuple[StateTensor, ...], ...]:
        """States of each layer."""
        return self.kept.states

    def work(self, name: str, size: int, align: int = 64) -> Ref:
        """A new work buffer."""
        return self.builder.buffer(name, size, WORK, align).at()

    def floats(self, name: str, rows: int, n: int, room: int = 0) -> Floats:
        """A work buffer of FP32 rows, padded to whole blocks of 32 bytes (and to `room` elements)."""
        stride = round_up(4 * max(n, room), BLOCK_BYTES)
        return Floats(self.work(name, rows * stride), n, stride)

    def rows(self, name: str, rows: int, k: int) -> Rows:
        """A work buffer of quantised rows."""
        return Rows(self.work(name, rows * row_bytes(k)), k)

    def names(self, layer: int | None) -> Mapping[str, Tensor]:
        """The tensors of a layer by their names within it."""
        return {t.name.split(f"layers.{layer}.", 1)[-1]: t for t in self.model.layer_tensors(layer)}

    def vector(self, tensor: Tensor | None, n: int, spread: int = 4, **options: Any) -> Ref:
        """FP32 values of a tensor in the scratchpad, loaded ahead of their use."""
        at = self.memory.vector(tensor, n, None, spread=spread, **options)
        return self.constants(at, n * spread, tensor.name if tensor else "zeros")

    def numbers(self, values: Sequence[int]) -> Ref:
        """A row of these numbers as uint32, loaded once for the whole entry."""
        key, size = f"numbers {tuple(values)}", 4 * len(values)
        if key not in self.tables:
            self.tables[key] = self.work("numbers", size)
            self.builder.load(self.tables[key], self.memory.numbers(values), size)
        return self.tables[key]

    def apart(self, n: int) -> Ref:
        """The numbers below n as uint32, one every 32 bytes, loaded once for the whole entry."""
        key = f"apart {n}"
        if key not in self.tables:
            self.tables[key] = self.work("indices", 32 * n)
            self.builder.load(self.tables[key], self.memory.indices(n), 32 * n)
        return self.tables[key]

    def constants(self, at: Mem, bytes: int, name: str) -> Ref:
        """Bytes of memory that never change, loaded ahead of their use."""
        buffer: Buffer = self.builder.buffer(name, bytes, VECTORS)
        self.builder.load(buffer.at(), at, round_up(bytes, 8), extent=bytes, prefetch=True)
        return buffer.at()


def each(
    c: Context, name: str, out: Floats, a: Floats, rows: int, b: Floats | Ref | float | None = None
) -> None:  # fmt: skip
    """An element-wise instruction over whole rows; b: rows, one row for all (a Ref), or a constant. Rows of one
    element, 32 bytes apart, go as one row with what lies between them, of which nobody makes use: lanes are not idle
    then."""
    n = a.n
    operands = [x for x in (a, out, b) if isinstance(x, Floats)]
    if (
        c.g.lanes > SLOT
        and not isinstance(b, Ref)
        and all((x.n, x.stride) == (1, BLOCK_BYTES) for x in operands)
    ):
        n, rows = SLOT * rows, 1
    if isinstance(b, Floats):
        c.builder.vector(name, out.at, a.at, n, rows, a.stride, out.stride, b.at, b.stride)
    else:
        c.builder.vector(name, out.at, a.at, n, rows, a.stride, out.stride, b, 0)


def by_row(
    c: Context, name: str, out: Floats, a: Floats, rows: int, b: Floats, condition: int | None = None
) -> None:  # fmt: skip
    """An instruction of two operands whose second is one element for each row."""
    c.builder.vector(
        name, out.at, a.at, a.n, rows, a.stride, out.stride, b.at, b.stride, per_row=True, condition=condition
    )


def reduce(c: Context, name: str, a: Floats, rows: int, label: str) -> Floats:
    """A reduction of each row to one element every 32 bytes."""
    out = c.floats(label, rows, 1)
    c.builder.vector(name, out.at, a.at, a.n, rows, a.stride, out.stride)
    return out


def quantise(c: Context, x: Floats, rows: int, name: str) -> Rows:
    """MXINT8 rows of x."""
    q = c.rows(name, rows, x.n)
    c.builder.vector("vquantise", q.at, x.at, x.n, rows, x.stride, q.stride, q.scales, q.stride, format=1)
    return q
