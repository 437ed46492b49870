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
VECTOR_TOTAL = 25  # and a cycle for each beat of sums when the partials are halved
VECTOR_GREATEST = 8  # and a cycle for each level of comparisons
VECTOR_REDUCED = 32  # elements that a reduction takes a cycle, at most: as many as a sum has partials
VECTOR_LOOP = 4  # cycles from a partial sum to the next element's
VECTOR_QUANTISE = 10  # and a cycle for each beat of a block
VECTOR_TOPK, VECTOR_TAKE = 7, 13


def reduced(lanes: int) -> int:
    """Elements that an engine of so many lanes reduces a cycle."""
    return min(lanes, VECTOR_REDUCED)


def halving(width: int) -> int:
    """Beats in which `width` adders halve the partials of a sum until one is left."""
    half, beats = VECTOR_REDUCED // 2, 0
    while half:
        beats, half = beats + max(half // width, 1), half // 2
    return beats


def together(width: int) -> int:
    """Rows that are summed in turn so that beats of `width` elements keep the adders busy."""
    return max(VECTOR_LOOP * width // VECTOR_REDUCED, 1)


def rows_apart(width: int) -> int:
    """Cycles from the end of a row that is summed to that of the next, at least."""
    return max(VECTOR_REDUCED // 2 // width, 1)


def sums_room(width: int) -> int:
    """Sums that may be under way: the halving, the first addition and the registers around it."""
    levels = (VECTOR_REDUCED // 2).bit_length()
    cycles = halving(width) + levels * (VECTOR_LOOP - 1) + VECTOR_LOOP + 3
    return -(-cycles // rows_apart(width)) + 1


def sums(rows: int, n: int, width: int) -> int:
    """Cycles in which `rows` sums of n elements are taken, `width` a cycle: with few adders row after row, as closely
    as the halving of partials follows; with more, several rows in turn (`rtl.reducer`)."""
    beats, places = passes(n, width), together(width)
    if places == 1:
        return beats + (rows - 1) * max(beats, rows_apart(width))
    last = (rows - 1) % places + 1  # rows of the last turns
    pieces = VECTOR_REDUCED // width
    if last * pieces >= VECTOR_LOOP:
        return rows * beats
    whole, part = divmod(beats - 1, pieces)
    return (rows - last) * beats + whole * VECTOR_LOOP + (part + 1) * last


def passes(n: int, lanes: int) -> int:
    """Cycles of n elements on so many lanes; an empty row takes one."""
    return max(round_up(n, lanes) // lanes, 1)
