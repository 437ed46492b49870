"""Constants of time that instructions share, in cycles. Those of the sequencer, load and store engines are what
their RTL does (tests hold them equal). MATRIX_RESULT and MATRIX_LOOP are the matrix engine's own; MATRIX_FETCH is
what the path around it takes."""

from __future__ import annotations

from tapeout.chip.isa.geometry import round_up

# Sequencer (`rtl.sequencer`): an instruction's registers are read in the last cycle of the one before.
SCALAR = 2
MULTIPLY = 8  # cycles more: 48 bits, 8 bits a cycle, one to add the last product, one to its register
PAD_ACCESS = 7  # cycles more of `read`: the scratchpad's answer
PAD_WRITE = 2  # more of `write`: it goes on when the request has been taken
REDIRECT = 3  # more of `branch` and `loop`, taken or not: what follows is fetched after them
DISPATCH = 2  # into the queue
# Load and store engines, from the queue to the tokens; the latency of memory comes on top.
LOAD_FILL = 6
STORE_FILL = 11
LOAD_EMPTY, STORE_EMPTY = 8, 9  # of an instruction that moves nothing
GATHER_INDEX = 11  # per run: its index from the scratchpad, times the element size
SCATTER_INDEX = 16  # the same, and the words of the run before from the scratchpad
# Matrix engine: from the queue to the first beat, less the rows that load before it (`rtl.matrix`); from the last
# beat to the first result (`rtl.matrix_engine`).
MATRIX_FETCH = 16
MATRIX_RESULT = 13  # the block's FIRST_RESULT
MATRIX_LOOP = 4  # cycles of the FP32 addition (the block's LOOP)
# Vector engine (`rtl.vector_engine`): VECTOR_START from the queue to the first operand's request, which a command that
# waits for the one before has behind it; the others from that request to the token, less a cycle per pass.
VECTOR_START = 2
VECTOR_LEAST = 2  # of any command behind another: the register for the next has to be free first
VECTOR_READ = 4  # of it, the wait for the first answer
VECTOR_QUICK = 8  # neither adder, multiplier nor functions
VECTOR_ADD = 11
VECTOR_MUL = 12
VECTOR_CHAIN = 16  # vrope
VECTOR_FUNCTION = 25
VECTOR_TOTAL, VECTOR_GREATEST = 31, 11
VECTOR_TOTAL_ROWS = 2  # cycles between the ends of rows
VECTOR_REDUCED = 8  # elements that a reduction takes a cycle
VECTOR_QUANTISE = 14
VECTOR_TOPK, VECTOR_TAKE = 7, 13


def passes(n: int, lanes: int) -> int:
    """Cycles of n elements on so many lanes; an empty row takes one."""
    return max(round_up(n, lanes) // lanes, 1)
