"""Cycles of our matrix engines on one operator: tiles, partial tiles, split contractions, fill and drain.

An engine of rows × columns units holds activations in its rows while weights stream through its
columns: in a cycle each column takes one 32-element block of weights (of MXFP4 one for each of two outputs
at double rate; of BF16 a quarter of one), and every unit of the column multiplies it with the block its row
holds. A tile is `rows` tokens × `columns` outputs (or twice as many). An accumulator takes a block every
INTERLEAVE cycles, so a core works on at least that many tiles in turn, or idles. With fewer tokens than
rows the rows split the contraction; with fewer tiles than keep the cores busy the cores do.
"""

from __future__ import annotations

import numpy as np

from tapeout.estimate.chip_constants import (
    CORE_SYNC_CYCLES,
    INSTRUCTION_CYCLES,
    INTERLEAVE,
    MATRIX_PIPELINE_CYCLES,
    NOC_CYCLES_PER_HOP,
)
from tapeout.estimate.chip_design import BLOCK, DesignArrays
from tapeout.workload.formats import bytes_of
from tapeout.workload.operators import Number

FILL_CYCLES = float(MATRIX_PIPELINE_CYCLES + INSTRUCTION_CYCLES)


def product_cycles(
    d: DesignArrays,
    rate: Number,
    ways: Number,
    m: Number,
    n: Number,
    k: Number,
    products: Number,
    block_bytes: float,
) -> tuple[Number, Number]:
    """Cycles for `products` products m × k by k × n spread over all cores, and the row tiles of each.

    `rate`: blocks a unit takes per cycle for each of the `ways` outputs it works on at once. `block_bytes`:
    bytes of a block of weights in the scratchpad, which has to deliver them: each once per row tile.
    """
    row_tiles = np.ceil(m / d.rows)
    tiles = row_tiles * (np.ceil(n / (d.columns * ways)) * products)
    split = np.maximum(np.floor(d.rows / m), 1.0)  # of the contraction over the rows
    groups = np.ceil(tiles / INTERLEAVE)
    cores = np.maximum(np.floor(d.cores / groups), 1.0)  # … and over cores
    blocks = np.ceil(k / BLOCK)
    # Splitting finer than blocks leaves the rest idle, as does a last round with fewer tiles than cores.
    steps = np.ceil(blocks / (split * np.minimum(cores, blocks) * rate))
    rounds = np.maximum(np.ceil(tiles / d.cores), INTERLEAVE)
    # The scratchpad feeds every column each cycle, a different block for each part of a split contraction.
    fed = d.columns * ways * np.minimum(split, blocks) * rate * block_bytes
    stall = np.maximum(fed / d.scratchpad_bytes_per_cycle, 1.0)
    return rounds * steps * stall, row_tiles


def overhead_cycles(d: DesignArrays) -> Number:
    """Cycles from the last operand of a product to its result where the next one needs it, whatever its size:
    the pipeline, the sums of a split contraction, and one exchange across the mesh of cores."""
    across = NOC_CYCLES_PER_HOP * np.sqrt(d.cores)
    return FILL_CYCLES + d.rows + np.where(np.asarray(d.cores) > 1, across + CORE_SYNC_CYCLES, 0.0)


def block_bytes_of(format: str) -> float:
    """Bytes of one 32-element block in the scratchpad."""
    return BLOCK * bytes_of(format)
