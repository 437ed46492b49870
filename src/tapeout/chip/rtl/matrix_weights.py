"""What the weights' codes, and their scales, come through: units of bytes that lie one behind the other in the
scratchpad, read ahead line by line and handed out one a cycle.

A line is what the port takes in an access. The words that wait in the scratchpad's answer queue are the prefetch: a
unit is cut out of the oldest, which leaves with its last unit. Commands follow one another without a gap.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.pad_port import PadPort

WAITING = 2  # commands before the requests, and behind them


class MatrixWeights(Block):
    """`command` {at, end: byte addresses; kind} → `unit`: its bytes, zeros above them, and its kind.

    `units`: bytes of a unit of each kind, powers of two; `at` is a multiple of the kind's. `start`: pulses that each
    allow one more command's requests to begin.
    """

    def __init__(self, units: tuple[int, int], port: PadPort, pad_bytes: int, word_bytes: int) -> None:
        self.units, self.port, self.pad_bytes, self.word_bytes = units, port, pad_bytes, word_bytes
        self.line = word_bytes * port.words
        if max(units) > self.line:
            raise ValueError(f"units of {units} bytes in lines of {self.line}")
        at = (pad_bytes - 1).bit_length()
        self.command_layout = data.StructLayout({"at": at, "end": at + 1, "kind": 1})
        self.waiting = Fifo(self.command_layout.size, WAITING)
        super().__init__(
            {
                "command": In(stream.Signature(self.command_layout)),
                "start": In(1),
                "request": Out(stream.Signature(port.request(pad_bytes // word_bytes, word_bytes))),
                "answer": In(stream.Signature(8 * self.line)),
                "unit": Out(stream.Signature(data.StructLayout({"bytes": 8 * max(units), "kind": 1}))),
            }
        )

    @property
    def module_name(self) -> str:
        units = "_".join(map(str, self.units))
        return f"matrix_weights_{units}_{self.pad_bytes}x{self.word_bytes}x{self.port.words}"

    def placed(self) -> Iterable[Block]:
        return (self.waiting,)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        before, behind = place(m, "before", self.waiting), place(m, "behind", self.waiting)
        line_bits = (self.line - 1).bit_length()
        word_bits = (self.word_bytes - 1).bit_length()
        m.d.comb += [
            before.i.valid.eq(self.command.valid), before.i.payload.eq(self.command.payload),
            self.command.ready.eq(before.i.ready),
        ]  # fmt: skip

        # requests: the command at the head, from its first line to its last
        asking = Signal(self.command_layout)
        m.d.comb += asking.eq(before.o.payload)
        index = len(asking.at) - line_bits
        fresh, may = Signal(init=1), Signal(range(2 * WAITING + 4))
        asked, line = Signal(index, reset_less=True), Signal(index)
        final = Signal()
        behind_end = Signal(len(asking.end))
        m.d.comb += [
            line.eq(Mux(fresh, asking.at[line_bits:], asked)),
            behind_end.eq(asking.end - 1),
            final.eq(line == behind_end[line_bits:][:index]),
            self.request.valid.eq(before.o.valid & Mux(fresh, may.any() & behind.i.ready, 1)),
            self.request.payload.address.eq(line << (line_bits - word_bits)),
        ]
        go, begins = Signal(), Signal()
        m.d.comb += [
            go.eq(self.request.valid & self.request.ready),
            begins.eq(go & fresh),
            before.o.ready.eq(go & final),
            behind.i.valid.eq(begins),
            behind.i.payload.eq(asking),
        ]
        m.d.sync += may.eq(may + self.start - begins)
        with m.If(go):
            m.d.sync += [asked.eq(line + 1), fresh.eq(final)]

        # units
        using = Signal(self.command_layout)
        m.d.comb += using.eq(behind.o.payload)
        first = Signal(init=1)
        went = Signal(len(using.end), reset_less=True)
        now, following = Signal(len(using.end)), Signal(len(using.end))
        take, last = Signal(), Signal()
        m.d.comb += [
            now.eq(Mux(first, using.at, went)),
            following.eq(now + Mux(using.kind, self.units[1], self.units[0])),
            last.eq(following == using.end),
            take.eq(behind.o.valid & self.answer.valid & (~self.unit.valid | self.unit.ready)),
            behind.o.ready.eq(take & last),
            self.answer.ready.eq(take & (last | ~following[:line_bits].any())),
        ]
        with m.If(take):
            m.d.sync += [
                went.eq(following), first.eq(last),
                self.unit.payload.bytes.eq(self._cut(now, using.kind)), self.unit.payload.kind.eq(using.kind),
            ]  # fmt: skip
        with m.If(take | self.unit.ready):
            m.d.sync += self.unit.valid.eq(take)
        return m

    def _cut(self, at: Value, kind: Value) -> Value:
        """The unit at a byte address out of the line."""
        line_bits = (self.line - 1).bit_length()
        small = min(self.units)
        low = (small - 1).bit_length()
        word = self.answer.payload
        if low < line_bits:
            word = (word >> Cat(Const(0, low + 3), at[low:line_bits]))[: 8 * max(self.units)]
        kept = [word[: 8 * u] for u in self.units]
        return kept[0] if self.units[0] == self.units[1] else Mux(kind, kept[1], kept[0])
