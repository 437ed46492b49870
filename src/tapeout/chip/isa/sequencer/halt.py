"""halt: the end of a program."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Instruction, Operands
from tapeout.chip.isa.sequencer.interrupt import CODE
from tapeout.chip.isa.state import State


def meaning(state: State, o: Operands) -> None:
    """Stop; the status says done, with this code."""
    state.halted = o.code


INSTRUCTION = Instruction(
    "halt", 0x14, "when every engine is idle: stop, and raise the host interrupt with `code`", (), (CODE,), meaning,
    lambda o, g: timing.SCALAR,
    "It waits for every engine's queue to empty, so that all that was dispatched is in memory when the host looks.",
)  # fmt: skip
