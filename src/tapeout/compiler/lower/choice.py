"""The token with the largest logit, of equals the lowest, as the host's sampler chooses at temperature 0.

Logits come piece by piece. Of each piece its largest and where it is are kept while the next piece is made; at the end
the largest of those wins. `vtopk` puts +0 above −0 where the sampler takes them as equal: a logit is never −0, because
accumulators start at +0 and a soft cap ends with a difference.

Numbers of tokens are added as if they were FP32: below 2^24 the sum of two such bit patterns is that of the numbers,
because adders keep subnormals.
"""

from __future__ import annotations

from collections.abc import Sequence

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.ir import Area, Mem
from tapeout.compiler.lower.context import Context, Floats
from tapeout.errors import InputError

APART = 8  # elements from one piece's result to the next: results begin at multiples of 32 bytes
MOST = 1 << 24
LARGEST = 1024  # logits of a piece: 4 KiB of the scratchpad for each sequence


def pieces(vocabulary: int, least: int) -> int:
    """Logits of a piece, a power of two times `least`. A piece takes the vector engine a cycle a logit and some 25
    more, which should keep up with the weights; after the last piece the pieces' results go by three times."""
    size = least
    while size * size < 8 * vocabulary and size < LARGEST:
        size *= 2
    return size


class Choice:
    """The choice among pieces that begin with the tokens `starts`, for each sequence of the entry. `add` each piece as
    it is there, then `store`."""

    def __init__(self, c: Context, starts: Sequence[int]) -> None:
        if c.model.vocabulary >= MOST:
            raise InputError(
                c.model.name, "vocab_size", c.model.vocabulary, f"below {MOST} for a choice on chip"
            )
        self.c, self.rows, count = c, c.step.sequences, len(starts)
        self.starts, self.added = starts, 0
        self.tables = c.numbers(range(0, APART * count, APART)), c.numbers(starts)
        self.half = 4 * APART * count  # bytes of a sequence's indices, and of its values behind them
        self.found = c.work("choice of pieces", 2 * self.half * self.rows)

    def add(self, logits: Floats) -> None:
        """The next piece, rows of logits."""
        b, at = self.c.builder, self.found + 4 * APART * self.added
        self.added += 1
        stride = 2 * self.half
        b.vector("vtopk", at, logits.at, logits.n, self.rows, logits.stride, stride, k=1)
        b.vector("vtake", at + self.half, logits.at, 1, self.rows, logits.stride, stride, at, stride)

    def store(self) -> None:
        """Choose, and write the tokens to region `chosen`."""
        c, b, rows, n = self.c, self.c.builder, self.rows, len(self.starts)
        assert n == self.added
        wide = round_up(4 * n, 32)
        apart, starts = self.tables
        packed = c.work("choice", 2 * wide * rows)
        b.vector("vtake", packed, self.found, n, 2 * rows, self.half, wide, apart, 0)
        last = packed + wide
        which = c.work("chosen piece", 32 * rows)
        b.vector("vtopk", which, last, n, rows, 2 * wide, 32, k=1)
        b.vector("vadd", packed, packed, n, rows, 2 * wide, 2 * wide, starts, 0)
        token = c.work("chosen token", 32 * rows)
        b.vector("vtake", token, packed, 1, rows, 2 * wide, 32, which, 32)
        b.store(token, Mem("chosen"), 4, rows, 32, 1, 0, 32, 32 * rows, Area("chosen"))
