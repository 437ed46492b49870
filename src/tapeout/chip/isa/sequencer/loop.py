"""loop: repeat what follows."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import LOOP_DEPTH, NONE, PC_BITS, Field, Instruction, Operands, Slot
from tapeout.chip.isa.state import State


def meaning(state: State, o: Operands) -> None:
    """Instructions from the next one up to `end` are executed `count` times; 0 times skips them."""
    state.enter_loop(state.pc, o.end, o.count)


INSTRUCTION = Instruction(
    "loop", 0x11, "execute the instructions from the next one up to (not including) `end` `count` times; 0 skips them",
    (NONE, Slot("count", "trips, read once")),
    (Field("end", 0, PC_BITS, "first instruction after the body", kind="target"),),
    meaning, lambda o, g: timing.SCALAR + timing.REDIRECT,
    f"Loops nest {LOOP_DEPTH} deep and may end together. Closing a loop for good takes the sequencer a cycle, "
    "going round takes none.",
)  # fmt: skip
