"""The address half of a load or store engine: a command becomes runs, a run becomes pieces, one a cycle.

A piece is the largest part of a run that crosses no word of the memory port and none of the scratchpad; each goes
out with where it is on both sides. Two stages, so that additions of 48 bits and the cutting are a cycle each:

| stage | registers | work |
|---|---|---|
| runs | place of the run on both sides, counts | the next run's, while this one goes on |
| pieces | what is left of a run | cut at the ends of words; takes the next run with its last piece |

A run of a transposed tile is one row of one panel (`transpose_array`); what it has for a place in the scratchpad is
that of the panel's word of the same number.

An indexed command (gather, scatter) asks the scratchpad for each index first and multiplies it by the element size,
eight bits a cycle; a gather starts only when everything before it has reached the scratchpad, because the table may
have come with the command before, and an index waits for the pieces of the run before it. Other commands follow one
another without a gap, so that memory's latency is paid once and not per command.

A command that moves nothing is one empty piece, so that its end is told in order.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import REGISTER_BITS, Cause
from tapeout.chip.isa.geometry import BLOCK_BYTES, GRANULE
from tapeout.chip.rtl.bits import increment
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.sequencer import CAUSE_BITS
from tapeout.chip.rtl.sequencer_dispatch import COMMAND

INDEXED, TRANSPOSED = 1, 2  # opcodes within the engine
TILE = BLOCK_BYTES


def piece_layout(port_bytes: int, pad_bytes: int, word_bytes: int) -> data.StructLayout:
    """`memory`, `pad`: byte addresses of the piece's start; `length` in bytes; `moves`: that is not 0; `first`,
    `last` of its run; `ends`: the last of its command; `turns`: part of a row that is transposed."""
    return data.StructLayout(
        {
            "memory": REGISTER_BITS, "pad": (pad_bytes - 1).bit_length(),
            "length": min(port_bytes, word_bytes).bit_length(), "moves": 1, "first": 1, "last": 1, "ends": 1,
            "turns": 1,
        }
    )  # fmt: skip


class State(enum.Enum, shape=3):  # type: ignore[call-arg]
    """What the stage of runs is doing."""

    IDLE = 0
    INDEX = 1
    ANSWER = 2
    MULTIPLY = 3
    RUN = 4


class DmaAddress(Block):
    """`command` → `piece`; `index_request` (a scratchpad byte address, multiple of 4) → `index` (its word).
    `empty`: nothing is under way behind. `error`, `cause`: a run that cannot be; nothing follows it.
    `aligned`: whether pad addresses must be multiples of a granule (loads)."""

    def __init__(self, port_bytes: int, pad_bytes: int, word_bytes: int, aligned: bool) -> None:
        self.port_bytes, self.pad_bytes, self.word_bytes = port_bytes, pad_bytes, word_bytes
        self.aligned = aligned
        self.turns = aligned and word_bytes >= TILE
        self.piece_layout = piece_layout(port_bytes, pad_bytes, word_bytes)
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "piece": Out(stream.Signature(self.piece_layout)),
                "index_request": Out(stream.Signature((pad_bytes - 1).bit_length())),
                "index": In(stream.Signature(8 * word_bytes)),
                "empty": In(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
            }
        )

    @property
    def module_name(self) -> str:
        kind = "load" if self.aligned else "store"
        return f"dma_address_{kind}_{self.port_bytes}_{self.pad_bytes}_{self.word_bytes}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        bits = REGISTER_BITS
        state = Signal(State)
        c = Signal(COMMAND, reset_less=True)
        indexed = c.opcode == INDEXED
        turns = c.opcode == TRANSPOSED if self.turns else Const(0, 1)
        run = Signal(
            data.StructLayout(
                {"memory": bits, "pad": bits, "size": bits, "ends": 1, "nothing": 1, "turns": 1, "wrong": 1}
            )
        )
        offered, taken = Signal(), Signal()  # a run goes to the pieces
        trap, cause = Signal(), Signal(Cause)
        self._runs(m, state, c, indexed, turns, run, offered, taken, trap, cause)
        busy = self._pieces(m, run, offered, taken, trap, cause)
        # an index: with nothing of this engine's between
        fresh = Signal(reset_less=True)  # whether what went before must have arrived
        with m.If(self.command.valid & self.command.ready):
            m.d.sync += fresh.eq(1)
        with m.Elif(Const(int(self.aligned), 1) & (state == State.ANSWER)):
            m.d.sync += fresh.eq(0)
        m.d.comb += self.index_request.payload.eq(self.entry)
        with m.If((state == State.INDEX) & ~busy):
            with m.If(self.entry[:2].any()):
                m.d.comb += [trap.eq(1), cause.eq(Cause.ALIGNMENT)]
            with m.Elif(self.far):
                m.d.comb += [trap.eq(1), cause.eq(Cause.RANGE)]
            with m.Elif(self.empty | ~fresh):
                m.d.comb += self.index_request.valid.eq(1)
                with m.If(self.index_request.ready):
                    m.d.sync += state.eq(State.ANSWER)
        m.d.comb += [self.error.eq(trap), self.cause.eq(cause)]
        return m

    def _runs(
        self, m: Module, state: Any, c: Any, indexed: Value, turns: Value, run: Any, offered: Signal,
        taken: Signal, trap: Signal, cause: Signal,
    ) -> None:  # fmt: skip
        """The stage of runs: what `run` is, and what follows it once it is `taken`."""
        bits, word = REGISTER_BITS, self.word_bytes
        _, memory, size, n0, s0, table, s1, pitch = (c.slots[i] for i in range(8))
        inner, outer, row, at, pad = (
            Signal(bits, name=n, reset_less=True) for n in ("inner", "outer", "row", "run_memory", "run_pad")
        )
        self.entry = entry = Signal(bits, reset_less=True)
        # the entry is beyond the scratchpad: a register, which needs a cycle longer than the entry; there is one,
        # because the run before is still in the stage of pieces then
        self.far = far = Signal(reset_less=True)
        m.d.sync += far.eq(entry >= self.pad_bytes)
        nothing, unaligned = Signal(reset_less=True), Signal(reset_less=True)
        start = self.command.payload
        by_index = start.opcode == INDEXED
        by_turns = start.opcode == TRANSPOSED if self.turns else Const(0, 1)
        m.d.comb += self.command.ready.eq(state == State.IDLE)
        with m.If(self.command.valid & self.command.ready):
            outers = Mux(by_index, 1, Mux(by_turns, start.slots[3], start.slots[5]))
            none = (start.slots[3] == 0) | (outers == 0) | (start.slots[2] == 0)
            m.d.sync += [
                c.eq(start), inner.eq(Mux(by_turns, TILE, start.slots[3])), outer.eq(outers),
                row.eq(start.slots[1]), at.eq(start.slots[1]), pad.eq(start.slots[0]), entry.eq(start.slots[5]),
                far.eq(start.slots[5] >= self.pad_bytes), nothing.eq(none),
                state.eq(Mux(by_index & ~none, State.INDEX, State.RUN)),
            ]  # fmt: skip
            low = (word - 1).bit_length()
            wrong = (start.slots[0][:low] | start.slots[5][:low] | start.slots[7][:low]).any()
            m.d.sync += unaligned.eq(by_turns & (wrong | (start.slots[2] % TILE).any()))

        # an index times the element size: from the lowest digit up, the size moves left under it
        factor, rest, steps = Signal(bits, reset_less=True), Signal(32, reset_less=True), Signal(3)
        offset = (word - 1).bit_length()
        lanes = Array(self.index.payload.word_select(i, 32) for i in range(word // 4))
        m.d.comb += self.index.ready.eq(state == State.ANSWER)
        with m.If((state == State.ANSWER) & self.index.valid):
            m.d.sync += [
                rest.eq(lanes[entry[2:offset]]), factor.eq(s0), at.eq(memory), steps.eq(3), state.eq(State.MULTIPLY)
            ]  # fmt: skip
        with m.If(state == State.MULTIPLY):
            m.d.sync += [
                at.eq(at + factor * rest[:8]), factor.eq(factor << 8), rest.eq(rest >> 8), steps.eq(steps - 1)
            ]  # fmt: skip
            with m.If(steps == 0):
                m.d.sync += state.eq(State.RUN)

        # panels and groups of a tile
        last_panel, width, holds, group_ends = Const(1, 1), size, Const(0, 1), Const(0, 1)
        next_panel, next_group, tile_pad = at, pad, pad
        if self.turns:
            panel, group, tile_pad = (
                Signal(bits, name=n, reset_less=True) for n in ("panel", "group", "tile")
            )
            columns, groups = (
                Signal(bits, name="columns", reset_less=True),
                Signal(bits - 5, name="groups", reset_less=True),
            )
            words = 32 * TILE // word  # of a group
            in_group = Signal(range(max(words, 2)), reset_less=True)
            last_panel = ~turns | (columns <= word)
            width = Mux(turns, Mux(columns < word, columns, word), size)
            group_ends = in_group == words - 1
            holds = groups == 0
            next_panel, next_group = Signal(bits, name="next_panel"), Signal(bits, name="next_group")
            low_bits = word.bit_length() - 1  # a word is a power of two
            # in a register of its own: a panel has TILE runs, so this one is never the first after another
            further = Signal(bits - low_bits, reset_less=True)
            m.d.sync += further.eq(increment(m, panel[low_bits:], Const(1, 1), "panel_sum"))
            m.d.comb += [next_panel.eq(Cat(panel[:low_bits], further)), next_group.eq(group + table)]
            with m.If(self.command.valid & self.command.ready):
                m.d.sync += [
                    panel.eq(start.slots[1]), group.eq(start.slots[0]), tile_pad.eq(start.slots[0]),
                    columns.eq(start.slots[2]), groups.eq(start.slots[2][5:]), in_group.eq(0),
                ]  # fmt: skip

        last_inner, last_outer = inner == 1, outer == 1
        next_row, next_pad, next_tile = (Signal(bits, name=n) for n in ("next_row", "next_pad", "next_tile"))
        m.d.comb += [
            next_row.eq(row + s1), next_pad.eq(pad + Mux(turns, word, pitch)), next_tile.eq(tile_pad + pitch)
        ]  # fmt: skip
        whole = Cat(Const(0, 3), size[3:] + size[:3].any()) if self.aligned else size
        top, off, above = Signal(bits + 1), Signal(), Signal()
        m.d.comb += [
            top.eq(pad + Mux(turns, word, whole)),
            above.eq(top > self.pad_bytes),
            off.eq((pad[: GRANULE.bit_length() - 1].any() if self.aligned else 0) | unaligned),
            run.memory.eq(at), run.pad.eq(pad), run.size.eq(width), run.turns.eq(turns),
            run.ends.eq(last_inner & last_panel & last_outer), run.nothing.eq(nothing),
            run.wrong.eq((off | above) & ~nothing),
        ]  # fmt: skip
        self.off = off
        m.d.comb += offered.eq(state == State.RUN)
        next_entry = Cat(entry[:2], increment(m, entry[2:], Const(1, 1), "next_entry")[: bits - 2])
        with m.If(taken):
            m.d.sync += [
                inner.eq(Mux(last_inner, Mux(turns, TILE, n0), inner - 1)),
                outer.eq(outer - (last_inner & last_panel)),
                entry.eq(next_entry),
            ]
            with m.If(last_inner & last_panel):
                m.d.sync += [row.eq(next_row), at.eq(next_row)]
            with m.Elif(last_inner):
                m.d.sync += at.eq(next_panel)
            with m.Else():
                m.d.sync += at.eq(at + s0)
            m.d.sync += pad.eq(next_pad)
            if self.turns:
                with m.If(turns):
                    m.d.sync += in_group.eq(Mux(group_ends, 0, in_group + 1))
                    with m.If(last_inner):
                        m.d.sync += [
                            panel.eq(Mux(last_panel, next_row, next_panel)),
                            columns.eq(columns - word),
                        ]
                    with m.If(last_inner & last_panel):
                        m.d.sync += [
                            pad.eq(next_tile), tile_pad.eq(next_tile), group.eq(next_tile),
                            columns.eq(size), groups.eq(size[5:]), in_group.eq(0),
                        ]  # fmt: skip
                    with m.Elif(holds | (group_ends & (groups == 1))):
                        m.d.sync += [pad.eq(pad), groups.eq(0)]  # rows beyond the words there are
                    with m.Elif(group_ends):
                        m.d.sync += [pad.eq(next_group), group.eq(next_group), groups.eq(groups - 1)]
            with m.If(run.ends | nothing):
                m.d.sync += state.eq(State.IDLE)
            with m.Elif(indexed):
                m.d.sync += state.eq(State.INDEX)

    def _pieces(
        self, m: Module, run: Any, offered: Signal, taken: Signal, trap: Signal, cause: Signal
    ) -> Value:
        """The stage of pieces; whether it holds a run."""
        port, word = self.port_bytes, self.word_bytes
        port_bits, word_bits = port.bit_length() - 1, word.bit_length() - 1
        small = max(port, word).bit_length()
        has, first, unaligned = Signal(), Signal(reset_less=True), Signal(reset_less=True)
        now = Signal(run.shape(), reset_less=True)
        p = self.piece.payload
        # distances to the ends of both words, what is left where that is little, and the least of them
        to_port, to_word, rest = (Signal(small, name=n) for n in ("to_port", "to_word", "rest"))
        many, shortest, length = Signal(), Signal(small), Signal(len(p.length))
        low = small - 1
        m.d.comb += [
            to_port.eq(port - now.memory[:port_bits]), to_word.eq(word - now.pad[:word_bits]),
            rest.eq(now.size[:small]), many.eq(now.size[small:].any()),
            shortest.eq(Mux(to_port < to_word, to_port, to_word)),
            length.eq(Mux(~many & (rest < shortest), rest, shortest)),
        ]  # fmt: skip
        ends_run = now.nothing | (~many & (rest <= shortest))
        # whether the piece reaches a word's end, beside the length and not from it
        to_end_of_port = (to_port <= to_word) & (many | (rest >= to_port))
        to_end_of_word = (to_word <= to_port) & (many | (rest >= to_word))
        m.d.comb += [
            self.piece.valid.eq(has & ~now.wrong),
            p.memory.eq(now.memory), p.pad.eq(now.pad), p.length.eq(Mux(now.nothing, 0, length)),
            p.moves.eq(~now.nothing),
            p.first.eq(first), p.last.eq(ends_run), p.ends.eq(ends_run & (now.ends | now.nothing)),
            p.turns.eq(now.turns & ~now.nothing),
        ]  # fmt: skip
        goes = self.piece.valid & self.piece.ready
        m.d.comb += taken.eq(offered & (~has | (goes & ends_run)))
        with m.If(goes):
            # the upper parts move by at most one word, or by a borrow
            memory_low, pad_low = now.memory[:port_bits] + length, now.pad[:word_bits] + length
            size_low = rest[:low] - length
            memory_high = increment(m, now.memory[port_bits:], to_end_of_port, "memory_high")
            size_high = ~increment(m, ~now.size[low:], rest[:low] < length, "size_high")  # one less
            m.d.sync += [
                first.eq(0),
                now.memory.eq(Cat(memory_low[:port_bits], memory_high[: len(now.memory) - port_bits])),
                now.pad.eq(Cat(pad_low[:word_bits], now.pad[word_bits:] + to_end_of_word)),
                now.size.eq(Cat(size_low[:low], size_high[: len(now.size) - low])),
            ]
            with m.If(ends_run):
                m.d.sync += has.eq(0)
        with m.If(taken):
            m.d.sync += [has.eq(1), now.eq(run), first.eq(1), unaligned.eq(self.off)]
        with m.If(has & now.wrong):
            m.d.comb += [trap.eq(1), cause.eq(Mux(unaligned, Cause.ALIGNMENT, Cause.RANGE))]
        return has
