"""Top-k: the k largest of a row and where they were, by insertion into a sorted list.

An element is compared with all k kept ones at once and takes its place, one element per cycle. Order is that of
`numerics.vector.top_k`: totalOrder with NaN above +∞ and +0 above −0; of equals the earlier wins.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out
from numpy.typing import NDArray

from tapeout.chip.rtl.block import Block, register
from tapeout.chip.rtl.fp32_add import CANONICAL_NAN
from tapeout.numerics import fp32, vector

INDEX_BITS = 16


class TopK(Block):
    """`x`: {word, last (of the row)} → `y`: {index, word, last}, `count` transfers per row, largest first.

    `count` less one is static from a row's first element to its last result, at most `most` - 1. A row shorter
    than that gives as many results as it has elements. Elements of the next row wait until the results are out.
    """

    def __init__(self, most: int, index_bits: int = INDEX_BITS) -> None:
        """`index_bits`: of a position in a row; longer rows wrap."""
        self.most, self.index_bits = most, index_bits
        super().__init__(
            {
                "count": In(range(max(most, 2))),
                "x": In(stream.Signature(data.StructLayout({"word": 32, "last": 1}))),
                "y": Out(stream.Signature(data.StructLayout({"index": index_bits, "word": 32, "last": 1}))),
            }
        )

    @property
    def module_name(self) -> str:
        return f"topk_{self.most}_{self.index_bits}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        keys = [Signal(32, name=f"key{i}", reset_less=True) for i in range(self.most)]
        words = [Signal(32 + self.index_bits, name=f"word{i}", reset_less=True) for i in range(self.most)]
        held = Signal(self.most)
        index = Signal(self.index_bits)
        draining, pending, last1 = Signal(), Signal(), Signal()
        fire = Signal()
        x = self.x.payload
        m.d.comb += [self.x.ready.eq(~draining & ~(pending & last1)), fire.eq(self.x.valid & self.x.ready)]

        # 1: a key that orders as unsigned integers do
        nan = x.word[23:31].all() & x.word[:23].any()
        word = Mux(nan, CANONICAL_NAN, x.word)
        key = register(m, Mux(word[31], ~word, Cat(word[:31], Const(1, 1))), "key")
        kept = register(m, Cat(x.word, index), "kept")
        m.d.sync += [pending.eq(fire), last1.eq(fire & x.last)]
        with m.If(fire):
            m.d.sync += index.eq(Mux(x.last, 0, index + 1))

        # 2: insert before the first that is smaller; a later equal goes behind
        before: Value = Const(0, 1)
        with m.If(pending):
            for i in range(self.most):
                here = Signal(name=f"here{i}")
                m.d.comb += here.eq(~held[i] | (key > keys[i]))
                with m.If(here):
                    m.d.sync += held[i].eq(held[i - 1] if i else 1)
                    if i:
                        m.d.sync += [
                            keys[i].eq(Mux(before, keys[i - 1], key)),
                            words[i].eq(Mux(before, words[i - 1], kept)),
                            held[i].eq(Mux(before, held[i - 1], 1)),
                        ]
                    else:
                        m.d.sync += [keys[0].eq(key), words[0].eq(kept)]
                before = here
            with m.If(last1):
                m.d.sync += draining.eq(1)

        # results leave from the front
        sent = Signal(range(max(self.most, 2)))
        end = (sent == self.count) | (~held[1] if self.most > 1 else Const(1, 1))
        m.d.comb += [
            self.y.valid.eq(draining),
            self.y.payload.word.eq(words[0][:32]),
            self.y.payload.index.eq(words[0][32:]),
            self.y.payload.last.eq(end),
        ]
        with m.If(draining & self.y.ready):
            m.d.sync += sent.eq(Mux(end, 0, sent + 1))
            for i in range(self.most - 1):
                m.d.sync += [words[i].eq(words[i + 1]), held[i].eq(held[i + 1])]
            with m.If(end):
                m.d.sync += [draining.eq(0), held.eq(0)]
        return m


def twin(row: NDArray[np.uint32], k: int) -> NDArray[np.int32]:
    """Indices of the k largest of bit patterns [n]; n of them if n < k."""
    return vector.top_k(fp32.from_bits(row), min(k, len(row)))
