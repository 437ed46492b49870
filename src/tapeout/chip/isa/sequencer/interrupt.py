"""interrupt: tell the host."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Field, Instruction, Operands
from tapeout.chip.isa.state import State

CODE = Field("code", 0, 16, "what the host reads")


def meaning(state: State, o: Operands) -> None:
    """Raise the interrupt with this code and go on."""
    state.interrupts.append(o.code)


INSTRUCTION = Instruction(
    "interrupt", 0x13, "raise the host interrupt with `code` and go on", (), (CODE,), meaning,
    lambda o, g: timing.SCALAR,
    "The sequencer waits while the host has not acknowledged the one before, so that no code is lost. What the "
    "host should find in memory must have been stored: wait for the store's semaphore here.",
)  # fmt: skip
