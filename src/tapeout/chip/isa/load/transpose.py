"""transpose: tiles of 32 × 32 bytes, turned on their way into the scratchpad."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import NONE, REGISTER_MASK, Cause, Instruction, Operands, Slot
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry
from tapeout.chip.isa.state import State, need

TILE = BLOCK_BYTES


def meaning(state: State, o: Operands) -> None:
    """Byte (r, c) of tile i, at memory + i·s1 + r·s0 + c, goes to pad + i·pitch + 32·c + r."""
    need(Cause.ALIGNMENT, o.pad % TILE == 0 and o.pitch % TILE == 0, f"pad {o.pad:#x}, pitch {o.pitch:#x}")
    for i in range(o.n0):
        rows = [
            state.read_memory((o.memory + i * o.s1 + r * o.s0) & REGISTER_MASK, TILE) for r in range(TILE)
        ]
        state.write_pad(
            (o.pad + i * o.pitch) & REGISTER_MASK, np.ascontiguousarray(np.stack(rows).T).reshape(-1)
        )


def cycles(o: Operands, g: Geometry) -> int:
    """A tile fills in 32 cycles while the one before it leaves."""
    return timing.LOAD_FILL + TILE * (o.n0 + 1)


INSTRUCTION = Instruction(
    "transpose", 0x22, "tiles of 32 × 32 bytes: memory + i·s1 + r·s0 + c → pad + i·pitch + 32·c + r, i < n0",
    (
        Slot("pad", "scratchpad address"), Slot("memory", "memory address"), NONE, Slot("n0", "tiles"),
        Slot("s0", "memory bytes between rows of a tile"), NONE, Slot("s1", "memory bytes between tiles"),
        Slot("pitch", "scratchpad bytes between tiles"),
    ),
    (), meaning, cycles,
    "Cached values lie by position and are contracted over positions: 32 positions × 32 channels of MXINT8 codes "
    "become 32 weight blocks, one per channel. No engine in RTL has it yet: there it traps as an unknown opcode.",
)  # fmt: skip
