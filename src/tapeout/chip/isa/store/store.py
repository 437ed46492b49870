"""store: strided runs of the scratchpad into memory."""

from __future__ import annotations

from tapeout.chip.isa.definition import Instruction, Operands
from tapeout.chip.isa.state import State
from tapeout.chip.isa.transfer import RUNS, runs, store_cycles


def meaning(state: State, o: Operands) -> None:
    """Run (i1, i0), i0 fastest: `bytes` from pad + (i1·n0 + i0)·pitch to memory + i1·s1 + i0·s0."""
    for memory, pad in runs(o):
        state.write_memory(memory, state.read_pad(pad, o.bytes).copy())


INSTRUCTION = Instruction(
    "store", 0x80, "runs of `bytes`: pad + (i1·n0 + i0)·pitch → memory + i1·s1 + i0·s0, i0 < n0, i1 < n1", RUNS, (),
    meaning, store_cycles,
    "Any bytes on both sides: a new token's scales go one by one to their places in the cache (bytes = 1).",
)  # fmt: skip
