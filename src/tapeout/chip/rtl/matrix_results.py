"""The result writer: sums as they drain, a tile of a row at a time, packed into lines (what the port takes in
an access; a word, unless tiles are wider).

Tiles of a row lie one behind the other, so a word is written when it is full or the row ends. A tile that does not fit
into what is left of a word ends in the next one; if it was the row's last, that takes a cycle more. A command is
done when its last word has been taken, which every later request sees; one that does not drain, when its last
weights have gone in. Commands are done in their order.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.geometry import BLOCK_BYTES, GRANULE, Geometry, power_of_two
from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.pad_port import PadPort

WAITING = 4  # commands whose operands are being fetched, multiplied and drained


def write_layout(g: Geometry) -> data.StructLayout:
    """Of `work`, where results go."""
    at = (g.pad_bytes - 1).bit_length()
    return data.StructLayout({"out": at, "so": at, "tiles": bits_for_index(g.tiles), "drain": 1, "int8": 1})


def port_of(g: Geometry) -> PadPort:
    """A port that takes a tile of a row in an access, if it does not cross a line."""
    line = power_of_two(max(g.pitch(n) for n in g.formats))
    return PadPort("results", max(line // g.word_bytes, 1), reads=False)


class MatrixResults(Block):
    """`work` and `results` (of `matrix_engine`) → `request`s of a port that only writes. `issued`: the engine has
    taken the last weights of a command. `done`: the oldest command is."""

    def __init__(self, geometry: Geometry, results: data.StructLayout) -> None:
        g = self.geometry = geometry
        self.waiting = Fifo(write_layout(g).size, WAITING)
        self.pitches = [g.pitch(n) for n in ("mxfp4", "mxint8")]
        self.port = port_of(g)
        self.line = self.port.words * g.word_bytes
        super().__init__(
            {
                "work": In(stream.Signature(write_layout(g))),
                "results": In(stream.Signature(results)),
                "issued": In(1),
                "request": Out(
                    stream.Signature(self.port.request(g.pad_bytes // g.word_bytes, g.word_bytes))
                ),
                "done": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        g = self.geometry
        return (
            f"matrix_results_{g.rows}x{g.columns}x{g.ways}_{g.tiles}_{g.pad_bytes}x{g.word_bytes}"
            f"x{self.port.words}_{'_'.join(map(str, self.pitches))}"
        )

    def placed(self) -> Iterable[Block]:
        return (self.waiting,)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        waiting = place(m, "waiting", self.waiting)
        m.d.comb += [
            waiting.i.valid.eq(self.work.valid),
            waiting.i.payload.eq(self.work.payload),
            self.work.ready.eq(waiting.i.ready),
        ]
        w = Signal(write_layout(g), name="w")
        m.d.comb += w.eq(waiting.o.payload)
        bits, line_bits = len(w.out), (self.line - 1).bit_length()
        granules = self.line // GRANULE
        shift = (self.port.words - 1).bit_length()
        out = self.request
        out_free = ~out.valid | out.ready

        # where the tile goes
        fresh = Signal(init=1)
        at_reg, row_reg = (
            Signal(bits, name="at_reg", reset_less=True),
            Signal(bits, name="row_reg", reset_less=True),
        )
        at, row, next_row = Signal(bits), Signal(bits), Signal(bits)
        pitch = Mux(w.int8, self.pitches[1], self.pitches[0])
        result = self.results.payload
        ends_row = result.tile == w.tiles
        m.d.comb += [
            at.eq(Mux(fresh, w.out, at_reg)),
            row.eq(Mux(fresh, w.out, row_reg)),
            next_row.eq(row + w.so),
        ]
        # its bytes there: below and above the end of the word
        offset = at[3:line_bits]
        size = Mux(w.int8, self.pitches[1] // GRANULE, self.pitches[0] // GRANULE)
        span = Signal(range(2 * granules + 1))
        m.d.comb += span.eq(offset + size)
        coarse = _greatest_power(BLOCK_BYTES, *self.pitches)  # what offsets are multiples of
        low = (coarse - 1).bit_length()
        wide = Signal(2 * 8 * self.line, name="wide")
        take, flush = Signal(), Signal()
        data_bits = min(len(result.words), 8 * max(self.pitches))
        with m.If(self.results.valid):
            m.d.comb += wide.eq(result.words[:data_bits] << Cat(Const(0, low + 3), at[low:line_bits]))
        here = Cat((offset <= i) & (span > i) for i in range(granules))
        there = Cat(span > granules + i for i in range(granules))
        crosses = span > granules
        ends_word = span >= granules

        held, held_mask = Signal(8 * self.line, reset_less=True), Signal(granules)
        held_at = Signal(bits - line_bits, reset_less=True)
        writes = Signal()  # a word leaves for the output register with this tile
        closing = Signal()  # a command's last tile has come and it is not done
        leaves_last = Signal()
        m.d.comb += [
            # a command that does not drain may be before the one that these belong to
            self.results.ready.eq(waiting.o.valid & w.drain & out_free & ~flush),
            take.eq(self.results.valid & self.results.ready),
            writes.eq(take & (ends_word | ends_row)),
            leaves_last.eq(take & ends_row & ~crosses),
        ]
        last = Signal()  # the tile in `held` that is to be flushed is the command's last
        ended = Signal()  # the word on offer is
        with m.If(out_free):
            m.d.sync += [out.valid.eq(writes | flush), ended.eq((leaves_last & result.last) | (flush & last))]
            with m.If(flush):
                m.d.sync += [
                    out.payload.address.eq(held_at << shift), out.payload.data.eq(held), out.payload.mask.eq(held_mask),
                    held_mask.eq(0), flush.eq(0),
                ]  # fmt: skip
        with m.If(take):
            m.d.sync += [
                fresh.eq(result.last), last.eq(result.last),
                at_reg.eq(Mux(ends_row, next_row, at + pitch)), row_reg.eq(Mux(ends_row, next_row, row)),
            ]  # fmt: skip
            joined = wide[: 8 * self.line] | Mux(held_mask.any(), held, 0)
            with m.If(writes):
                m.d.sync += [
                    out.payload.address.eq(at[line_bits:] << shift), out.payload.data.eq(joined),
                    out.payload.mask.eq(held_mask | here),
                    held.eq(wide[8 * self.line :]), held_mask.eq(Mux(crosses, there, 0)),
                    held_at.eq(at[line_bits:] + 1), flush.eq(crosses & ends_row),
                ]  # fmt: skip
            with m.Else():
                m.d.sync += [held.eq(joined), held_mask.eq(held_mask | here)]

        # the end of commands
        pending = Signal(range(WAITING + 2))  # whose last weights have gone in
        written, silent = Signal(), Signal()
        drained = take & result.last
        m.d.comb += [
            written.eq(ended & out.valid & out.ready),
            silent.eq(waiting.o.valid & ~w.drain & pending.any() & ~closing),
            waiting.o.ready.eq(drained | silent),
            self.done.eq(written | silent),
        ]
        m.d.sync += [
            # the next one's tile may come as the word before is taken
            closing.eq(drained | (closing & ~written)),
            pending.eq(pending + self.issued - (drained | silent)),
        ]
        return m


def _greatest_power(*values: int) -> int:
    """The greatest power of two that divides all."""
    found: int = min(v & -v for v in values)
    return found
