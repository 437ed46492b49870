"""Where the data of random programs lie, in the scratchpad and in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.definition import REGISTERS
from tapeout.chip.isa.geometry import Geometry
from tapeout.errors import InputError

Range = tuple[int, int]

REGISTER_BYTES = 8 * REGISTERS
TABLE_MOST = 64  # indices in tables are below
MEMORY = 1 << 20
FLOATS, CODES, SCALES, TABLES = (0, 0x10000), (0x10000, 0x20000), (0x20000, 0x28000), (0x28000, 0x29000)
WORK = (0x30000, 0x50000)  # stored to, and loaded again
RESULTS, CODE = 0x80000, 0x60000
LEAST_PAD = 16384
MOST_PAD = 1 << 16  # of it is used


@dataclass(frozen=True)
class Layout:
    """Parts of the scratchpad: registers at the end, indices, FP32 values, codes of blocks and their scales."""

    registers: Range
    tables: Range
    floats: Range
    codes: Range
    scales: Range

    @staticmethod
    def of(g: Geometry) -> Layout:
        """Raises InputError for a scratchpad that is too small."""
        if g.pad_bytes < LEAST_PAD:
            raise InputError(
                "random programs",
                "core.scratchpad.kibibytes",
                g.pad_bytes // 1024,
                f"at least {LEAST_PAD >> 10}",
            )
        used = min(g.pad_bytes, MOST_PAD)
        tables = REGISTER_BYTES + used // 16
        floats = used // 2
        codes = used - used // 8
        unit = max(g.word_bytes, 256)
        cuts = [0, REGISTER_BYTES, *(x // unit * unit for x in (tables, floats, codes)), used]
        return Layout(*((cuts[i], cuts[i + 1]) for i in range(5)))

    @property
    def used(self) -> int:
        """Bytes of the scratchpad that a program may touch."""
        return self.scales[1]


SPECIAL = np.array(
    [0, 1, 2, 0x7FFFFF, 0x800000, 0x800001, 0x3F800000, 0x3F7FFFFF, 0x3F800001, 0x7F7FFFFF, 0x7F7FFFFE, 0x7F800000,
     0x7FC00000, 0x7F800001, 0x4B000000, 0x4B7FFFFF, 0x34000000, 0x33800000, 0x00FFFFFF, 0x01000000],
    np.uint32,
)  # fmt: skip


def memory(seed: int) -> NDArray[np.uint8]:
    """Memory before a program: FP32 of all kinds, most of moderate exponents so that sums are finite; any codes;
    mostly moderate scales; small indices; anything elsewhere."""
    rng = np.random.default_rng(seed)
    data = rng.integers(0, 256, MEMORY, dtype=np.uint8)
    n = (FLOATS[1] - FLOATS[0]) // 4
    any_ = data[FLOATS[0] : FLOATS[1]].view(np.uint32)
    special = rng.random(n) < 0.05
    any_[special] = rng.choice(np.concatenate([SPECIAL, SPECIAL | np.uint32(1 << 31)]), int(special.sum()))
    tame = (any_ & np.uint32(0x807FFFFF)) | (rng.integers(110, 140, n) << 23).astype(np.uint32)
    block = np.repeat(rng.random(n // 32) < 0.7, 32)
    any_[block] = tame[block]
    scales = data[SCALES[0] : SCALES[1]]
    moderate = rng.random(len(scales)) >= 0.002
    scales[moderate] = rng.integers(110, 145, len(scales))[moderate]
    tables = data[TABLES[0] : TABLES[1]].view(np.uint32)
    tables[:] = rng.integers(0, TABLE_MOST, len(tables))
    return data
