"""transpose: tiles of 32 rows, turned on their way into the scratchpad."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import REGISTER_MASK, Cause, Instruction, Operands, Slot
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry
from tapeout.chip.isa.state import State, need
from tapeout.chip.isa.transfer import total_pieces

TILE = BLOCK_BYTES  # rows of a tile, and columns of a group: a group becomes 32 blocks of 32 bytes


def meaning(state: State, o: Operands) -> None:
    """Byte c of row r of tile i, at memory + i·s1 + r·s0 + c, goes to pad + i·pitch + (c // 32)·split +
    32·(c % 32) + r."""
    need(
        Cause.OPCODE,
        state.geometry.word_bytes >= TILE,
        "transpose with scratchpad words of less than 32 bytes",
    )
    if not o.n0 or not o.bytes:
        return
    word = state.geometry.word_bytes
    need(Cause.ALIGNMENT, o.bytes % TILE == 0, f"rows of {o.bytes} bytes")
    for name in ("pad", "pitch", "split"):
        value = getattr(o, name)
        need(Cause.ALIGNMENT, value % word == 0, f"{name} {value:#x}, not a multiple of {word}")
    for i in range(o.n0):
        rows = np.stack(
            [
                state.read_memory((o.memory + i * o.s1 + r * o.s0) & REGISTER_MASK, o.bytes)
                for r in range(TILE)
            ]
        )
        for group in range(o.bytes // TILE):
            turned = np.ascontiguousarray(rows[:, group * TILE : (group + 1) * TILE].T)
            state.write_pad((o.pad + i * o.pitch + group * o.split) & REGISTER_MASK, turned.reshape(-1))


def cycles(o: Operands, g: Geometry) -> int:
    """A panel as wide as a word of the scratchpad fills, a piece of a row per cycle, while the one before leaves, a
    word per cycle; the last leaves alone."""
    if not o.n0 or not o.bytes:
        return timing.LOAD_EMPTY
    filling = 0
    for left in range(0, o.bytes, g.word_bytes):
        width = min(g.word_bytes, o.bytes - left)
        for i in range(o.n0):
            start = o.memory + i * o.s1 + left
            filling += total_pieces(start, 0, width, TILE, o.s0, g.word_bytes, g)
    return timing.LOAD_FILL + filling + TILE * width // g.word_bytes


INSTRUCTION = Instruction(
    "transpose", 0x22,
    "tiles of 32 rows: memory + i·s1 + r·s0 + c → pad + i·pitch + (c // 32)·split + 32·(c % 32) + r, i < n0, c < bytes",
    (
        Slot("pad", "scratchpad address"), Slot("memory", "memory address"),
        Slot("bytes", "of a row, a multiple of 32"), Slot("n0", "tiles"),
        Slot("s0", "memory bytes between rows of a tile"), Slot("split", "scratchpad bytes between groups of columns"),
        Slot("s1", "memory bytes between tiles"), Slot("pitch", "scratchpad bytes between tiles"),
    ),
    (), meaning, cycles,
    "Cached values lie by position and are contracted over positions: 32 positions × `bytes` channels of MXINT8 codes "
    "become one weight block per channel. Rows as wide as a word of the memory port use all of it: heads whose "
    "channels follow one another in memory go together, and `split` says where the weights of each group of 32 "
    "channels start. pad, pitch and split are multiples of a word of the scratchpad; memory may be any byte.",
)  # fmt: skip
