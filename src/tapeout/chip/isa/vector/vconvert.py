"""vconvert: between FP32 and the other types that memory holds."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Field, Instruction, Operands
from tapeout.chip.isa.forms import UNARY, aligned, at, vector_cycles
from tapeout.chip.isa.state import State
from tapeout.numerics import fp32
from tapeout.numerics.formats import scale_value

BF16_TO_F32, F32_TO_BF16, E8M0_TO_F32 = range(3)


def meaning(state: State, o: Operands) -> None:
    """By `numerics`: fp32.bf16_to_f32, fp32.f32_to_bf16, formats.scale_value."""
    aligned(o, "a", "out", "sa", "so")
    for r in range(o.rows):
        source, target = at(o.a, r, o.sa), at(o.out, r, o.so)
        if o.kind == BF16_TO_F32:
            state.write_floats(target, fp32.bf16_to_f32(state.read_pad(source, 2 * o.n).copy().view("<u2")))
        elif o.kind == F32_TO_BF16:
            state.write_pad(target, fp32.f32_to_bf16(state.read_floats(source, o.n)).view(np.uint8))
        else:
            state.write_floats(target, scale_value(state.read_pad(source, o.n).copy()))


INSTRUCTION = Instruction(
    "vconvert", 0x72, "out = a in another type: BF16 to FP32, FP32 to BF16 (nearest even), E8M0 scale to FP32",
    UNARY, (Field("kind", 0, 2, "from and to", ("bf16_f32", "f32_bf16", "e8m0_f32")),), meaning,
    vector_cycles(timing.VECTOR_QUICK),
    "Elements are packed: two bytes of BF16, one of E8M0. Scales as FP32 are what attention's values need.",
)  # fmt: skip
