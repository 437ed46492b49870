"""load: strided runs of memory into the scratchpad."""

from __future__ import annotations

from tapeout.chip.isa.definition import Instruction, Operands
from tapeout.chip.isa.state import State
from tapeout.chip.isa.transfer import RUNS, load_cycles, runs


def meaning(state: State, o: Operands) -> None:
    """Run (i1, i0), i0 fastest: `bytes` from memory + i1·s1 + i0·s0 to pad + (i1·n0 + i0)·pitch."""
    for memory, pad in runs(o):
        state.write_pad(pad, state.read_memory(memory, o.bytes))


INSTRUCTION = Instruction(
    "load", 0x20, "runs of `bytes`: memory + i1·s1 + i0·s0 → pad + (i1·n0 + i0)·pitch, i0 < n0, i1 < n1", RUNS, (),
    meaning, load_cycles,
    "Plain (n0 = n1 = 1), strided (rows of a matrix) and tiled (columns of blocks: s0 the row, s1 the block) "
    "copies. Memory addresses may be any byte; pad and pitch are multiples of 8.",
)  # fmt: skip
