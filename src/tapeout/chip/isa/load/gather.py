"""gather: runs of memory chosen by a table of indices."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import REGISTER_MASK, Cause, Instruction, Operands
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.state import State, need
from tapeout.chip.isa.transfer import INDEXED, pieces


def meaning(state: State, o: Operands) -> None:
    """Run i: `bytes` from memory + table[i]·s0 to pad + i·pitch."""
    need(Cause.ALIGNMENT, o.table % 4 == 0, f"table {o.table:#x}")
    for i in range(o.n0):
        index = int(state.read_pad((o.table + 4 * i) & REGISTER_MASK, 4).copy().view(np.uint32)[0])
        data = state.read_memory((o.memory + index * o.s0) & REGISTER_MASK, o.bytes)
        state.write_pad((o.pad + i * o.pitch) & REGISTER_MASK, data)


def cycles(o: Operands, g: Geometry) -> int:
    """Each run asks the scratchpad for its index first; here with memory's elements at word boundaries."""
    if not o.n0 or not o.bytes:
        return timing.LOAD_EMPTY
    return (
        timing.LOAD_FILL
        - 1
        + sum(timing.GATHER_INDEX + pieces(0, o.pad + i * o.pitch, o.bytes, g) for i in range(o.n0))
    )


INSTRUCTION = Instruction(
    "gather", 0x21, "runs of `bytes`: memory + table[i]·s0 → pad + i·pitch, i < n0", INDEXED, (), meaning, cycles,
    "Embeddings by token, pages of a cache by page table, weights by expert. Indices are unsigned 32-bit integers.",
)  # fmt: skip
