"""matmul: a product of block-scaled activations and weights, into accumulators, and out as FP32.

Layout in the scratchpad (`outputs`, `beat` and `pitch` as in `Geometry`):

- Row r of the activations: MXINT8 codes from a + r·sa, one byte each, and a scale for every block of 32 from
  ascale + r·sa: one stride, since codes and scales of a row lie side by side.
- The contraction is walked in `steps`. Rows are in groups of `height`; group g takes block s·groups + g in
  step s (`numerics.product.Split`, interleaved), each group with its own sums. With height = rows there is one
  group and nothing is split.
- Weights are read as they lie: beat (s·groups + g)·tiles + t has, for each column, the block of its output (two
  outputs' blocks with two ways: output way·columns + column of the tile), and their scales lie in the
  same order at wscale.
- Row r's sums of tile t go to out + r·so + t·pitch, FP32.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Cause, Field, Instruction, Operands, Slot
from tapeout.chip.isa.forms import aligned, at
from tapeout.chip.isa.geometry import Geometry, power_of_two
from tapeout.chip.isa.state import State, need
from tapeout.numerics.formats import BLOCK, FORMATS, MXINT8, Mx
from tapeout.numerics.product import accumulate

NAMES = ("mxfp4", "mxint8")
STEPS = 1 << 16  # at most, of a command


def groups_of(o: Operands) -> int:
    """Parts of the contraction that are in the rows at a time."""
    return -(-o.rows // o.height)


def weights(state: State, o: Operands, group: int) -> Mx:
    """One group's weights as [tiles × outputs, steps × 32]."""
    g, name = state.geometry, NAMES[o.format]
    beats, ways = o.steps * groups_of(o) * o.tiles, g.outputs(name) // g.columns
    shape = (o.steps, groups_of(o), o.tiles)
    codes = state.read_pad(o.w, beats * g.beat_bytes(name)).reshape(*shape, -1)[:, group]
    scales = state.read_pad(o.wscale, beats * g.scale_bytes(name)).reshape(*shape, -1)[:, group]
    per = FORMATS[name].bits * BLOCK // 8
    codes = codes[..., : g.columns * ways * per].reshape(o.steps, o.tiles, g.columns, ways, per)
    scales = scales[..., : g.columns * ways].reshape(o.steps, o.tiles, g.columns, ways)
    # [step, tile, column, way] → [tile, way, column, step]
    n = o.tiles * ways * g.columns
    rows = np.ascontiguousarray(codes.transpose(1, 3, 2, 0, 4)).reshape(n, o.steps * per)
    return Mx(
        FORMATS[name],
        rows.view(np.int8) if name == "mxint8" else rows,
        np.ascontiguousarray(scales.transpose(1, 3, 2, 0)).reshape(n, o.steps),
    )


def activations(state: State, o: Operands, row: int) -> Mx:
    """A row's blocks for its group: [1, steps × 32]."""
    n, first = groups_of(o), row // o.height
    codes = state.read_pad(at(o.a, row, o.sa), o.steps * n * BLOCK).reshape(-1, BLOCK)[first::n]
    scales = state.read_pad(at(o.ascale, row, o.sa), o.steps * n)[first::n]
    return Mx(MXINT8, np.ascontiguousarray(codes).view(np.int8).reshape(1, -1), scales.reshape(1, -1).copy())


def meaning(state: State, o: Operands) -> None:
    """Every group's rows against its weights, by `numerics.product.accumulate`."""
    g, name = state.geometry, NAMES[o.format]
    need(Cause.OPERAND, name in g.formats, f"{name} on an engine of {', '.join(g.formats)}")
    need(Cause.OPERAND, o.rows <= g.rows and o.height <= o.rows, f"{o.height} of {o.rows} rows on {g.rows}")
    need(Cause.OPERAND, o.tiles <= g.tiles and 0 < o.steps <= STEPS, f"{o.tiles} tiles, {o.steps} steps")
    aligned(o, "a", "ascale", "sa", "wscale", "out", "so")
    for at_, value, unit in (("w", o.w, g.beat_bytes(name)), ("wscale", o.wscale, g.scale_bytes(name))):
        need(Cause.ALIGNMENT, value % unit == 0, f"{at_} {value:#x}, not a multiple of {unit}")
    outputs = g.outputs(name)
    for group in range(groups_of(o)):
        w = weights(state, o, group)
        for row in range(group * o.height, min((group + 1) * o.height, o.rows)):
            held = state.accumulators[o.bank, row, : o.tiles * outputs]
            start = held[None] if o.keep else None
            held[:] = accumulate(activations(state, o, row), w, range(o.steps), start)[0]
    if o.drain:
        for row in range(o.rows):
            sums = state.accumulators[o.bank, row]
            for t in range(o.tiles):
                state.write_floats(
                    at(o.out, row, o.so) + t * g.pitch(name), sums[t * outputs : (t + 1) * outputs]
                )


