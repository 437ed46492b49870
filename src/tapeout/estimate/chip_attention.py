"""Cycles of attention on one core, tile after tile of 128 positions, as `compiler.lower.attention` has it.

A tile's instructions wait for each other: scores, the steps of the softmax, then for each 32 channels of values the
probabilities times the values' scales, their conversion and a product. The values come from memory meanwhile, and when
the scores are made the next tile's keys. So a tile takes the sum of

| | |
|---|---|
| products | commands of up to `rows` queries: a step for each block, or as long as their sums drain |
| softmax | passes of the lanes over rows of positions, and sums and maxima of VECTOR_REDUCED elements a cycle |
| between instructions | the pipeline of each that waits for the one before, and the loop's own |

and of what is left of the values' load; or as long as both loads take, if that is more. The first tile also waits for
its keys: latency of memory, and words of the port. Where operands and results of the vector engine meet in the
scratchpad's banks its passes take longer. The constants below are fitted to the cycle simulator on random cores
(`benchmarks/estimate_vs_cycle.py`, seeds 11 and 12); all are near what the timing of the instructions says.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapeout.chip.isa.timing import VECTOR_LOOP
from tapeout.estimate.chip_constants import INTERLEAVE, VECTOR_REDUCED
from tapeout.estimate.chip_design import BLOCK, DesignArrays
from tapeout.workload.operators import Number

TILE = 128
HEADS = 8.0  # of keys, at most, that a core takes at once
# Queries of several tokens go so many rows at a time that what they need has this part of the scratchpad, within these
# bounds; keys and values are loaded again for each.
ROWS_PART, ROWS_MOST, FEW_ROWS = 0.37, 128, 64
# Cycles from an instruction of the softmax to one that needs its result, beside its passes; mean of all.
DEPENDENT = 9.0
GROUP = 76.0  # the same for the first 32 channels: scaling and conversion, which the matrix waits for
NEXT = 30.0  # for 32 more: the two instructions' own pipelines
HEAD = 10.0  # of a vector instruction behind another of the same group, one for each head of keys
PRODUCT_FILL = 42.0  # fetch, pipeline and first results of the scores, and of the last product of a tile
COMMAND = 17.0  # of a command of the matrix engine at least
DRAIN = 1.05  # cycles a row and tile of sums takes to leave: they meet other accesses in the banks
TRIP = 70.0  # of the loop over tiles: engines are waited for, and the sequencer gets to the first product
SOFTMAX = 5  # instructions over whole rows that wait for each other, beside the short ones
SHORT, SHORT_FIRST = 5, 1  # over an element of each row: running maximum, correction, sum; of the first tile


class Turns(NamedTuple):
    """How one core goes through its part of attention. `rows` of queries at once, of `heads` heads of keys each;
    `turns` times, over `context` positions each. `again`: how often the keys and values of a product go to a core;
    `read`: how often they are read from memory, cores with rows of the same product reading together."""

    rows: Number
    heads: Number
    turns: Number
    context: Number
    again: Number
    read: Number


def turns(d: DesignArrays, m: Number, n: Number, share: Number, k: Number, v: Number) -> Turns:
    """`share` products of m queries of k channels over n positions each with values of v, on one core."""
    # scores, these times the values' scales, two rows of codes; query; output, of a tile and of all
    row = 2 * 4 * TILE + 2 * (TILE + BLOCK) + k + 2 * 4 * v
    most = np.clip(np.floor(ROWS_PART * d.scratchpad_bytes / row / 8) * 8, 8.0, ROWS_MOST)
    few = m <= FEW_ROWS
    unit = np.minimum(
        np.minimum(TILE, 8 * d.columns), np.maximum(n, 1.0)
    )  # positions that a command of scores has
    # As many rows in each turn, and no more than leave a core that many positions.
    wanted = np.minimum(m / np.ceil(m / most), np.maximum(share * m * n / unit, 1.0))
    rows = np.where(few, m, np.minimum(np.ceil(wanted / 8) * 8, m))
    # as many heads in each turn: eleven are six and five, not eight and three
    heads = np.where(
        few, np.ceil(np.maximum(share, 1.0) / np.ceil(np.maximum(share, 1.0) / HEADS) - 1e-4), 1.0
    )
    count = np.where(few, share / heads, share * m / rows)
    again = np.where(few, 1.0, m / rows)
    # A part of a turn is one over a part of the positions, of no fewer than a command has: some cores then have none.
    # Whole turns come one after another.
    context = np.maximum(n * np.minimum(count, 1.0), unit)
    whole = np.maximum(np.ceil(count - 1e-4), 1.0)
    return Turns(rows, heads, whole, context, again, np.maximum(again * np.minimum(share, 1.0), 1.0))


def cycles(d: DesignArrays, t: Turns, k: Number, v: Number, words: Number, latency: Number) -> Number:
    """Of a core, for queries and keys of `k` channels and values of `v`. `words`: of the scratchpad or of the port,
    whichever is narrower, that memory sends it a cycle; `latency`: of memory, in cycles."""
    full = np.floor(t.context / TILE)
    rest = np.ceil((t.context - full * TILE) / BLOCK) * BLOCK
    whole = _tile(d, t, k, v, words, latency, float(TILE), t.context)
    part = _tile(d, t, k, v, words, latency, np.maximum(rest, BLOCK), t.context)
    first = np.where(full > 0, whole.first, part.first)
    return t.turns * (full * whole.cycles + (rest > 0) * part.cycles + first + PRODUCT_FILL)


class _Tile(NamedTuple):
    """`first`: what the first tile has more: its keys are on no one's way ahead, but there is nothing to correct."""

    cycles: Number
    first: Number


