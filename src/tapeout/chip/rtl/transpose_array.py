"""The load engine's transposer: rows of 32-byte groups in, one word of turned columns out per cycle.

A word of W bytes is W / 32 columns side by side, so there are that many square arrays of 32 × 32 bytes: column k of a
row goes to array k mod (W / 32), and a word out is one column of each. An array is filled by shifting it one way and
emptied by shifting it the other way, while the next rows come in from the side: what was down becomes right from
panel to panel, and one array does the work of two.

A shift takes a row in, or a word out, or both. While rows are on their way (`coming`) a panel leaves beside those of
the next, a word with each; where none is, it leaves alone, and rows that come later wait for its end.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.geometry import BLOCK_BYTES
from tapeout.chip.rtl.block import Block

TILE = BLOCK_BYTES


class TransposeArray(Block):
    """`row` {data; address; words; ends}: 32 of them are a panel; row r brings the place (`address`, any number of
    `address_bits`) of word r, the panel's last row how many words there are and whether it ends a command.
    `word` {data; address; ends}. `coming`: another row is on its way. `busy`: something is inside."""

    def __init__(self, word_bytes: int, address_bits: int) -> None:
        if word_bytes < TILE or word_bytes & (word_bytes - 1):
            raise ValueError(f"a transposer for words of {word_bytes} bytes")
        self.word_bytes, self.address_bits = word_bytes, address_bits
        place = {"data": 8 * word_bytes, "address": address_bits, "ends": 1}
        super().__init__(
            {
                "row": In(stream.Signature(data.StructLayout(place | {"words": TILE.bit_length()}))),
                "word": Out(stream.Signature(data.StructLayout(place))),
                "coming": In(1),
                "busy": Out(1),
            }
        )

    @property
    def module_name(self) -> str:
        return f"transpose_array_{self.word_bytes}_{self.address_bits}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        index = (TILE - 1).bit_length()
        filled = Signal(index)  # rows of the panel that comes
        leaving, left = Signal(), Signal(index)  # a panel leaves; words of it after this one
        busy = Signal()  # either of them
        turned = Signal()  # rows come in from the side
        ends, alone = Signal(reset_less=True), Signal()  # alone: the panel leaves without rows beside it
        takes, gives, shift = Signal(), Signal(), Signal()
        row, word = self.row.payload, self.word.payload
        out_free = ~leaving | self.word.ready
        leaves_alone = Signal()
        last_row, last_word = filled == TILE - 1, left == 0
        m.d.comb += [
            self.busy.eq(busy),
            leaves_alone.eq(leaving & (alone | ~(filled.any() | self.row.valid | self.coming))),
            self.row.ready.eq(out_free & ~leaves_alone),
            takes.eq(self.row.valid & self.row.ready),
            self.word.valid.eq(leaving & (self.row.valid | leaves_alone)),
            gives.eq(self.word.valid & self.word.ready),
            shift.eq(takes | gives),
            word.ends.eq(ends & last_word),
        ]
        m.d.sync += [
            alone.eq(leaves_alone),
            busy.eq(takes | filled.any() | (leaving & ~(gives & last_word))),
        ]
        with m.If(gives):
            m.d.sync += left.eq(left - 1)
            with m.If(last_word):
                m.d.sync += [leaving.eq(0), alone.eq(0)]
        with m.If(takes):
            m.d.sync += filled.eq(filled + 1)
            with m.If(last_row):
                m.d.sync += [
                    leaving.eq(1), left.eq(row.words - 1), turned.eq(~turned), ends.eq(row.ends)
                ]  # fmt: skip

        # places: word j's is read in the shift in which row j of the next panel brings its own
        m.submodules.places = places = Memory(shape=self.address_bits, depth=TILE, init=[])
        write, read = places.write_port(), places.read_port(domain="comb")
        at = Signal(index)  # of the word that leaves
        with m.If(takes & last_row):
            m.d.sync += at.eq(0)
        with m.Elif(gives):
            m.d.sync += at.eq(at + 1)
        m.d.comb += [
            write.addr.eq(filled), write.data.eq(row.address), write.en.eq(takes),
            read.addr.eq(at), word.address.eq(read.data),
        ]  # fmt: skip

        arrays = self.word_bytes // TILE
        columns = []
        for a in range(arrays):
            lines = [Signal(8 * TILE, name=f"array{a}_line{x}", reset_less=True) for x in range(TILE)]
            # column j of the row at place 31 - j, so that the first leaves first
            entering: list[Value] = [Const(0, 8)] * TILE
            for j in range(TILE):
                entering[TILE - 1 - j] = row.data.word_select(arrays * j + a, 8)
            for x, line in enumerate(lines):
                down = lines[x - 1] if x else Cat(*entering)
                right = Cat(entering[x], line[: 8 * (TILE - 1)])
                with m.If(shift):
                    m.d.sync += line.eq(Mux(turned, right, down))
            # what leaves: the last row of places downwards, the last column of them to the right; row 0 is at the end
            bottom = [lines[-1].word_select(TILE - 1 - r, 8) for r in range(TILE)]
            side = [lines[TILE - 1 - r].word_select(TILE - 1, 8) for r in range(TILE)]
            columns.append(Mux(turned, Cat(*side), Cat(*bottom)))
        m.d.comb += word.data.eq(Cat(*columns))
        return m
