"""branch: go on elsewhere if a comparison holds."""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import NONE, PC_BITS, REGISTER_MASK, Field, Instruction, Operands, Slot
from tapeout.chip.isa.state import State, signed


def meaning(state: State, o: Operands) -> None:
    """pc = target if a compares so with b + imm."""
    b = (o.b + o.imm) & REGISTER_MASK
    holds = (o.a == b, o.a != b, signed(o.a) < signed(b), signed(o.a) >= signed(b))[getattr(o, "if")]
    if holds:
        state.pc = o.target


INSTRUCTION = Instruction(
    "branch", 0x10, "go on at `target` if a compares so with b + imm, as signed integers",
    (NONE, Slot("a", "first operand"), Slot("b", "second operand")),
    (
        Field("target", 0, PC_BITS, "instruction to go to", kind="target"),
        Field("if", 24, 2, "comparison", ("equal", "unequal", "less", "at_least")),
        Field("imm", 26, 22, "added to b", kind="signed"),
    ),
    meaning, lambda o, g: timing.SCALAR + timing.REDIRECT,
    "A branch may go anywhere in the innermost loop's body, and to its end, which ends this trip; out of the "
    "body it traps (cause LOOP), because the loop would be left on the stack.",
)  # fmt: skip
