"""Of a prompt, what is wide is made piece by piece: a scratchpad holds the activations of more tokens, so weights
are read less often, and the vector engine works on one piece while the matrix engine makes the next.

A piece is what some whole commands of a product make. Every element is computed as it would be in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tapeout.chip.isa.geometry import round_up
from tapeout.chip.isa.layout import row_bytes
from tapeout.compiler.ir import Area, Mem, Ref
from tapeout.compiler.lower.context import Context, Floats, Rows, each, quantise
from tapeout.compiler.lower.norm import normed, weight_of
from tapeout.compiler.lower.product import product, room
from tapeout.compiler.memory import Matrix
from tapeout.model.architecture import Tensor
from tapeout.numerics.formats import BLOCK

PART = 32  # a piece's FP32 takes at most this part of the scratchpad
NORM = 32  # a block of rows being normalised


def in_pieces(c: Context) -> bool:
    """Whether this entry's activations are wide enough for it to matter."""
    return c.step.tokens > 1


def pieces(c: Context, m: Matrix, rows: int, unit: int = 1) -> Iterator[Matrix]:
    """The matrix as matrices of whole commands; `unit`: outputs that must not be parted."""
    most = max(c.g.pad_bytes // PART // (4 * rows), 1)
    first = 0
    for last, command in enumerate(m.commands, 1):
        start, stop = m.commands[first][0].first, command[-1].first + command[-1].outputs
        following = m.commands[last][0].outputs if last < len(m.commands) else most
        if last == len(m.commands) or (stop % unit == 0 and stop - start + following > most):
            yield Matrix(m.base, stop - start, m.k, m.format, m.commands[first:last], m.bytes)
            first = last


def first_of(m: Matrix) -> int:
    """The first output of a piece."""
    return m.commands[0][0].first


class Alternating:
    """Room for FP32 rows of pieces in turn, so that one is made while the one before is worked on. A buffer of its own
    for each would do, but `allocate` would give it the bytes that have just been left."""

    def __init__(self, c: Context, name: str, rows: int, parts: Sequence[Matrix]) -> None:
        n = max(room(c, p.n) for p in parts)
        self.places = [c.floats(name, rows, n) for _ in parts[:2]]
        self.turn = 0

    def next(self, n: int) -> Floats:
        """Rows of `n` elements."""
        at = self.places[self.turn % len(self.places)]
        self.turn += 1
        return Floats(at.at, n, at.stride)


def made(c: Context, x: Rows, rows: int, piece: Matrix, y: Floats) -> Floats:
    """The outputs of a piece, to FP32 rows `y`."""
    shifted = Floats(Ref(y.at.buffer, y.at.offset - 4 * first_of(piece)), y.n, y.stride)
    product(c, x, rows, piece, shifted)
    return y


def added(c: Context, x: Rows, rows: int, m: Matrix, bias: Ref | None, to: Floats) -> None:
    """to += x·weightsᵀ + bias."""
    parts = list(pieces(c, m, rows))
    places = Alternating(c, "piece", rows, parts)
    for piece in parts:
        y, first = made(c, x, rows, piece, places.next(piece.n)), first_of(piece)
        if bias is not None:
            each(c, "vadd", y, y, rows, bias + 4 * first)
        part = to.part(first, piece.n)
        each(c, "vadd", part, part, rows, y)


def normalised(c: Context, x: Floats, rows: int, weight: Tensor | None) -> Rows:
    """Codes of RMSNorm(x): block by block of rows, so that the FP32 between takes little."""
    scale = weight_of(c, weight, x.n)
    size = max(min(rows, c.g.pad_bytes // NORM // (4 * x.n)), 1) if in_pieces(c) else rows
    codes = c.rows("normalised codes", rows, x.n)
    for first in range(0, rows, size):
        here = min(size, rows - first)
        y, q = normed(c, x.row(first), here, scale), codes.row(first)
        c.builder.vector("vquantise", q.at, y.at, y.n, here, y.stride, q.stride, q.scales, q.stride, format=1)
    return codes


class Assembled:
    """Quantised rows of `k` elements, made piece by piece. Scales of a row's pieces are bytes side by side, which only
    load and store engines write: pieces go to memory and come back as rows, while products with weights go on."""

    def __init__(self, c: Context, name: str, rows: int, k: int) -> None:
        self.c, self.count, self.k = c, rows, k
        self.at: Mem = c.memory.once(
            ("assembled", row_bytes(k), rows), lambda: c.memory.room("spill", rows * row_bytes(k))
        )
        self.area = Area(name)
        self.name = name

    def put(self, x: Floats, start: int) -> None:
        """Elements from `start`, a multiple of 32, on of all rows."""
        c, rows, stride = self.c, self.count, row_bytes(self.k)
        q = quantise(c, x, rows, self.name)
        size = round_up(x.n, BLOCK)
        extent = (rows - 1) * q.stride
        c.builder.store(q.at, self.at + start, size, rows, stride, 1, 0, q.stride, extent + size, self.area)
        scales = self.at + round_up(self.k, BLOCK) + start // BLOCK
        c.builder.store(
            q.scales, scales, size // BLOCK, rows, stride, 1, 0, q.stride, extent + size // BLOCK, self.area
        )

    def rows(self) -> Rows:
        """All of them."""
        c = self.c
        found = c.rows(self.name, self.count, self.k)
        size = self.count * found.stride
        c.builder.load(found.at, self.at, size, extent=size, area=self.area)
        return found


__all__ = ["Alternating", "Assembled", "added", "first_of", "in_pieces", "made", "normalised", "pieces"]
