"""The vector engine's operands: answers of the scratchpad brought to the lanes' places, pass by pass.

Descriptions of steps (`vector_fetch`) wait here for their answers. What a step completes goes to the pipeline
that the instruction uses: the lanes, the reducers (a beat), the quantiser (elements beyond the row's
end are zero), or, one element a cycle, top-k and `vtake`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa import timing
from tapeout.chip.rtl import reducer
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.chip.rtl.vector_command import CONTROL, Kind, Second, Size
from tapeout.chip.rtl.vector_fetch import block_bytes, description
from tapeout.chip.rtl.vector_lane import OP_BITS, VectorOp
from tapeout.numerics.formats import BLOCK

STEPS = 8  # descriptions: a read's latency, and the queue of descriptions itself


def elements_layout(pad_bytes: int) -> data.StructLayout:
    """One element: `word`; `base`: the row's address and whether it is beyond the scratchpad; `last` of its row."""
    return data.StructLayout({"word": 32, "base": (pad_bytes - 1).bit_length() + 1, "last": 1})


class VectorOperands(Block):
    """`step` and the answers of both read ports → `lanes` (as `VectorUnit.x`), `reduce` (as `Reducer.x`), `quantise`
    (`words` of a beat), `element`; which of them, `control` says."""

    def __init__(self, lanes: int, pad_bytes: int, word_bytes: int) -> None:
        self.width, self.pad_bytes, self.word_bytes = lanes, pad_bytes, word_bytes
        self.port_bytes = block_bytes(lanes, word_bytes)
        self.reduced, self.row = timing.reduced(lanes), reducer.row_field(lanes)
        self.layout = description(lanes, pad_bytes, self.port_bytes)
        self.queue = HeadFifo(self.layout.size, STEPS)
        wide, beat = 32 * lanes, self.reduced
        super().__init__(
            {
                "control": In(CONTROL),
                "step": In(stream.Signature(self.layout)),
                "first": In(stream.Signature(8 * self.port_bytes)),
                "second": In(stream.Signature(8 * self.port_bytes)),
                "lanes": Out(
                    stream.Signature(data.StructLayout({"op": OP_BITS, "pair": 1, "a": wide, "b": wide, "c": wide}))
                ),
                "reduce": Out(
                    stream.Signature(
                        data.StructLayout({"words": 32 * beat, "keep": beat, **self.row, "last": 1})
                    )
                ),
                "quantise": Out(stream.Signature(wide)),
                "element": Out(stream.Signature(elements_layout(pad_bytes))),
            }
        )  # fmt: skip

    @property
    def module_name(self) -> str:
        return f"vector_operands_{self.width}_{self.pad_bytes}_{self.word_bytes}"

    def placed(self) -> Iterable[Block]:
        return (self.queue,)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        x = self.control
        lanes = self.width
        wide = 32 * lanes
        queue = place(m, "queue", self.queue)
        d = Signal(self.layout)
        m.d.comb += [
            queue.i.valid.eq(self.step.valid),
            queue.i.payload.eq(self.step.payload),
            self.step.ready.eq(queue.i.ready),
            d.eq(queue.o.payload),
        ]
        port = (self.port_bytes - 1).bit_length()
        a, a_words = self._placed(m, 0, self.first.payload, d.a[:port], d, (lanes // 2).bit_length() - 1)
        b, b_words = self._placed(m, 1, self.second.payload, d.b, d, 2)
        whole_words = [a_words[32 * i : 32 * i + 32] for i in range(lanes)]
        scale_bytes = max(1, lanes // BLOCK)
        scale: Value = self._byte(b[:32], d.b[:2]) if scale_bytes == 1 else b[: 8 * scale_bytes]
        if scale_bytes == 2:
            scale = Mux(d.b[1], b[16:32], b[:16])

        # operands of the lanes
        kept = {n: Signal(wide, name=n, reset_less=True) for n in ("a0", "b0", "a1", "b1")}
        row = Signal(32, reset_less=True)
        consume = Signal()
        one = Mux(d.first, b[:32], row)
        word, first_of, second_of, third_of = [], [], [], []
        rotates = x.rope & ~d.tail
        for i in range(lanes):
            at = slice(32 * i, 32 * i + 32)
            ai = Signal(32, name=f"word{i}")
            with m.Switch(x.size):
                for size, bits in ((Size.FP4, 4), (Size.BYTE, 8), (Size.BF16, 16)):
                    with m.Case(size):
                        m.d.comb += ai.eq(a[bits * i : bits * i + bits])
                with m.Default():
                    m.d.comb += ai.eq(whole_words[i])
            bi = Signal(32, name=f"second{i}")
            byte = i // BLOCK * 8
            seen = (d.low <= i) & (d.high > i)
            with m.Switch(x.second):
                with m.Case(Second.VECTOR):
                    half = slice(32 * (i // 2), 32 * (i // 2) + 32)
                    m.d.comb += bi.eq(Mux(d.tail, 1, Mux(x.interleaved, b[half], b[at])))
                with m.Case(Second.ROW):
                    m.d.comb += bi.eq(one)
                with m.Case(Second.SCALES):
                    m.d.comb += bi.eq(scale[byte : byte + 8])
                with m.Default():
                    m.d.comb += bi.eq(Mux(x.window, seen, x.constant))
            word.append(ai)
            third_of.append(Mux(x.select, ai, x.constant))
            # what the steps of vrope and vselect take from those before
            other = slice(32 * (i ^ 1), 32 * (i ^ 1) + 32)
            ax = Signal(32, name=f"a{i}_to_lane")
            bx = Signal(32, name=f"b{i}_to_lane")
            m.d.comb += [ax.eq(ai), bx.eq(bi)]
            with m.If(x.select):
                m.d.comb += [ax.eq(kept["a0"][at]), bx.eq(kept["b0"][at])]
            with m.Elif(rotates & x.interleaved & d.step[0]):
                m.d.comb += ax.eq(kept["a0"][other])
            with m.Elif(rotates & d.step[1]):
                m.d.comb += [
                    ax.eq(Mux(d.step[0], kept["a0"][at], kept["a1"][at])),
                    bx.eq(Mux(d.step[0], kept["b1"][at], kept["b0"][at])),
                ]
            first_of.append(ax)
            second_of.append(bx)
        for i in range(2):
            with m.If(consume & ~d.part & (x.rope | x.select) & (d.step == i)):
                m.d.sync += [kept[f"a{i}"].eq(Cat(*word)), kept[f"b{i}"].eq(b[:wide])]
        with m.If(consume & d.first & (x.second == Second.ROW)):
            m.d.sync += row.eq(b[:32])
        to = self.lanes.payload
        product = Mux(d.step[0], Mux(d.step[1], VectorOp.MUL_ADD, VectorOp.MUL_SUB), VectorOp.MUL_HOLD)
        m.d.comb += [
            to.op.eq(Mux(rotates, product, x.op)),
            to.pair.eq(rotates & x.interleaved & d.step[0]),
            to.a.eq(Cat(*first_of)), to.b.eq(Cat(*second_of)), to.c.eq(Cat(*third_of)),
        ]  # fmt: skip

        # parts of a pass, for those that take an element a cycle
        part = Signal(range(max(lanes, 2)))
        arrived = (
            queue.o.valid
            & (~d.take[0] | self.first.valid | (x.kind == Kind.TAKE))
            & (~d.take[1] | self.second.valid)
        )
        gives = arrived & d.fire
        next_part = Signal(range(2 * max(lanes, 2)))
        serial = (x.kind == Kind.TOPK) | (x.kind == Kind.TAKE)
        m.d.comb += next_part.eq(part + 1)
        final = next_part >= d.count
        words = Mux(x.kind == Kind.TAKE, b_words[:wide], Cat(*whole_words))
        reduced, to_reduce = self.reduced, self.reduce.payload
        m.d.comb += [
            self.reduce.valid.eq(gives & (x.kind == Kind.REDUCE)),
            to_reduce.words.eq(Cat(*whole_words[:reduced])),
            to_reduce.keep.eq(Cat(d.count > i for i in range(reduced))),
            *(to_reduce[n].eq(d[n]) for n in ("last", *self.row)),
        ]  # fmt: skip
        element: Value = words[:32]
        for i in range(1, lanes):
            element = Mux(part == i, words[32 * i : 32 * i + 32], element)
        m.d.comb += [
            self.lanes.valid.eq(gives & (x.kind == Kind.LANES)),
            self.quantise.valid.eq(gives & (x.kind == Kind.QUANTISE)),
            self.quantise.payload.eq(Cat(Mux(d.count > i, w, 0) for i, w in enumerate(whole_words))),
            self.element.valid.eq(gives & serial),
            self.element.payload.word.eq(element),
            self.element.payload.base.eq(d.a),
            self.element.payload.last.eq(d.last & final),
        ]
        taken = Signal()
        with m.Switch(x.kind):
            with m.Case(Kind.LANES):
                m.d.comb += taken.eq(self.lanes.ready)
            with m.Case(Kind.REDUCE):
                m.d.comb += taken.eq(self.reduce.ready)
            with m.Case(Kind.QUANTISE):
                m.d.comb += taken.eq(self.quantise.ready)
            with m.Default():
                m.d.comb += taken.eq(self.element.ready)
        whole = final | ~serial
        m.d.comb += consume.eq(arrived & (~d.fire | (taken & whole)))
        with m.If(gives & taken & ~d.part):
            m.d.sync += part.eq(Mux(whole, 0, next_part))
        m.d.comb += [
            queue.o.ready.eq(consume),
            self.first.ready.eq(consume & d.take[0]),
            self.second.ready.eq(consume & d.take[1]),
        ]
        return m

    def _placed(
        self, m: Module, which: int, answer: Value, offset: Value, d: Any, lowest: int
    ) -> tuple[Value, Value]:
        """The answer from its byte `offset` on, a multiple of 2^lowest bytes: a pass at most. And what it is if passes
        of FP32 lie there: rows start at multiples of a block, so the lower bits of their offsets are zero."""
        keep = 32 * self.width
        value: Value = answer
        if 4 * self.width > BLOCK:  # a pass may begin in the word before
            part = Signal(8 * self.port_bytes, name=f"part{which}", reset_less=True)
            with m.If(self.step_taken(d, which)):
                m.d.sync += part.eq(answer)
            value = Mux(d.split[which], Cat(part, answer), Cat(answer, Const(0, 8 * self.port_bytes)))
        coarse = (min(4 * self.width, BLOCK) - 1).bit_length()
        words = value
        for bit in reversed(range(lowest, len(offset))):
            width = keep + (8 << bit) - 8
            moved = Signal(width, name=f"placed{which}_{bit}")
            m.d.comb += moved.eq(Mux(offset[bit], value[8 << bit :], value))
            value = moved
            words = value if bit >= coarse else words
        return (value if len(value) >= keep else Cat(value, Const(0, keep - len(value)))), words[:keep]

    def step_taken(self, d: Any, which: int) -> Value:
        """Whether the answer on offer is a first part."""
        stream_ = self.first if which == 0 else self.second
        return d.part & d.take[which] & stream_.valid

    @staticmethod
    def _byte(word: Value, at: Value) -> Value:
        high = Mux(at[1], word[16:], word[:16])
        return Mux(at[0], high[8:16], high[:8])
