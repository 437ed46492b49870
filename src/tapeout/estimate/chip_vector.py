"""Cycles of vector instructions: passes of the lanes over rows, and how their streams meet in the scratchpad's banks.

An access of the vector engine takes the banks of a pass (or a word, if that is more), so the scratchpad has `slots`
places for one, and a word holds a pass or more. The compiler places buffers so that streams meet little
(`compiler.banks`); what is left of it, by the streams an instruction has, is fitted to the cycle simulator
(`benchmarks/estimate_vs_cycle.py`, norms of seed 101). In cycles of a pass:

| | one slot | two | four | eight |
|---|---|---|---|---|
| a row and itself to another (`square`): two reads of one address | 3 | 1.6 | 1.2 to 2 | 1.1 to 2 |
| a row to another (`one`) | 2 | 1 | 1 | 1 |
| two rows to one of them (`two`) | 5 | 1.5 | 1.1 to 1.4 | 1 to 1.2 |
| conversion (`quantise`): a write for a block, one for eight scales | 2 | 1.2 to 1.9 | 1 to 1.9 | 1 to 1.9 |
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.geometry import BLOCK_BYTES
from tapeout.estimate.chip_constants import VECTOR_REDUCED
from tapeout.estimate.chip_design import DesignArrays
from tapeout.workload.operators import Number

# A norm's instructions beside their passes, each waiting for the one before: square, sum, mean, epsilon, root and the
# product with it; then, with the weights there, that with them and the conversion.
NORM_EARLY = float(
    6 * timing.VECTOR_START
    + 3 * timing.VECTOR_MUL
    + timing.VECTOR_TOTAL
    + timing.VECTOR_ADD
    + timing.VECTOR_FUNCTION
)
NORM_LATE = float(2 * timing.VECTOR_START + timing.VECTOR_MUL + timing.VECTOR_QUANTISE + 1)
NORM_SHORT = 4.0  # cycles of another row: three instructions over an element of each, which share words
SUM_ONE_SLOT = 1.13  # cycles of a beat of a sum where the scratchpad has one place for a pass
AGAIN = 1.2  # passes that a pass over two accesses takes more
QUANTISE_LANES = 146.0  # as many lanes as make a conversion's writes take as long again as its reads


class Passes(NamedTuple):
    """Cycles of a pass by kind of instruction, on one core."""

    square: Number
    one: Number
    two: Number
    quantise: Number


def _places(d: DesignArrays) -> tuple[Number, Number]:
    """Bytes of an access of the vector engine, and how many of them the scratchpad has places for in a cycle."""
    word = d.scratchpad_bytes_per_cycle / d.scratchpad_banks
    width = np.maximum(np.maximum(4 * d.vector_lanes, word), BLOCK_BYTES)
    return width, np.maximum(d.scratchpad_bytes_per_cycle / width, 1.0)


def passes(d: DesignArrays) -> Passes:
    """Of one core of `d`."""
    lanes = d.vector_lanes
    width, slots = _places(d)
    apart = 4 * lanes / width  # 1: a pass has a place of its own
    square = np.maximum(np.minimum(2 - apart + 1.7 / (slots * np.sqrt(slots)), 2.0), 3 / slots)
    one = np.maximum(2 / slots, 1.0)
    two = 1 + 4 / (slots * slots * slots) + (1 - apart) * 1.6 / slots
    quantise = np.maximum(1 + lanes / QUANTISE_LANES, 2 / slots)
    quantise = np.where(slots == 2, quantise + 0.2, quantise)
    return Passes(square, one, two, quantise)


def summed(d: DesignArrays, rows: Number, n: Number) -> Number:
    """Cycles of `rows` sums of n elements on one core: beats of as many elements as are reduced at once, each row's a
    few cycles apart, so that rows take turns and few of them leave adders idle (`isa.timing.sums`)."""
    width = np.minimum(d.vector_lanes, VECTOR_REDUCED)
    apart = np.maximum(timing.VECTOR_LOOP * width / VECTOR_REDUCED, 1.0)
    one = np.ones((), np.asarray(width).dtype)
    beat = np.where(_places(d)[1] == 1, SUM_ONE_SLOT * one, one)
    return np.maximum(rows, apart) * n / width * beat


def crossed(lanes: Number, rows: Number, n: Number) -> Number:
    """How much longer passes over `rows` rows of `n` elements take because some rows do not begin where a pass does, so
    that each of their passes is two accesses."""
    start = np.fmod(n, lanes)
    one = np.ones((), np.asarray(lanes).dtype)
    half, more = one * (1 + 0.5 * AGAIN), one * (1 + 0.75 * AGAIN)
    longer = np.where(np.fmod(2 * start, lanes) == 0, half, more)
    return np.where((start == 0) | (rows <= 1), one, longer)
