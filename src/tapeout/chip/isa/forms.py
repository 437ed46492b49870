"""Shapes that many instructions share: scalar operations; vector operations of one and of two operands.

A vector instruction works on `rows` rows of `n` elements. Row r of operand x is at x + r·sx in the scratchpad;
addresses and strides are multiples of 32 bytes. Rows are done in order. A result may take the place of an operand
exactly (address, stride, size of elements; of vtake: b, not a); other overlaps of what is read and written have no
defined result. The slots are always
a, out, n, rows, sa, so, b, sb.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import REGISTER_MASK, Cause, Field, Instruction, Operands, Slot
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry
from tapeout.chip.isa.state import State, need

F32 = NDArray[np.float32]
IMMEDIATE = Field("imm", 0, 48, "added to b", kind="signed")
FLOAT = Field("imm", 0, 32, "FP32 constant", kind="float")
SOURCE = Field("from", 32, 2, "what b is", ("vector", "row", "immediate"))
FORMAT = Field("format", 32, 1, "of the codes", ("mxfp4", "mxint8"))

UNARY = (
    Slot("a", "operand's address"),
    Slot("out", "result's address"),
    Slot("n", "elements of a row"),
    Slot("rows", "rows"),
    Slot("sa", "bytes between rows of a"),
    Slot("so", "bytes between rows of the result"),
)
BINARY = (
    *UNARY,
    Slot("b", "second operand's address"),
    Slot("sb", "bytes between rows of b; 0: the same row for all"),
)


def scalar(
    name: str, opcode: int, about: str, function: Callable[[int, int], int], more: int = 0
) -> Instruction:
    """rd = a OP (b + imm), modulo 2^48. The second operand is a register plus a constant, so that one form
    serves for both: with b = r0 it is the constant, with imm = 0 the register."""

    def meaning(state: State, o: Operands) -> None:
        state.set_register(o.rd, function(o.a, (o.b + o.imm) & REGISTER_MASK))

    return Instruction(
        name, opcode, about,
        (Slot("rd", "result", writes=True), Slot("a", "first operand"), Slot("b", "second operand")),
        (IMMEDIATE,), meaning, lambda o, g: timing.SCALAR + more,
    )  # fmt: skip


def aligned(o: Operands, *names: str) -> None:
    """Trap unless these addresses and strides are multiples of a block."""
    for name in names:
        value = getattr(o, name)
        need(Cause.ALIGNMENT, value % BLOCK_BYTES == 0, f"{name} {value:#x}")


def at(base: int, row: int, stride: int) -> int:
    """Address of a row: as registers add."""
    return (base + row * stride) & REGISTER_MASK


def vector_cycles(fill: int, each: int = 1) -> Callable[[Operands, Geometry], int]:
    """One pass of the lanes after another in `each` cycles, and `fill` until the last result is in the scratchpad; an
    instruction without elements takes a cycle for each row."""

    def cycles(o: Operands, g: Geometry) -> int:
        beats = each * timing.passes(o.n, g.lanes)
        return timing.VECTOR_START + (fill + o.rows * beats if o.n and o.rows else max(o.rows * each, 1))

    return cycles


def unary(name: str, opcode: int, about: str, function: Callable[[F32], F32], notes: str = "") -> Instruction:
    """out = f(a), FP32, element by element, through the function unit."""

    def meaning(state: State, o: Operands) -> None:
        aligned(o, "a", "out", "sa", "so")
        for r in range(o.rows):
            state.write_floats(at(o.out, r, o.so), function(state.read_floats(at(o.a, r, o.sa), o.n)))

    return Instruction(name, opcode, about, UNARY, (), meaning, vector_cycles(timing.VECTOR_FUNCTION), notes)


def reduction(
    name: str,
    opcode: int,
    about: str,
    function: Callable[[F32], F32],
    fill: Callable[[int], int],
    taken: Callable[[int, int, int], int],
) -> Instruction:
    """out[row] = f over the row: one FP32 at the start of a granule, whose other half becomes zero. With beats of
    `width` elements, at most VECTOR_REDUCED: `fill(width)`, and `taken(rows, n, width)` cycles of taking them."""

    def meaning(state: State, o: Operands) -> None:
        aligned(o, "a", "out", "sa", "so")
        for r in range(o.rows):
            value = function(state.read_floats(at(o.a, r, o.sa), o.n))
            state.write_floats(at(o.out, r, o.so), np.asarray(value, np.float32).reshape(1))

    def cycles(o: Operands, g: Geometry) -> int:
        if not o.rows:
            return timing.VECTOR_START + 1
        width = timing.reduced(g.lanes)
        waits = fill(width) - (0 if o.n else timing.VECTOR_READ)  # an empty row has nothing to read
        return timing.VECTOR_START + waits + taken(o.rows, o.n, width)

    return Instruction(name, opcode, about, UNARY, (), meaning, cycles)


def second(state: State, o: Operands, row: int) -> F32:
    """The second operand of a row: n values, one for the whole row, or the constant."""
    source = getattr(o, "from")
    if source == 2:
        return np.array([o.imm], np.uint32).view(np.float32)
    return state.read_floats(at(o.b, row, o.sb), o.n if source == 0 else 1)


def binary(
    name: str,
    opcode: int,
    about: str,
    function: Callable[..., F32],
    fields: tuple[Field, ...] = (),
    notes: str = "",
    fill: int = timing.VECTOR_QUICK,
) -> Instruction:
    """out = f(a, b), FP32, element by element; b a row of elements, one element per row, or a constant.

    With `fields`, `function` gets the value of the first of them as a third argument.
    """

    def meaning(state: State, o: Operands) -> None:
        aligned(o, "a", "out", "sa", "so", *(("b", "sb") if getattr(o, "from") != 2 else ()))
        more = [getattr(o, f.name) for f in fields[:1]]
        for r in range(o.rows):
            y = function(state.read_floats(at(o.a, r, o.sa), o.n), second(state, o, r), *more)
            state.write_floats(at(o.out, r, o.so), np.broadcast_to(y, (o.n,)))

    return Instruction(
        name, opcode, about, BINARY, (FLOAT, SOURCE, *fields), meaning, vector_cycles(fill), notes
    )