def cycles(o: Operands, g: Geometry) -> int:
    """The way of the first operands, one row after the other; the beats; then the sums, a row and tile a cycle. With
    operands in the queue the next command's beats follow at once, and these sums drain meanwhile: see `beats`."""
    drain = timing.MATRIX_RESULT - 1 + o.rows * o.tiles + split_ends(o, g) if o.drain else 0
    return read(o) + drain


def period(o: Operands) -> int:
    """Cycles from step to step: a beat a cycle, but no less than its rows take to load or a sum to be added."""
    return max(groups_of(o) * o.tiles, o.rows, timing.MATRIX_LOOP)


def beats(o: Operands) -> int:
    """Cycles from the first beat to the earliest of the next command, if that has as many rows, does not
    continue these sums, and its bank is not being drained. A bank drains until `drained`."""
    return (o.steps - 1) * period(o) + max(groups_of(o) * o.tiles, o.rows)


def read(o: Operands) -> int:
    """Cycles from the start until the operands have been read."""
    return timing.MATRIX_FETCH + o.rows + (o.steps - 1) * period(o) + groups_of(o) * o.tiles


def drained(o: Operands) -> int:
    """Cycles from the last beat until the bank can take beats again."""
    return timing.MATRIX_RESULT - 1 + o.rows * o.tiles if o.drain else 0


def split_ends(o: Operands, g: Geometry) -> int:
    """Rows whose last tile does not fit into its line of the scratchpad (a word, unless tiles are wider): a cycle
    more for each."""
    line = max(g.word_bytes, power_of_two(max(g.pitch(n) for n in g.formats)))
    pitch = g.pitch(NAMES[o.format])
    ends = (at(o.out, r, o.so) + (o.tiles - 1) * pitch for r in range(o.rows))
    return sum(e % line + pitch > line for e in ends)


def pad_accesses(o: Operands, g: Geometry) -> dict[str, int]:
    """Accesses of the scratchpad by port, over the whole command: lines of weights and of their scales, words of rows'
    codes and of their scales, lines of results."""
    name, word, n = NAMES[o.format], g.word_bytes, groups_of(o)
    total = o.steps * n * o.tiles

    def lines(base: int, size: int, line: int) -> int:
        return (base + size - 1) // line - base // line + 1

    def words(base: int, size: int) -> int:
        found = 0
        for r in range(o.rows):
            first = at(base, r, o.sa) + size * (r // o.height)
            places = [(first + size * n * s) // word for s in range(o.steps)]
            found += 1 + sum(a != b for a, b in pairwise(places))
        return found

    line = max(word, max(g.beat_bytes(x) for x in g.formats))
    scale_line = max(word, max(g.scale_bytes(x) for x in g.formats))
    result_line = max(word, power_of_two(max(g.pitch(x) for x in g.formats)))
    row = o.tiles * g.pitch(name)
    return {
        "weights": lines(o.w, total * g.beat_bytes(name), line),
        "scales": lines(o.wscale, total * g.scale_bytes(name), scale_line),
        "codes": words(o.a, BLOCK), "row_scales": words(o.ascale, 1),
        "results": sum(lines(at(o.out, r, o.so), row, result_line) for r in range(o.rows)) if o.drain else 0,
    }  # fmt: skip


INSTRUCTION = Instruction(
    "matmul", 0x40, "sums[bank] (+)= a × wᵀ over `steps` steps; then, if `drain`, out = sums[bank]",
    (
        Slot("a", "activations' codes"), Slot("ascale", "their scales"), Slot("sa", "bytes between rows of both"),
        Slot("w", "weights' codes"), Slot("wscale", "their scales"), Slot("out", "results"),
        Slot("so", "bytes between rows of results"), Slot("steps", "of the contraction, 1 to 65536"),
    ),
    (
        Field("rows", 0, 10, "rows of activations", bias=1),
        Field("height", 10, 10, "rows of a group; as many as rows: the contraction is not split", bias=1),
        Field("tiles", 20, 10, "tiles of outputs; the engine has rows, at least 8, as a power of two", bias=1),
        Field("bank", 30, 1, "of accumulators"),
        Field("keep", 31, 1, "add to what the bank holds, of the same rows, tiles and format, not to +0"),
        Field("drain", 32, 1, "write the results"),
        Field("format", 33, 1, "of the weights", NAMES),
    ),
    meaning, cycles,
    "Blocks of an output are added in increasing order, each rounded once to FP32 (`numerics.product`). A product "
    "larger than the scratchpad continues with `keep`. Two banks: one drains while the other accumulates. A command's "
    "operands are read while the one before still writes its results: what reads those waits for its token. Zeros "
    "beyond the end of the contraction change no bit, so its last step may be padded.",
)  # fmt: skip
