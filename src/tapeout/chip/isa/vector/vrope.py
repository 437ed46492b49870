"""vrope: rotary position embedding."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Cause, Field, Instruction, Operands
from tapeout.chip.isa.forms import BINARY, aligned, at
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.state import State, need
from tapeout.numerics import vector

HALF_UNIT = 8  # so that the second half of the channels, and the sines, start at a multiple of 32 bytes


def meaning(state: State, o: Operands) -> None:
    """As `numerics.vector.rope`; a row of b is cos [half], then sin [half]."""
    aligned(o, "a", "out", "sa", "so", "b", "sb")
    need(Cause.OPERAND, 2 * o.half <= o.n, f"{2 * o.half} of {o.n} channels rotated")
    need(Cause.OPERAND, o.half % HALF_UNIT == 0, f"{o.half} pairs, not a multiple of {HALF_UNIT}")
    for r in range(o.rows):
        table = state.read_floats(at(o.b, r, o.sb), 2 * o.half)
        x = state.read_floats(at(o.a, r, o.sa), o.n)
        y = vector.rope(x, table[: o.half], table[o.half :], bool(o.interleaved))
        state.write_floats(at(o.out, r, o.so), y)


def cycles(o: Operands, g: Geometry) -> int:
    """Two cycles a pass that rotates, one a pass beside it."""
    if not o.n or not o.rows:
        return timing.VECTOR_START + max(o.rows, 1)
    turned, rest = (2 * o.half if o.interleaved else o.half), o.n - 2 * o.half
    steps = (2 if o.interleaved else 4) * (timing.passes(turned, g.lanes) if turned else 0)
    steps += timing.passes(rest, g.lanes) if rest else 0
    return timing.VECTOR_START + timing.VECTOR_CHAIN + o.rows * steps


INSTRUCTION = Instruction(
    "vrope", 0x6E, "rotate the first 2·half channels of each row by the cosines and sines of b; the rest pass",
    BINARY,
    (
        Field("half", 0, 16, "pairs of channels, a multiple of 8"),
        Field("interleaved", 16, 1, "pairs are (2i, 2i + 1), not (i, i + half)"),
    ),
    meaning, cycles,
    "Products are rounded before they are added (`numerics.vector.rope`). A pair takes four products: two passes. "
    "Heads of one token share a row of the table: sb = 0.",
)  # fmt: skip
