"""read: a register from the scratchpad."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import NONE, REGISTER_MASK, Cause, Instruction, Operands, Slot
from tapeout.chip.isa.forms import IMMEDIATE
from tapeout.chip.isa.state import State, need


def meaning(state: State, o: Operands) -> None:
    """rd = the 32-bit word at b + imm, zero-extended."""
    address = (o.b + o.imm) & REGISTER_MASK
    need(Cause.ALIGNMENT, address % 4 == 0, f"read of {address:#x}")
    state.set_register(o.rd, int(state.read_pad(address, 4).view(np.uint32)[0]))


INSTRUCTION = Instruction(
    "read", 0x0E, "rd = the 32-bit little-endian word at b + imm of the scratchpad, zero-extended",
    (Slot("rd", "result", writes=True), NONE, Slot("b", "address")),
    (IMMEDIATE,), meaning, lambda o, g: timing.SCALAR + timing.PAD_ACCESS,
    "How what the engines found out (a chosen expert, a token) becomes an address or a trip count.",
)  # fmt: skip
