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

from typing import NamedTuple

import numpy as np

from tapeout.chip.isa.geometry import BLOCK_BYTES, LEAST_TILES
from tapeout.estimate.chip_constants import (
    BANKS_TAKEN,
    CORE_SYNC_CYCLES,
    GROUPS_PART,
    INSTRUCTION_CYCLES,
    INTERLEAVE,
    LOAD_BLOCKS,
    MATRIX_PIPELINE_CYCLES,
    NOC_CYCLES_PER_HOP,
    RESULT_ALIGN,
    ROW_WAITS,
    WEIGHTS_PART,
)
from tapeout.estimate.chip_design import BLOCK, DesignArrays
from tapeout.workload.formats import bytes_of
from tapeout.workload.operators import Number

FILL_CYCLES = float(MATRIX_PIPELINE_CYCLES + INSTRUCTION_CYCLES)


def tiles_of(rows: Number) -> Number:
    """Accumulators of a unit and way in a bank, and so the most words of a command: `isa.geometry.tiles_of`."""
    return np.maximum(LEAST_TILES, 2.0 ** np.ceil(np.log2(rows)))


def most_words(d: DesignArrays, ways: Number, blocks: Number, block_bytes: float, part: float) -> Number:
    """Words of a command: no more than there are accumulators, nor than leave the load of `blocks` blocks of them its
    part of the scratchpad. A core alone has what the compiler gives it: all its accumulators."""
    load, most = blocks * d.columns * ways * block_bytes, tiles_of(d.rows)
    limited = np.minimum(most, np.maximum(np.floor(d.scratchpad_bytes / part / load), 1.0))
    return np.where(np.asarray(d.cores) > 1, limited, most)


class Split(NamedTuple):
    """How the cores share `products` products (row tiles counted each), in words of columns × ways outputs.

    `height`: rows of a command, `rows`: mean ones, `least`: cycles of a step of it at the least. `words`: of a product,
    `all_words` of all. `blocks`: cycles of a word, of which each of `shared` cores takes its part of the contraction.
    A core takes words in whole commands, the busiest `commands` of `command_words` each, none of more than `most`:
    fewer words than keep it busy while the rows load take as long.
    """

    products: Number
    row_tiles: Number
    height: Number
    rows: Number
    least: Number
    words: Number
    all_words: Number
    blocks: Number
    shared: Number
    commands: Number
    command_words: Number
    most: Number


def split(
    d: DesignArrays,
    rate: Number,
    ways: Number,
    m: Number,
    n: Number,
    k: Number,
    products: Number,
    block_bytes: float,
    together: bool = False,
) -> Split:
    """How products m × k by k × n are shared. Operands as those of `product_cycles`. `together`: a core's row tiles
    meet weights that are loaded once for all of them, along the whole contraction, because their sums have to leave
    the accumulators; otherwise weights come in parts of the contraction, for one row tile."""
    row_tiles = np.ceil(m / d.rows)
    height = np.minimum(m, d.rows)
    least = np.maximum(height, INTERLEAVE / np.maximum(np.floor(d.rows / m), 1.0))  # cycles of a step
    words = np.ceil(n / (d.columns * ways))
    blocks = np.ceil(k / BLOCK) / rate
    if together:
        most = most_words(d, ways, blocks, block_bytes, GROUPS_PART)
    else:
        most = most_words(d, ways, np.minimum(blocks, LOAD_BLOCKS), block_bytes, WEIGHTS_PART)
    # Results of a command end where those of the next one can begin.
    even = np.maximum(BLOCK_BYTES / (4 * d.columns * ways), 1.0)
    most = np.where(most < words, np.maximum(np.floor(most / even) * even, even), most)
    dealt = np.minimum(least, most)  # words that a core takes at least
    products = row_tiles * products
    # Cores that share the contraction: no more than leave each `least` words, nor than make the sums drain as
    # long as the steps take, nor than there are blocks.
    all_words = products * words
    drain = np.sqrt(blocks * (least / height) * d.cores / all_words)
    shared = np.minimum(d.cores / np.ceil(all_words / dealt), drain)
    shared = np.maximum(np.floor(np.minimum(shared, blocks)), 1.0)
    parts = np.maximum(np.floor(words / dealt), np.ceil(words / most))
    parts = np.where(all_words * shared <= d.cores, words, parts)  # there is a core for each word
    commands = np.ceil(products * parts * shared / d.cores * (1 - 1e-5))
    return Split(
        products,
        row_tiles,
        height,
        m / row_tiles,
        least,
        words,
        all_words,
        blocks,
        shared,
        commands,
        words / parts,
        most,
    )


