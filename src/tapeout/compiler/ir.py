"""The intermediate representation: engine instructions on named buffers, scalar work, and run-time loops.

A list of items in the order of the computation. Operands of an engine instruction are numbers, scalars, or places:
`Ref` in a scratchpad buffer, `Mem` in a region of memory, each with a constant offset and at most one scalar added.
Which bytes an instruction reads and writes is said with it, so that every later pass knows what depends on what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tapeout.chip.isa.definition import Engine, Instruction
from tapeout.chip.isa.registry import instructions
from tapeout.compiler.program import Operator

WORK, WEIGHTS, EXPERTS, VECTORS = "work", "weights", "experts", "vectors"


@dataclass(eq=False)
class Buffer:
    """`size` bytes of the scratchpad. `kind`: who places it: `allocate` (work) or `order` (the rings that loads
    stream through). `address` is set by them."""

    name: str
    size: int
    kind: str = WORK
    align: int = 64
    address: int = -1

    def at(self, offset: int = 0, plus: Scalar | None = None) -> Ref:
        """A place in it."""
        return Ref(self, offset, plus)


@dataclass(eq=False)
class Area:
    """Bytes of memory that the program itself writes, taken as one for dependences (one layer's cache, a spill)."""

    name: str


@dataclass(eq=False)
class Scalar:
    """A number known at run time, in a register while it is needed. `nominal`: what the cycle count assumes."""

    nominal: int = 0


@dataclass(frozen=True)
class Ref:
    """A scratchpad address: in `buffer`, `offset` bytes (plus a scalar) from its start."""

    buffer: Buffer
    offset: int = 0
    plus: Scalar | None = None

    def __add__(self, bytes: int) -> Ref:
        return Ref(self.buffer, self.offset + bytes, self.plus)


@dataclass(frozen=True)
class Mem:
    """A memory address: `offset` bytes (plus a scalar) from the base of `region`."""

    region: str
    offset: int = 0
    plus: Scalar | None = None

    def __add__(self, bytes: int) -> Mem:
        return Mem(self.region, self.offset + bytes, self.plus)


Value = int | Scalar | Ref | Mem
Span = tuple[Buffer | Area, int, int]  # buffer, first byte, bytes (an area: 0, 1)


@dataclass(eq=False)
class Op:
    """An instruction of an engine. `prefetch`: a load of constants, which may go as early as there is room."""

    instruction: Instruction
    operands: Mapping[str, Value]
    fields: Mapping[str, int]
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    origin: Operator
    prefetch: bool = False
    wait: set[int] = field(default_factory=set)
    signal: set[int] = field(default_factory=set)

    @property
    def engine(self) -> Engine:
        """Who executes it."""
        return self.instruction.engine


@dataclass(eq=False)
class Calculate:
    """rd = a OP (b + constant) by an instruction of the sequencer; `read` takes its word from `reads`."""

    instruction: Instruction
    rd: Scalar
    a: Scalar | None
    b: Scalar | None
    constant: Value  # an int, Ref or Mem without a scalar
    reads: tuple[Span, ...]
    origin: Operator
    index: int = 0  # of `argument`
    wait: set[int] = field(default_factory=set)


@dataclass(eq=False)
class Loop:
    """`body` executed `count` times, 0 too. Everything before it is complete when it starts, each trip is complete
    before the next, and it is complete when what follows starts. `pending`: for each semaphore the tokens that what
    comes before gives to what comes after; they are put aside while the loop runs."""

    count: Scalar
    body: list[Item]
    origin: Operator
    pending: dict[int, int] = field(default_factory=dict)


@dataclass(eq=False)
class Stop:
    """The entry ends here unless `more` is 0. Loads of what comes after may have gone before; their tokens are left,
    and the next program starts with none."""

    more: Scalar
    origin: Operator


Item = Op | Calculate | Loop | Stop


@dataclass(eq=False)
class Routine:
    """One entry's items, ready for the passes."""

    name: str
    items: list[Item]


def walk(items: Iterable[Item]) -> Iterator[Item]:
    """Every item, bodies of loops too, loops before their bodies."""
    for item in items:
        yield item
        if isinstance(item, Loop):
            yield from walk(item.body)


def spans(item: Item) -> Iterator[tuple[Span, bool]]:
    """(what, written) of an op or a calculation."""
    if isinstance(item, Loop | Stop):
        return
    for s in item.reads:
        yield s, False
    if isinstance(item, Op):
        for s in item.writes:
            yield s, True


def scalars(value: Value | None) -> Scalar | None:
    """The scalar in an operand."""
    if isinstance(value, Scalar):
        return value
    return value.plus if isinstance(value, Ref | Mem) else None


def named(name: str) -> Instruction:
    """The instruction of this name."""
    return instructions()[name]
