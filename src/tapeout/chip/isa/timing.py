"""Constants of time that instructions share, in cycles. Those of the sequencer, load and store engines are what
their RTL does (tests hold them equal). MATRIX_RESULT and MATRIX_LOOP are the matrix engine's own; MATRIX_FETCH and
VECTOR_FILL are what the paths around those engines are designed to take."""

from __future__ import annotations

from tapeout.chip.isa.geometry import round_up

# Sequencer: an instruction passes FETCH, DECODE, READ, ADD, EXECUTE and NEXT, one cycle each (`rtl.sequencer`).
SCALAR = 6
MULTIPLY = 6  # cycles more: 48 bits, 8 bits a cycle
PAD_ACCESS = 5  # cycles more of `read`: the scratchpad's answer; `write` goes on when the request is taken
DISPATCH = 8  # FETCH, DECODE, four cycles of two registers each, into the queue, NEXT
# Load and store engines, from the queue to the tokens; the latency of memory comes on top.
LOAD_FILL = 6
STORE_FILL = 11
LOAD_EMPTY, STORE_EMPTY = 8, 9  # of an instruction that moves nothing
GATHER_INDEX = 11  # per run: its index from the scratchpad, times the element size
SCATTER_INDEX = 16  # the same, and the words of the run before from the scratchpad
# Matrix engine beyond its block (`rtl.matrix_engine`): the first operands' way from the scratchpad.
MATRIX_FETCH = 8
MATRIX_RESULT = 13  # the block's FIRST_RESULT
MATRIX_LOOP = 4  # cycles of the FP32 addition (the block's LOOP)
VECTOR_FILL = 16  # from the first operand's request to its result in the scratchpad


def passes(n: int, lanes: int) -> int:
    """Cycles of n elements on so many lanes; an empty row takes one."""
    return max(round_up(n, lanes) // lanes, 1)
