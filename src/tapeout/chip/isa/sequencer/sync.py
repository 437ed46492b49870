"""sync: nothing but waiting and signalling."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Instruction, Operands
from tapeout.chip.isa.state import State


def meaning(state: State, o: Operands) -> None:
    """Nothing: every instruction waits before and signals after."""


INSTRUCTION = Instruction(
    "sync", 0x12, "wait for and give tokens; nothing else", (), (), meaning, lambda o, g: timing.SCALAR,
    "Like every instruction of the sequencer it holds up those behind it, so waiting here makes what an engine "
    "wrote visible to `read`, and signalling here starts engines.",
)  # fmt: skip