def _tile(
    d: DesignArrays,
    t: Turns,
    k: Number,
    v: Number,
    words: Number,
    latency: Number,
    n: Number,
    context: Number,
) -> _Tile:
    """Of a tile with n positions."""
    lanes, rows = d.vector_lanes, t.rows * t.heads
    word = np.minimum(d.scratchpad_bytes_per_cycle / d.scratchpad_banks, d.port_bytes)
    keys, values = np.ceil(k / BLOCK), np.ceil(v / BLOCK)
    unit = np.minimum(TILE, 8 * d.columns)  # positions whose scores one command makes
    panel = np.maximum(BLOCK, d.columns)
    # loads
    units = np.ceil(n / unit)
    load_keys = t.heads * keys * units * (np.ceil(unit * BLOCK / word) + np.ceil(unit / word)) / words
    load_scales = t.heads * values * np.ceil(n / word) / words
    # the channels of a position lie together: at least a word for each
    load_values = n * np.ceil(t.heads * values * BLOCK / word) / words
    # products
    height = np.minimum(t.rows, d.rows)
    groups = t.heads * np.ceil(t.rows / d.rows)
    step = unit / d.columns
    scores = np.maximum(keys * np.maximum(np.maximum(step, height), INTERLEAVE), DRAIN * height * step)
    # commands are made for every position of a tile that any row can see
    scores = groups * np.ceil(np.minimum(TILE, context) / unit) * np.maximum(scores, COMMAND)
    step = panel / d.columns
    weigh = np.maximum(n / BLOCK * np.maximum(np.maximum(step, height), INTERLEAVE), DRAIN * height * step)
    weigh = groups * np.maximum(weigh, COMMAND) * (values > 0)
    # softmax
    taken = np.minimum(np.maximum(4 * lanes * d.scratchpad_banks / d.scratchpad_bytes_per_cycle, 1.0)
                       / d.scratchpad_banks, 1.0)  # fmt: skip
    one, two, many = (
        1 + taken,
        1 + 2 * taken,
        1 + 0.3 * taken,
    )  # reads and writes that a pass has beside the first
    passes, out = np.ceil(n / lanes), np.ceil(v / lanes)
    width = np.minimum(lanes, VECTOR_REDUCED)
    # maxima and sums; of these, fewer rows than take turns leave adders idle
    greatest, total = rows * n / width, np.maximum(rows, VECTOR_LOOP * width / VECTOR_REDUCED) * n / width
    # what one token does not see is in the last block; of several, each sees its own part
    window = rows * np.where(t.rows > FEW_ROWS, passes * one, np.ceil(BLOCK / lanes))
    before = rows * passes * one * 3 + window + greatest + SHORT * np.ceil(rows / lanes)
    scale, quantise = rows * passes * two + HEAD * (t.heads - 1), rows * passes * many
    # the next channels' probabilities are scaled and converted beside the product of these
    further = np.maximum(values - 1, 0.0) * np.maximum(weigh, scale + quantise + NEXT)
    group = (scale + quantise + GROUP) * (values > 0)
    correct = 2 * rows * out * two
    between = DEPENDENT * (SOFTMAX + SHORT)
    after = before + group + between  # the scores, until the values are used
    late = np.maximum(latency + load_values - scores - after, 0.0) * (values > 0)
    softmax = after + further + total + late
    chain = scores + softmax + correct + weigh + 2 * PRODUCT_FILL + 3 * DEPENDENT + TRIP
    nothing = (SHORT - SHORT_FIRST) * (np.ceil(rows / lanes) + DEPENDENT) + correct + 3 * DEPENDENT
    # the next tile's keys, behind these values and when these scores are made
    loads = np.maximum(load_values, scores) + latency + load_keys + load_scales + TRIP
    whole = np.maximum(chain, loads)
    first = latency + load_keys + np.maximum(chain - nothing, loads) - whole
    return _Tile(whole, first)
