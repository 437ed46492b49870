"""Operand fetch for the rows: blocks of activations and their scales, one row's block a cycle, step after step.

Row r of group g takes block s·groups + g in step s. A word of the scratchpad holds several blocks of a row, so every
row keeps the word its last block came from, of codes and of scales, and asks for another only when it needs one: with
128-byte words and an unsplit contraction the codes take the scratchpad every fourth cycle, the scales
every 128th. An item a cycle goes into a queue, with its requests if it has any; when their answers are there, it
comes out as a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry
from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.matrix_command import STEP_BITS
from tapeout.chip.rtl.pad_port import PadPort

ITEMS = 8  # beyond the scratchpad's latency
WAITING = 2
KINDS = {"codes": BLOCK_BYTES, "scales": 1}  # bytes of a block


def fetch_layout(g: Geometry) -> data.StructLayout:
    """Of `work`, what the rows' operands are."""
    at, row = (g.pad_bytes - 1).bit_length(), bits_for_index(g.rows)
    return data.StructLayout(
        {
            "a": at, "ascale": at, "sa": at, "steps": STEP_BITS, "rows": row, "height": row,
            "groups": g.rows.bit_length(),
        }
    )  # fmt: skip


class MatrixActivations(Block):
    """`work` → `blocks` {codes, scale}, through `codes_request`, `scales_request` and their answers. `started`: all
    requests of a command's first step are under way."""

    def __init__(self, geometry: Geometry) -> None:
        g = self.geometry = geometry
        self.waiting = Fifo(fetch_layout(g).size, WAITING)
        lanes = {n: (g.word_bytes // size - 1).bit_length() for n, size in KINDS.items()}
        self.item = data.StructLayout(
            {"row": bits_for_index(g.rows)}
            | {f"{n}_lane": max(lanes[n], 1) for n in KINDS}
            | {f"{n}_fetch": 1 for n in KINDS}
        )
        self.items = Fifo(self.item.size, ITEMS)
        members: dict[str, Any] = {}
        for n in KINDS:
            request = PadPort(writes=False).request(g.pad_bytes // g.word_bytes, g.word_bytes)
            members[f"{n}_request"] = Out(stream.Signature(request))
            members[f"{n}_answer"] = In(stream.Signature(8 * g.word_bytes))
        super().__init__(
            {
                "work": In(stream.Signature(fetch_layout(g))),
                "blocks": Out(stream.Signature(data.StructLayout({"codes": 8 * BLOCK_BYTES, "scale": 8}))),
                "started": Out(1),
            }
            | members
        )

    @property
    def module_name(self) -> str:
        g = self.geometry
        return f"matrix_activations_{g.rows}_{g.pad_bytes}x{g.word_bytes}"

    def placed(self) -> Iterable[Block]:
        return (self.waiting, self.items)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        work, items = place(m, "work", self.waiting), place(m, "items", self.items)
        m.d.comb += [
            work.i.valid.eq(self.work.valid),
            work.i.payload.eq(self.work.payload),
            self.work.ready.eq(work.i.ready),
        ]
        self._walk(m, work.o, items.i)
        self._take(m, items.o)
        return m

    def _walk(self, m: Module, work: Any, items: Any) -> None:
        """Items and requests, from the command at the head of the queue."""
        g = self.geometry
        w = Signal(fetch_layout(g), name="w")
        m.d.comb += w.eq(work.payload)
        fresh = Signal(init=1)  # the next item is a command's first
        row, within = Signal(bits_for_index(g.rows)), Signal(bits_for_index(g.rows))
        step = Signal(STEP_BITS)
        item = Signal(self.item, name="item")
        sent, ask = {}, {}
        push, ends_group, ends_step, ends = Signal(), Signal(), Signal(), Signal()
        word_bits = (g.word_bytes - 1).bit_length()
        m.d.comb += [
            ends_group.eq(within == w.height),
            ends_step.eq(row == w.rows),
            ends.eq(ends_step & (step == w.steps)),
            item.row.eq(row),
        ]
        for n, size in KINDS.items():
            low = (size - 1).bit_length()
            base = w.a if n == "codes" else w.ascale
            bits = len(base)
            at_reg, top_reg = (
                Signal(bits, name=f"{n}_at", reset_less=True),
                Signal(bits, name=f"{n}_top", reset_less=True),
            )
            at, top = Signal(bits, name=f"{n}_now"), Signal(bits, name=f"{n}_step")
            lane = at[low:word_bits] if low < word_bits else Const(0, 1)
            sent[n], ask[n] = Signal(name=f"{n}_sent"), Signal(name=f"{n}_ask")
            request = getattr(self, f"{n}_request")
            following = Signal(bits, name=f"{n}_next_step")
            m.d.comb += [
                at.eq(Mux(fresh, base, at_reg)),
                top.eq(Mux(fresh, base, top_reg)),
                following.eq(top + (w.groups << low)),
                # the row's last block was `groups` before
                ask[n].eq((step == 0) | (lane < w.groups)),
                request.valid.eq(work.valid & items.ready & ask[n] & ~sent[n]),
                request.payload.address.eq(at[word_bits:]),
                item[f"{n}_lane"].eq(lane),
                item[f"{n}_fetch"].eq(ask[n]),
            ]
            with m.If(push):
                m.d.sync += [
                    sent[n].eq(0),
                    top_reg.eq(Mux(ends_step, following, top)),
                    at_reg.eq(Mux(ends_step, following, (at + w.sa) + Mux(ends_group, size, 0))),
                ]
            with m.Elif(request.valid & request.ready):
                m.d.sync += sent[n].eq(1)
        gone = [~ask[n] | sent[n] | getattr(self, f"{n}_request").ready for n in KINDS]
        m.d.comb += [
            items.valid.eq(work.valid & gone[0] & gone[1]),
            items.payload.eq(item),
            push.eq(items.valid & items.ready),
            work.ready.eq(push & ends),
            self.started.eq(push & ends_step & (step == 0)),
        ]
        with m.If(push):
            m.d.sync += [
                fresh.eq(ends),
                row.eq(Mux(ends_step, 0, row + 1)),
                within.eq(Mux(ends_step | ends_group, 0, within + 1)),
                step.eq(Mux(ends, 0, step + ends_step)),
            ]

    def _take(self, m: Module, items: Any) -> None:
        """Blocks, from the words that come and those that the rows keep."""
        g = self.geometry
        item = Signal(self.item, name="due")
        take, free = Signal(), Signal()
        m.d.comb += [item.eq(items.payload), free.eq(~self.blocks.valid | self.blocks.ready)]
        there: Value = items.valid & free
        for n in KINDS:
            there = there & (getattr(self, f"{n}_answer").valid | ~item[f"{n}_fetch"])
        m.d.comb += [take.eq(there), items.ready.eq(take)]
        fields = {"codes": self.blocks.payload.codes, "scales": self.blocks.payload.scale}
        for n, size in KINDS.items():
            answer, fetch = getattr(self, f"{n}_answer"), item[f"{n}_fetch"]
            m.submodules[f"{n}_kept"] = kept = Memory(shape=8 * g.word_bytes, depth=g.rows, init=[])
            write, read = kept.write_port(), kept.read_port(domain="comb")
            m.d.comb += [
                answer.ready.eq(take & fetch),
                write.addr.eq(item.row), write.data.eq(answer.payload), write.en.eq(take & fetch),
                read.addr.eq(item.row),
            ]  # fmt: skip
            with m.If(take):
                word = Mux(fetch, answer.payload, read.data)
                shift = Cat(Const(0, (8 * size - 1).bit_length()), item[f"{n}_lane"])
                m.d.sync += fields[n].eq(word >> shift)
        with m.If(free):
            m.d.sync += self.blocks.valid.eq(take)
