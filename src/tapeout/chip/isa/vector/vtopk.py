"""vtopk: the indices of the largest elements."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Cause, Field, Instruction, Operands
from tapeout.chip.isa.forms import UNARY, aligned, at
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.state import State, need
from tapeout.numerics import vector


def meaning(state: State, o: Operands) -> None:
    """As `numerics.vector.top_k`; indices as 32-bit integers, largest element first."""
    aligned(o, "a", "out", "sa", "so")
    need(Cause.OPERAND, o.k <= o.n, f"the {o.k} largest of {o.n}")
    for r in range(o.rows):
        index = vector.top_k(state.read_floats(at(o.a, r, o.sa), o.n), o.k)
        state.write_pad(at(o.out, r, o.so), index.astype("<u4").view(np.uint8))


def cycles(o: Operands, g: Geometry) -> int:
    """An element a cycle, then a result a cycle, and one between rows."""
    if not o.rows:
        return timing.VECTOR_START + 1
    return timing.VECTOR_START + timing.VECTOR_TOPK + o.rows * (o.n + o.k + 1) - 1


INSTRUCTION = Instruction(
    "vtopk", 0x74, "out = 32-bit indices of the k largest elements of each row, largest first; of equals the lower "
    "index; NaN above +∞, +0 above −0",
    UNARY, (Field("k", 0, 6, "how many", bias=1),), meaning, cycles,
    "An element passes the sorted list in a cycle; k = 1 is argmax. The indices are a table for `gather`, and "
    "`read` takes them one by one.",
)  # fmt: skip
