"""The vector engine: commands to results in the scratchpad, every vector instruction.

    command ─ VectorCommand ─┬─ VectorFetch ─ two read ports ─ VectorOperands ─┬─ VectorUnit ────────────┐
                             │                     │                          ├─ Reducer, Greatest      ├─ VectorWriter
                             │                     └────────── VectorTake ─┐   ├─ VectorCodes (quantise) │   │
                             │                                VectorCollect ───┴─ TopK ────────────────┘   │
                             └──────────────────────── control ─────────────────────────────── a write port

Instructions go one after another: the next one's first request is made in the cycle after this one's last write was
accepted, so it sees what this one wrote. Its command has been taken, decoded and checked by then. (The alternative,
to compare address ranges and to overlap, saves at most the pipeline's length and needs products of strides and rows.)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from tapeout.chip import spec
from tapeout.chip.isa.definition import Cause
from tapeout.chip.rtl.block import Block, awake, place
from tapeout.chip.rtl.greatest import Greatest
from tapeout.chip.rtl.pad_port import PadPort
from tapeout.chip.rtl.reducer import Reducer
from tapeout.chip.rtl.sequencer import CAUSE_BITS
from tapeout.chip.rtl.sequencer_dispatch import COMMAND
from tapeout.chip.rtl.topk import TopK
from tapeout.chip.rtl.vector_codes import VectorCodes
from tapeout.chip.rtl.vector_command import CONTROL, Kind, VectorCommand, prepared
from tapeout.chip.rtl.vector_elements import VectorCollect, VectorTake
from tapeout.chip.rtl.vector_fetch import VectorFetch
from tapeout.chip.rtl.vector_operands import VectorOperands
from tapeout.chip.rtl.vector_unit import VectorUnit
from tapeout.chip.rtl.vector_writer import VectorWriter

MOST = 64  # elements that `vtopk` can be asked for


class VectorEngine(Block):
    """`command` (vector instructions) → `first`, `second` (read ports), `result` (write port). `done` pulses when a
    command's last byte has been taken by the scratchpad. `error`, `cause`: a trap; nothing follows it.

    Raises ValueError for lanes that are no power of two from 4 to 256.
    """

    def __init__(self, core: spec.Core) -> None:
        lanes, pad_bytes, word = (
            core.vector_lanes,
            core.scratchpad.kibibytes * 1024,
            core.scratchpad.word_bytes,
        )
        if lanes & (lanes - 1) or not 4 <= lanes <= 256:
            raise ValueError(f"{lanes} vector lanes, not a power of two from 4 to 256")
        self.lanes, self.pad_bytes, self.word_bytes = lanes, pad_bytes, word
        shape = (lanes, pad_bytes, word)
        self.decode = VectorCommand(pad_bytes)
        self.fetch, self.operands = VectorFetch(*shape), VectorOperands(*shape)
        self.unit, self.codes, self.reducer = (
            VectorUnit(lanes), VectorCodes(lanes), Reducer(self.operands.reduced)
        )  # fmt: skip
        self.greatest = Greatest(self.operands.reduced)
        self.topk, self.take = TopK(MOST, (pad_bytes // 4 - 1).bit_length()), VectorTake(*shape)
        self.collect, self.writer = VectorCollect(lanes), VectorWriter(*shape)
        words = self.fetch.words
        self.pad_ports = (
            PadPort("first", words, writes=False),
            PadPort("second", words, writes=False),
            PadPort("result", words, reads=False),
        )
        members: dict[str, Any] = {}
        for port in self.pad_ports:
            request = stream.Signature(port.request(pad_bytes // word, word))
            members[f"{port.name}_request"] = Out(request)
            if port.reads:
                members[f"{port.name}_answer"] = In(stream.Signature(8 * word * words))
        super().__init__(
            members
            | {
                "command": In(stream.Signature(COMMAND)),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
            }
        )

    @property
    def module_name(self) -> str:
        return f"vector_engine_{self.lanes}_{self.pad_bytes}_{self.word_bytes}"

    def placed(self) -> Iterable[Block]:
        return (
            self.decode, self.fetch, self.operands, self.unit, self.codes, self.reducer, self.greatest,
            self.topk, self.take, self.collect, self.writer,
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        names = (
            "decode",
            "fetch",
            "operands",
            "unit",
            "codes",
            "reducer",
            "greatest",
            "topk",
            "take",
            "collect",
            "writer",
        )
        active = {n: Signal(name=f"{n}_active") for n in names[1:]}
        decode, fetch, operands, unit, codes, reducer, greatest, topk, take, collect, writer = (
            place(m, n, b, active.get(n)) for n, b in zip(names, self.placed(), strict=True)
        )

        def connect(source: Any, sink: Any, when: Any = None) -> None:
            gate = 1 if when is None else when
            m.d.comb += [
                sink.valid.eq(source.valid & gate),
                sink.payload.eq(source.payload),
                source.ready.eq(sink.ready & gate),
            ]

        # the next command, and the one that is executed
        waits = Signal()
        next_ = Signal(prepared(self.pad_bytes), reset_less=True)
        x = Signal(CONTROL, reset_less=True)
        executing, ending, start, bad = Signal(), Signal(), Signal(), Signal()
        free = ~executing | ending
        m.d.comb += [
            decode.command.eq(self.command.payload),
            bad.eq(waits & free & next_.trap),
            start.eq(waits & free & ~next_.trap & ~fetch.walking),
            self.command.ready.eq(~waits),
            ending.eq(executing & (~fetch.walking | fetch.ending) & (~writer.writing | writer.ending)),
            fetch.command.eq(next_), writer.command.eq(next_), fetch.start.eq(start), writer.start.eq(start),
            # what the walk has is free once it is over: the next command's first row goes in before it may start
            fetch.load.eq(waits & ~fetch.walking),
        ]  # fmt: skip
        m.d.sync += self.done.eq(ending)
        at_work = awake(m, waits | executing, 2)
        lasting = {
            "reducer": (reducer, self.reducer.lasting),
            "greatest": (greatest, self.greatest.lasting),
            "topk": (topk, 4),
        }
        m.d.comb += [
            signal.eq(
                awake(m, lasting[n][0].x.valid | lasting[n][0].y.valid, lasting[n][1])
                if n in lasting
                else at_work
            )
            for n, signal in active.items()
        ]
        with m.If(~waits):
            m.d.sync += waits.eq(self.command.valid)
            with m.If(self.command.valid):
                m.d.sync += next_.eq(decode.prepared)
        with m.Elif(start):
            m.d.sync += waits.eq(0)
        with m.If(start):
            m.d.sync += [x.eq(next_.control), executing.eq(1)]
        with m.Elif(ending):
            m.d.sync += executing.eq(0)
        m.d.comb += [
            fetch.control.eq(x), operands.control.eq(x), writer.control.eq(x), unit.tap.eq(x.tap), codes.fp4.eq(x.fp4),
            topk.count.eq(x.count),
            self.error.eq(bad | fetch.error | take.error), self.cause.eq(Mux(bad, next_.cause, Cause.RANGE)),
        ]  # fmt: skip

        # reads: `vtake` has the first port to itself. Told by a register that does nothing else: requests go on through
        # the scratchpad's arbitration in the same cycle, and what the whole engine hangs on comes late.
        takes = Signal(reset_less=True)
        with m.If(start):
            m.d.sync += takes.eq(next_.control.kind == Kind.TAKE)
        first, second = self.first_request, self.second_request
        m.d.comb += [
            first.valid.eq(Mux(takes, take.address.valid, fetch.first.valid)),
            first.payload.address.eq(Mux(takes, take.address.payload, fetch.first.payload)),
            take.address.ready.eq(takes & first.ready),
            fetch.first.ready.eq(~takes & first.ready),
            second.valid.eq(fetch.second.valid),
            second.payload.address.eq(fetch.second.payload),
            fetch.second.ready.eq(second.ready),
            operands.first.valid.eq(self.first_answer.valid & ~takes),
            operands.first.payload.eq(self.first_answer.payload),
            take.answer.valid.eq(self.first_answer.valid & takes),
            take.answer.payload.eq(self.first_answer.payload),
            self.first_answer.ready.eq(Mux(takes, take.answer.ready, operands.first.ready)),
        ]
        connect(self.second_answer, operands.second)
        connect(fetch.step, operands.step)

        # pipelines
        serial_take = x.kind == Kind.TAKE
        connect(operands.lanes, unit.x)
        for one, mine in ((reducer, ~x.greatest), (greatest, x.greatest)):
            m.d.comb += [
                one.x.valid.eq(operands.reduce.valid & mine),
                *(one.x.payload[n].eq(operands.reduce.payload[n]) for n in one.x.payload.shape().members),
                one.y.ready.eq(writer.reduce.ready & mine),
            ]
        m.d.comb += [
            operands.reduce.ready.eq(Mux(x.greatest, greatest.x.ready, reducer.x.ready)),
            writer.reduce.valid.eq(Mux(x.greatest, greatest.y.valid, reducer.y.valid)),
            writer.reduce.payload.eq(Mux(x.greatest, greatest.y.payload, reducer.y.payload)),
        ]
        connect(operands.quantise, codes.x)
        m.d.comb += [
            take.x.valid.eq(operands.element.valid & serial_take),
            take.x.payload.eq(operands.element.payload),
            topk.x.valid.eq(operands.element.valid & ~serial_take),
            topk.x.payload.word.eq(operands.element.payload.word),
            topk.x.payload.last.eq(operands.element.payload.last),
            operands.element.ready.eq(Mux(serial_take, take.x.ready, topk.x.ready)),
            collect.x.valid.eq(Mux(serial_take, take.y.valid, topk.y.valid)),
            collect.x.payload.word.eq(Mux(serial_take, take.y.payload.word, topk.y.payload.index)),
            collect.x.payload.last.eq(Mux(serial_take, take.y.payload.last, topk.y.payload.last)),
            take.y.ready.eq(serial_take & collect.x.ready),
            topk.y.ready.eq(~serial_take & collect.x.ready),
        ]

        # results
        connect(unit.y, writer.lanes)
        connect(codes.y, writer.codes)
        connect(collect.y, writer.collected)
        connect(writer.write, self.result_request)
        return m
