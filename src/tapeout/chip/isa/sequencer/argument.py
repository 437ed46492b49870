"""argument: a register from the host."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Field, Instruction, Operands, Slot
from tapeout.chip.isa.state import State


def meaning(state: State, o: Operands) -> None:
    """rd = argument register `index`, as it was when the doorbell rang."""
    state.set_register(o.rd, state.arguments[o.index])


INSTRUCTION = Instruction(
    "argument", 0x0D, "rd = the host's argument register `index`, as it was when the doorbell rang",
    (Slot("rd", "result", writes=True),),
    (Field("index", 0, 3, "which argument register"),),
    meaning, lambda o, g: timing.SCALAR,
)  # fmt: skip
