"""Queues of the engines, semaphores, and who may start: the scoreboard of a core.

The head of an engine's queue is offered to the engine while every semaphore of its wait mask has a token; taking it
takes the tokens. The signal masks of what an engine has taken wait in order until it says `done`, which gives
their tokens. Where two heads want the last token of one semaphore in the same cycle, the sequencer and then
the lower engine number wins: a program must not depend on it (one semaphore, one taker).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import (
    IMMEDIATE_BITS,
    REGISTER_BITS,
    SEMAPHORE_MAX,
    SEMAPHORES,
    SLOTS,
    Engine,
)
from tapeout.chip.isa.machine import QUEUE
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.fifo import Fifo

ENGINES = tuple(e for e in Engine if e != Engine.SEQUENCER)
IN_FLIGHT = 4  # commands an engine may have taken and not finished
COUNT_BITS = SEMAPHORE_MAX.bit_length()

# What an engine gets: the opcode without the engine's bits, and resolved operands.
COMMAND = data.StructLayout(
    {"opcode": 5, "slots": data.ArrayLayout(REGISTER_BITS, SLOTS), "imm": IMMEDIATE_BITS}
)
QUEUED = data.StructLayout({"wait": SEMAPHORES, "signal": SEMAPHORES, "command": COMMAND})


class SequencerDispatch(Block):
    """`push` {engine (from 0: load), queued}: into a queue. `command0` …: to the engines. `done`: a bit per engine,
    in cycles in which its oldest command finished.

    `own_wait`, `own_request` → `own_granted`: the sequencer takes tokens in this cycle. `own_give`: mask of tokens
    it gives. `clear`: no semaphore has a token (a program starts). `idle`: every queue is empty
    and nothing is in flight. `overflow`: a token too many.
    """

    def __init__(self) -> None:
        members: dict[str, Any] = {f"command{k}": Out(stream.Signature(COMMAND)) for k in range(len(ENGINES))}
        super().__init__(
            {
                "push": In(stream.Signature(data.StructLayout({"engine": 2, "queued": QUEUED}))),
                "done": In(len(ENGINES)),
                "own_wait": In(SEMAPHORES),
                "own_request": In(1),
                "own_granted": Out(1),
                "own_give": In(SEMAPHORES),
                "clear": In(1),
                "idle": Out(1),
                "overflow": Out(1),
                "blocked": Out(len(ENGINES)),
            }
            | members
        )

    @property
    def module_name(self) -> str:
        return "sequencer_dispatch"

    def placed(self) -> Iterable[Block]:
        return (Fifo(QUEUED.size, QUEUE), Fifo(SEMAPHORES, IN_FLIGHT))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        n = len(ENGINES)
        counts = [Signal(COUNT_BITS, name=f"tokens{s}") for s in range(SEMAPHORES)]
        some = Signal(SEMAPHORES)
        m.d.comb += some.eq(Cat(c.any() for c in counts))
        queues = [place(m, f"queue{k}", Fifo(QUEUED.size, QUEUE)) for k in range(n)]
        flying = [place(m, f"flying{k}", Fifo(SEMAPHORES, IN_FLIGHT)) for k in range(n)]
        m.d.comb += self.push.ready.eq(Array(q.i.ready for q in queues)[self.push.payload.engine])
        taken = Signal(SEMAPHORES, name="taken_own")
        m.d.comb += [
            self.own_granted.eq(self.own_request & ~(self.own_wait & ~some).any()),
            taken.eq(self.own_wait & self.own_granted.replicate(SEMAPHORES)),
        ]
        takes: list[Value] = [taken]
        gives: list[Value] = [self.own_give]
        before: Value = taken
        idle: Value = Const(1, 1)
        for k in range(n):
            head = Signal(QUEUED, name=f"head{k}")
            command = getattr(self, f"command{k}")
            able, fire, take = (Signal(name=f"{x}{k}") for x in ("able", "fire", "take"))
            m.d.comb += [
                queues[k].i.valid.eq(self.push.valid & (self.push.payload.engine == k)),
                queues[k].i.payload.eq(self.push.payload.queued),
                head.eq(queues[k].o.payload),
            ]
            # A stream's valid must stay: once able, tokens are reserved by being taken, a cycle before the offer.
            held = Signal(name=f"held{k}")
            wants = Signal(SEMAPHORES, name=f"wants{k}")
            m.d.comb += [
                able.eq(queues[k].o.valid & ~held & ~(head.wait & ~some).any() & ~(head.wait & before).any()),
                take.eq(able),
                wants.eq(head.wait & take.replicate(SEMAPHORES)),
                command.valid.eq(held & flying[k].i.ready),
                command.payload.eq(head.command),
                fire.eq(command.valid & command.ready),
                queues[k].o.ready.eq(fire),
                flying[k].i.valid.eq(fire),
                flying[k].i.payload.eq(head.signal),
                flying[k].o.ready.eq(self.done[k]),
                self.blocked[k].eq(queues[k].o.valid & ~held & ~able),
            ]
            with m.If(take):
                m.d.sync += held.eq(1)
            with m.Elif(fire):
                m.d.sync += held.eq(0)
            takes.append(wants)
            before = before | wants
            gives.append(flying[k].o.payload & (self.done[k] & flying[k].o.valid).replicate(SEMAPHORES))
            idle = idle & ~queues[k].o.valid & ~flying[k].o.valid
        m.d.comb += self.idle.eq(idle)
        full = []
        for s, count in enumerate(counts):
            down = Cat(t[s] for t in takes).any()
            up = sum((g[s] for g in gives), Const(0, 1))
            total = Signal(COUNT_BITS + 2, name=f"total{s}")
            m.d.comb += total.eq(count + up - down)
            m.d.sync += count.eq(Mux(self.clear, 0, Mux(total > SEMAPHORE_MAX, SEMAPHORE_MAX, total)))
            full.append(total > SEMAPHORE_MAX)
        m.d.sync += self.overflow.eq(Cat(full).any())
        return m
