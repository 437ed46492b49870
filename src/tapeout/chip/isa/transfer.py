"""What loads and stores share: runs of bytes between memory and scratchpad, and how they are cut into pieces.

An engine moves *pieces*: the largest parts of a run that cross no word of the memory port and no word of the
scratchpad; one piece a cycle. Where both sides are aligned alike a piece is a whole word and the port runs
at its full rate; where they are not, at half of it.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import NONE, REGISTER_MASK, Operands, Slot
from tapeout.chip.isa.geometry import Geometry

RUNS = (
    Slot("pad", "scratchpad address"),
    Slot("memory", "memory address"),
    Slot("bytes", "of a run"),
    Slot("n0", "runs of the inner dimension"),
    Slot("s0", "memory bytes between them"),
    Slot("n1", "runs of the outer dimension"),
    Slot("s1", "memory bytes between them"),
    Slot("pitch", "scratchpad bytes between runs"),
)
INDEXED = (
    Slot("pad", "scratchpad address"),
    Slot("memory", "memory address of element 0"),
    Slot("bytes", "of a run"),
    Slot("n0", "entries of the table"),
    Slot("s0", "memory bytes of an element"),
    Slot("table", "scratchpad address of 32-bit indices"),
    NONE,
    Slot("pitch", "scratchpad bytes between runs"),
)


def runs(o: Operands) -> Iterator[tuple[int, int]]:
    """(memory, pad) addresses of each run, in order."""
    for i1 in range(o.n1):
        for i0 in range(o.n0):
            memory = (o.memory + i1 * o.s1 + i0 * o.s0) & REGISTER_MASK
            yield memory, (o.pad + (i1 * o.n0 + i0) * o.pitch) & REGISTER_MASK


def pieces(memory: int, pad: int, n: int, g: Geometry) -> int:
    """Pieces of a run of n bytes: one more than the boundaries of the port's and the scratchpad's words within it."""
    fine, coarse = (memory, g.port_bytes), (pad, g.word_bytes)
    if fine[1] > coarse[1]:
        fine, coarse = coarse, fine
    # sizes are powers of two: where a boundary of the coarse ones is one of the fine, so are all of them
    within = _boundaries(*fine, n)
    if (coarse[0] - fine[0]) % fine[1]:
        within += _boundaries(*coarse, n)
    return within + (n > 0)


def _boundaries(start: int, size: int, n: int) -> int:
    """Multiples of `size` strictly between start and start + n."""
    return max((start + n - 1) // size - start // size, 0)


def total_pieces(memory: int, pad: int, n: int, count: int, stride: int, pitch: int, g: Geometry) -> int:
    """Pieces of `count` runs. Their number depends on the two alignments alone, which repeat."""
    if not count or not n:
        return 0
    i = np.arange(count)
    starts = np.stack([(memory + i * stride) % g.port_bytes, (pad + i * pitch) % g.word_bytes])
    kinds, number = np.unique(starts, axis=1, return_counts=True)
    return sum(pieces(int(m), int(p), n, g) * int(c) for m, p, c in zip(*kinds, number, strict=True))


def run_cycles(o: Operands, g: Geometry) -> int:
    """Cycles of the pieces of `load` and `store`, one each."""
    return sum(
        total_pieces(o.memory + i1 * o.s1, o.pad + i1 * o.n0 * o.pitch, o.bytes, o.n0, o.s0, o.pitch, g)
        for i1 in range(o.n1)
    )


def load_cycles(o: Operands, g: Geometry) -> int:
    """`run_cycles` and the engine's own; the latency of memory comes on top."""
    moved = run_cycles(o, g)
    return timing.LOAD_FILL + moved if moved else timing.LOAD_EMPTY


def store_cycles(o: Operands, g: Geometry) -> int:
    """`run_cycles` and the engine's own; the latency of memory comes on top."""
    moved = run_cycles(o, g)
    return timing.STORE_FILL + moved if moved else timing.STORE_EMPTY
