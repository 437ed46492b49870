"""write: a register into the scratchpad."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import NONE, REGISTER_MASK, Cause, Instruction, Operands, Slot
from tapeout.chip.isa.forms import IMMEDIATE
from tapeout.chip.isa.geometry import GRANULE
from tapeout.chip.isa.state import State, need


def meaning(state: State, o: Operands) -> None:
    """The granule at b + imm = a, zero-extended to 64 bits."""
    address = (o.b + o.imm) & REGISTER_MASK
    need(Cause.ALIGNMENT, address % GRANULE == 0, f"write of {address:#x}")
    state.write_pad(address, np.array([o.a], "<u8").view(np.uint8))


INSTRUCTION = Instruction(
    "write", 0x0F, "the eight bytes at b + imm of the scratchpad = a, zero-extended, little-endian",
    (NONE, Slot("a", "value"), Slot("b", "address")),
    (IMMEDIATE,), meaning, lambda o, g: timing.SCALAR + timing.PAD_WRITE,
    "The next instruction starts when the scratchpad has taken the request; a later `read` sees it. An engine "
    "sees it after a semaphore.",
)  # fmt: skip