def product_cycles(
    d: DesignArrays,
    rate: Number,
    ways: Number,
    m: Number,
    n: Number,
    k: Number,
    products: Number,
    block_bytes: float,
    port: Number | None = None,
) -> tuple[Number, Number]:
    """Cycles for `products` products m × k by k × n spread over all cores, and the row tiles of each.

    `rate`: blocks a unit takes per cycle for each of the `ways` outputs it works on at once. `block_bytes`:
    bytes of a block of weights in the scratchpad, which has to deliver them: each once per row tile. `port`: bytes a
    core's port brings in a cycle, if weights come through it.
    """
    p = split(d, rate, ways, m, n, k, products, block_bytes)
    cycles = _cycles(d, p, rate, ways, block_bytes)
    several = (p.row_tiles > 1) & (
        np.asarray(d.cores) > 1
    )  # a core alone has all row tiles meet what it loads
    if port is None or not np.any(several):
        return cycles, p.row_tiles
    # A core's row tiles one by one, weights loaded again for each, or all with weights that stay for them.
    brought = (
        p.commands * p.command_words * np.ceil(p.blocks / p.shared) * d.columns * ways * block_bytes / port
    )
    both = split(d, rate, ways, m, n, k, products, block_bytes, True)
    other = _cycles(d, both, rate, ways, block_bytes)
    return np.where(several, np.minimum(np.maximum(cycles, brought), other), cycles), p.row_tiles


def _cycles(d: DesignArrays, p: Split, rate: Number, ways: Number, block_bytes: float) -> Number:
    """Of the matrix engine of the busiest core."""
    # Rows load beside the beats, and wait for the banks that those take.
    fed = (
        d.columns * ways * rate + 1
    ) * block_bytes  # the scratchpad feeds every column each cycle, and a row
    word = d.scratchpad_bytes_per_cycle / d.scratchpad_banks
    asks = np.minimum(fed / word, 1.0)  # a word may hold what several cycles take
    beat = np.maximum(
        d.columns * ways * rate * block_bytes / d.scratchpad_bytes_per_cycle, 1 / d.scratchpad_banks
    )
    beat = np.minimum(beat * asks, 1.0) * np.minimum(p.most / p.least, 1.0)
    waits = 1 + ROW_WAITS * beat / (1 - beat / 2)
    least = np.where(p.height > 1, p.least * waits, p.least)
    # The accumulators hold so many words of a command: a longer row of outputs is several commands.
    whole = np.floor(p.words / p.most)
    left = p.words - whole * p.most
    step = whole * np.maximum(least, p.most) + np.maximum(left, least) * (left > 0)
    held = np.ceil(p.all_words * p.shared / d.cores)  # words of a core
    busy = np.maximum(np.ceil(p.products * step * p.shared / d.cores * (1 - 1e-5)), p.least)
    busy = np.maximum(busy, p.commands * np.maximum(p.command_words, p.least))
    stall = np.maximum(fed / d.scratchpad_bytes_per_cycle, 1.0)
    beats = busy * np.ceil(p.blocks / p.shared) * stall
    return np.maximum(beats, _drain(d, p, ways, held, beats, asks))


def _drain(d: DesignArrays, p: Split, ways: Number, held: Number, beats: Number, asks: Number) -> Number:
    """Cycles in which `held` words of sums leave: one a row and word, and those that writes wait. A row whose last word
    is in two lines of the scratchpad has a write more; each write may find its bank taken by operands, and nothing else
    leaves meanwhile. `asks`: of operands for a word, a cycle."""
    word = d.scratchpad_bytes_per_cycle / d.scratchpad_banks
    pitch = 4 * d.columns * ways
    line = np.maximum(word, pitch)
    sums = held * p.rows
    beyond = np.maximum(pitch - RESULT_ALIGN, 0) / line
    taken = np.minimum(beats / sums, 1.0) * asks * BANKS_TAKEN / d.scratchpad_banks
    rows = sums / np.minimum(p.command_words, p.most)
    return sums + rows * beyond + (sums * (pitch / line) + rows) * taken


def overhead_cycles(d: DesignArrays) -> Number:
    """Cycles from the last operand of a product to its result where the next one needs it, whatever its size:
    the pipeline, the sums of a split contraction, and one exchange across the mesh of cores."""
    across = NOC_CYCLES_PER_HOP * np.sqrt(d.cores)
    return FILL_CYCLES + d.rows + np.where(np.asarray(d.cores) > 1, across + CORE_SYNC_CYCLES, 0.0)


def block_bytes_of(format: str) -> float:
    """Bytes of one 32-element block in the scratchpad."""
    return BLOCK * bytes_of(format)
