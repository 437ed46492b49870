"""Cycles of our matrix engines on one operator: tiles, partial tiles, split contractions, fill and drain.

As in `tapeout.chip.rtl.matrix_engine`: the contraction is walked in steps of one 32-element block. A step
loads a block into each row, one row per cycle, and streams the weights that meet it, one word per column and
cycle (a block for each of two outputs with double-rate MXFP4; a quarter of a block of BF16). A core that
works on t words (columns × ways outputs each; at most `tiles`, its accumulators) for h rows spends max(t, h)
cycles a step, and at least LOOP unless free rows hold further blocks of the contraction; then h × t cycles to
drain its sums, while the next product runs. So the cores share a product by outputs only as
long as each keeps about as many words as rows, and by contraction beyond that, as far as
draining the partial sums takes no longer.
"""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa.geometry import LEAST_TILES
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


def tiles_of(rows: Number) -> Number:
    """Accumulators of a unit and way in a bank, and so the most words of a command: `isa.geometry.tiles_of`."""
    return np.maximum(LEAST_TILES, 2.0 ** np.ceil(np.log2(rows)))


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
    height = np.minimum(m, d.rows)
    least = np.maximum(height, INTERLEAVE / np.maximum(np.floor(d.rows / m), 1.0))  # cycles of a step
    words = np.ceil(n / (d.columns * ways))
    # The accumulators hold so many words of a command: a longer row of outputs is several commands.
    most = tiles_of(d.rows)
    commands = np.floor(words / most)
    left = words - commands * most
    # Rows load beside the beats, and wait for the banks that those take.
    beat = np.maximum(
        d.columns * ways * rate * block_bytes / d.scratchpad_bytes_per_cycle, 1 / d.scratchpad_banks
    )
    word = d.scratchpad_bytes_per_cycle / d.scratchpad_banks  # holds the codes of several steps
    beat = np.minimum(beat, 1.0) * (height > 1) * np.minimum(2 * BLOCK / word, 1.0)
    step = commands * np.maximum(least + beat * most, most)
    step = step + np.maximum(left, least + beat * left) * (left > 0)
    dealt = np.minimum(least, most)  # words that a core takes at least
    products = row_tiles * products
    blocks = np.ceil(k / BLOCK) / rate
    # Cores that share the contraction: no more than leave each `least` words, nor than make the sums drain as
    # long as the steps take, nor than there are blocks.
    all_words = products * words
    drain = np.sqrt(blocks * (least / height) * d.cores / all_words)
    shared = np.minimum(d.cores / np.ceil(all_words / dealt), drain)
    shared = np.maximum(np.floor(np.minimum(shared, blocks)), 1.0)
    held = np.ceil(all_words * shared / d.cores)  # words of a core
    busy = np.maximum(np.ceil(products * step * shared / d.cores * (1 - 1e-5)), least)
    # A core takes words in whole commands: fewer than keep it busy while the rows load take as long.
    parts = np.maximum(np.floor(words / dealt), np.ceil(words / most))
    whole = np.ceil(products * parts * shared / d.cores * (1 - 1e-5))
    busy = np.maximum(busy, whole * np.maximum(words / parts, least))
    # The scratchpad feeds every column each cycle, and a row.
    fed = (d.columns * ways * rate + 1) * block_bytes
    stall = np.maximum(fed / d.scratchpad_bytes_per_cycle, 1.0)
    return np.maximum(busy * np.ceil(blocks / shared) * stall, held * height), row_tiles


def overhead_cycles(d: DesignArrays) -> Number:
    """Cycles from the last operand of a product to its result where the next one needs it, whatever its size:
    the pipeline, the sums of a split contraction, and one exchange across the mesh of cores."""
    across = NOC_CYCLES_PER_HOP * np.sqrt(d.cores)
    return FILL_CYCLES + d.rows + np.where(np.asarray(d.cores) > 1, across + CORE_SYNC_CYCLES, 0.0)


def block_bytes_of(format: str) -> float:
    """Bytes of one 32-element block in the scratchpad."""
    return BLOCK * bytes_of(format)
