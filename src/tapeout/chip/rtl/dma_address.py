"""The address half of a load or store engine: a command becomes pieces, one a cycle.

A piece is the largest part of a run that crosses no word of the memory port and none of the scratchpad; each goes
out with where it is on both sides. An indexed command (gather, scatter) asks the scratchpad for each index first and
multiplies it by the element size, eight bits a cycle; a gather starts only when everything before it has reached the
scratchpad, because the table may have come with the command before, and a scatter takes an index when the words of
the run before have come, because both come through one port. Other commands follow one another without a
gap, so that memory's latency is paid once and not per command.

A command that moves nothing is one empty piece, so that its end is told in order.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import REGISTER_BITS, Cause
from tapeout.chip.isa.geometry import GRANULE
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.sequencer import CAUSE_BITS
from tapeout.chip.rtl.sequencer_dispatch import COMMAND


def piece_layout(port_bytes: int, pad_bytes: int, word_bytes: int) -> data.StructLayout:
    """`memory`, `pad`: byte addresses of the piece's start; `length` in bytes, 0: nothing; `first`, `last` of its
    run; `ends`: the last of its command."""
    return data.StructLayout(
        {
            "memory": REGISTER_BITS, "pad": (pad_bytes - 1).bit_length(),
            "length": min(port_bytes, word_bytes).bit_length(), "first": 1, "last": 1, "ends": 1,
        }
    )  # fmt: skip


class State(enum.Enum, shape=3):  # type: ignore[call-arg]
    """What the address half is doing."""

    IDLE = 0
    INDEX = 1
    ANSWER = 2
    MULTIPLY = 3
    CHECK = 4
    RUN = 5
    NOTHING = 6


class DmaAddress(Block):
    """`command` → `piece`; `index_request` (a scratchpad byte address, multiple of 4) → `index` (its word).
    `empty`: nothing is under way behind. `error`, `cause`: a run that cannot be; nothing follows it.
    `aligned`: whether pad addresses must be multiples of a granule (loads)."""

    def __init__(self, port_bytes: int, pad_bytes: int, word_bytes: int, aligned: bool) -> None:
        self.port_bytes, self.pad_bytes, self.word_bytes, self.aligned = (
            port_bytes,
            pad_bytes,
            word_bytes,
            aligned,
        )
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
        state = Signal(State)
        c = Signal(COMMAND, reset_less=True)
        _, memory, size, n0, s0, _, s1, pitch = (c.slots[i] for i in range(8))
        indexed = c.opcode == 1
        bits = REGISTER_BITS
        inner, outer = Signal(bits, reset_less=True), Signal(bits, reset_less=True)  # runs left
        row, run_memory, run_pad = (
            Signal(bits, name=n, reset_less=True) for n in ("row", "run_memory", "run_pad")
        )
        at_memory, at_pad, left = (
            Signal(bits, name=n, reset_less=True) for n in ("at_memory", "at_pad", "left")
        )
        entry = Signal(bits, reset_less=True)
        first = Signal()
        start = self.command.payload
        m.d.comb += self.command.ready.eq(state == State.IDLE)
        starting = self.command.valid & (state == State.IDLE)
        with m.If(starting):
            m.d.sync += [
                c.eq(start), inner.eq(start.slots[3]), outer.eq(Mux(start.opcode == 1, 1, start.slots[5])),
                row.eq(start.slots[1]), run_memory.eq(start.slots[1]), run_pad.eq(start.slots[0]),
                entry.eq(start.slots[5]),
            ]  # fmt: skip
            count = Mux(start.opcode == 1, 1, start.slots[5])
            nothing = (start.slots[3] == 0) | (count == 0) | (start.slots[2] == 0)
            m.d.sync += state.eq(
                Mux(nothing, State.NOTHING, Mux(start.opcode == 1, State.INDEX, State.CHECK))
            )

        # an index
        factor, rest = Signal(bits, reset_less=True), Signal(32, reset_less=True)
        offset = (self.word_bytes - 1).bit_length()
        lanes = Array(self.index.payload.word_select(i, 32) for i in range(self.word_bytes // 4))
        steps = Signal(3)
        fresh = Signal(reset_less=True)  # whether what went before must have arrived
        with m.If(starting):
            m.d.sync += fresh.eq(1)
        with m.Elif(Const(int(self.aligned), 1) & (state == State.ANSWER)):
            m.d.sync += fresh.eq(0)
        trap, cause = Signal(), Signal(Cause)
        with m.If(state == State.INDEX):
            with m.If(entry[:2].any()):
                m.d.comb += [trap.eq(1), cause.eq(Cause.ALIGNMENT)]
            with m.Elif(entry >= self.pad_bytes):
                m.d.comb += [trap.eq(1), cause.eq(Cause.RANGE)]
            with m.Elif(self.empty | ~fresh):
                m.d.comb += self.index_request.valid.eq(1)
                with m.If(self.index_request.ready):
                    m.d.sync += state.eq(State.ANSWER)
        m.d.comb += [self.index_request.payload.eq(entry), self.index.ready.eq(state == State.ANSWER)]
        with m.If((state == State.ANSWER) & self.index.valid):
            m.d.sync += [
                rest.eq(lanes[entry[2:offset]]), factor.eq(s0), run_memory.eq(memory), steps.eq(3),
                state.eq(State.MULTIPLY),
            ]  # fmt: skip
        with m.If(state == State.MULTIPLY):
            # from the lowest digit up: the element size moves left under it
            m.d.sync += [
                run_memory.eq(run_memory + factor * rest[:8]), factor.eq(factor << 8), rest.eq(rest >> 8),
                steps.eq(steps - 1),
            ]  # fmt: skip
            with m.If(steps == 0):
                m.d.sync += state.eq(State.CHECK)

        # a run
        whole = Cat(Const(0, 3), size[3:] + size[:3].any()) if self.aligned else size
        top, unaligned = Signal(bits + 1), Signal()
        m.d.comb += top.eq(run_pad + whole)
        with m.If(state == State.CHECK):
            m.d.sync += [
                at_memory.eq(run_memory),
                at_pad.eq(run_pad),
                left.eq(size),
                first.eq(1),
                state.eq(State.RUN),
            ]
            if self.aligned:
                m.d.comb += unaligned.eq(run_pad % GRANULE != 0)
            with m.If(unaligned | (top > self.pad_bytes)):
                m.d.comb += [trap.eq(1), cause.eq(Mux(unaligned, Cause.ALIGNMENT, Cause.RANGE))]

        # its pieces
        p = self.piece.payload
        port, word = self.port_bytes, self.word_bytes
        to_port, to_word = port - at_memory % port, word - at_pad % word
        shortest = Signal(range(max(port, word) + 1))
        length = Signal(len(p.length))
        m.d.comb += [
            shortest.eq(Mux(to_port < to_word, to_port, to_word)),
            length.eq(Mux(left < shortest, left, shortest)),
        ]
        ends_run, ends_row = left == length, inner == 1
        ends = ends_run & ends_row & (outer == 1)
        running, idle = state == State.RUN, state == State.NOTHING
        m.d.comb += [
            self.piece.valid.eq(running | idle),
            p.memory.eq(at_memory),
            p.pad.eq(at_pad),
            p.length.eq(Mux(idle, 0, length)),
            p.first.eq(first),
            p.last.eq(ends_run | idle),
            p.ends.eq(ends | idle),
        ]
        next_row, next_memory, next_pad = (
            Signal(bits, name=n) for n in ("next_row", "next_memory", "next_pad")
        )
        m.d.comb += [
            next_row.eq(row + s1),
            next_memory.eq(Mux(ends_row, next_row, run_memory + s0)),
            next_pad.eq(run_pad + pitch),
        ]
        legal: Value = next_pad + whole <= self.pad_bytes
        if self.aligned:
            legal = legal & (next_pad % GRANULE == 0)
        with m.If(self.piece.valid & self.piece.ready):
            m.d.sync += [
                at_memory.eq(at_memory + length), at_pad.eq(at_pad + length), left.eq(left - length), first.eq(0)
            ]  # fmt: skip
            with m.If(p.ends):
                m.d.sync += state.eq(State.IDLE)
            with m.Elif(ends_run):
                m.d.sync += [
                    inner.eq(Mux(ends_row, n0, inner - 1)), outer.eq(outer - ends_row),
                    row.eq(Mux(ends_row, next_row, row)),
                    run_memory.eq(next_memory), run_pad.eq(next_pad), entry.eq(entry + 4),
                ]  # fmt: skip
                with m.If(indexed):
                    m.d.sync += state.eq(State.INDEX)
                with m.Elif(legal):
                    m.d.sync += [at_memory.eq(next_memory), at_pad.eq(next_pad), left.eq(size), first.eq(1)]
                with m.Else():
                    m.d.sync += state.eq(State.CHECK)  # to trap there
        m.d.comb += [self.error.eq(trap), self.cause.eq(cause)]
        return m
