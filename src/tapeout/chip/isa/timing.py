"""Constants of time that instructions share, in cycles. Those of the sequencer, load and store engines are what
their RTL does (tests hold them equal); those of the matrix engine are its block's own."""

from __future__ import annotations

from tapeout.chip.isa.geometry import round_up

# Sequencer: an instruction passes FETCH, DECODE, READ, ADD, EXECUTE and NEXT, one cycle each (`rtl.sequencer`).
SCALAR = 6
MULTIPLY = 6  # cycles more: 48 bits, 8 bits a cycle
PAD_ACCESS = 8  # cycles more of `read`: the scratchpad's answer; `write` goes on when the request is taken
DISPATCH = 8  # FETCH, DECODE, four cycles of two registers each, into the queue, NEXT
# Matrix engine beyond its block (`rtl.matrix_engine`): the first operands' way from the scratchpad.
MATRIX_FETCH = 8
MATRIX_RESULT = 13  # the block's FIRST_RESULT
MATRIX_LOOP = 4  # cycles of the FP32 addition (the block's LOOP)
VECTOR_FILL = 16  # from the first operand's request to its result in the scratchpad
LOAD_FILL = 10  # command to first request, and last answer to the last byte written
STORE_FILL = 14  # command to first request to the scratchpad, its answer, and the last write's response
INDEX = 10  # cycles of an index's way from the scratchpad to an address


def passes(n: int, lanes: int) -> int:
    """Cycles of n elements on so many lanes; an empty row takes one."""
    return max(round_up(n, lanes) // lanes, 1)
