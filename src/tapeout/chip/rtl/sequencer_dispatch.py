"""Queues of the engines, semaphores, and who may start: the scoreboard of a core.

The head of an engine's queue is offered to the engine while every semaphore of its wait mask has a token; taking it
takes the tokens. The signal masks of what an engine has taken wait in order until it says `done`, which gives
their tokens. Where two heads want the last token of one semaphore in the same cycle, the sequencer and then
the lower engine number wins: a program must not depend on it (one semaphore, one taker).

What is given is counted a cycle later, and seen at once: a semaphore has a token if its count or what comes to it is
not zero. So neither an engine's `done` nor who takes what is before the counters' adders in a cycle.
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
from tapeout.chip.rtl.head_fifo import HeadFifo

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
    and nothing is in flight. `overflow`: a token too many, two cycles after it was given.
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
        return (HeadFifo(QUEUED.size, QUEUE), HeadFifo(SEMAPHORES, IN_FLIGHT))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        n = len(ENGINES)
        counts = [Signal(COUNT_BITS, name=f"tokens{s}") for s in range(SEMAPHORES)]
        given = [Signal(SEMAPHORES, name=f"given{k}") for k in range(n + 1)]  # by engines, by the sequencer
        some = Signal(SEMAPHORES)
        m.d.comb += some.eq(Cat(Cat(c, *(g[s] for g in given)).any() for s, c in enumerate(counts)))
        queues = [place(m, f"queue{k}", HeadFifo(QUEUED.size, QUEUE)) for k in range(n)]
        flying = [place(m, f"flying{k}", HeadFifo(SEMAPHORES, IN_FLIGHT)) for k in range(n)]
        m.d.comb += self.push.ready.eq(Array(q.i.ready for q in queues)[self.push.payload.engine])
        taken = Signal(SEMAPHORES, name="taken_own")
        m.d.comb += [
            self.own_granted.eq(self.own_request & ~(self.own_wait & ~some).any()),
            taken.eq(self.own_wait & self.own_granted.replicate(SEMAPHORES)),
        ]
        takes: list[Value] = [taken]
        gives: list[Value] = []
        before: list[tuple[Value, Value]] = [(self.own_granted, self.own_wait)]  # who may take now, and what
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
            # of those before it, only one that takes now keeps a token from it; that two want the same is known early
            first = Cat(able_one & (head.wait & wait).any() for able_one, wait in before).any()
            m.d.comb += [
                able.eq(queues[k].o.valid & ~held & ~(head.wait & ~some).any() & ~first),
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
            before.append((able, head.wait))
            gives.append(flying[k].o.payload & (self.done[k] & flying[k].o.valid).replicate(SEMAPHORES))
            idle = idle & ~queues[k].o.valid & ~flying[k].o.valid
        m.d.comb += self.idle.eq(idle)
        for give, one in zip(given, [*gives, self.own_give], strict=True):
            m.d.sync += give.eq(Mux(self.clear, 0, one))
        full = []
        for s, count in enumerate(counts):
            down = Cat(t[s] for t in takes).any()
            up = sum((g[s] for g in given), Const(0, 1))
            over = Signal(name=f"over{s}")
            # both outcomes beside the question whether one is taken
            more, less = (Signal(COUNT_BITS + 2, name=f"{x}{s}") for x in ("more", "less"))
            m.d.comb += [more.eq(count + up), less.eq(count + up - 1)]
            kept, left = (Mux(x > SEMAPHORE_MAX, SEMAPHORE_MAX, x[:COUNT_BITS]) for x in (more, less))
            m.d.sync += [
                count.eq(Mux(self.clear, 0, Mux(down, left, kept))),
                over.eq(Mux(down, less > SEMAPHORE_MAX, more > SEMAPHORE_MAX)),
            ]
            full.append(over)
        m.d.comb += self.overflow.eq(Cat(full).any())
        return m
