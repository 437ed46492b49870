"""The core's scoreboard: tokens of semaphores, and commands that wait for them.

The queues are opaque, with what `FifoProof` shows of them given: what they offer stays until it is taken, and room
that is there stays until it is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal

from tapeout.chip.isa.definition import SEMAPHORE_MAX, SEMAPHORES
from tapeout.chip.rtl.sequencer_dispatch import COUNT_BITS, ENGINES, QUEUED, SequencerDispatch
from tapeout.chip.verification.formal import Proof


class DispatchProof(Proof):
    """Claims: a token is taken only where there is one, and by one taker; but for saturation and `clear`, tokens
    after a cycle are those before, less the taken, plus those given in the cycle before; a command is offered exactly
    once its tokens were taken, once each; and what is offered to an engine stays until it is taken."""

    k, depth = 2, 4

    def __init__(self, block: SequencerDispatch) -> None:
        self.opaque = tuple(b.module_name for b in block.placed())
        self.inside = {f"tokens{s}": COUNT_BITS for s in range(SEMAPHORES)} | {"taken_own": SEMAPHORES}
        self.inside |= {f"given{k}": SEMAPHORES for k in range(len(ENGINES) + 1)}
        for k in range(len(ENGINES)):
            self.inside |= {
                f"wants{k}": SEMAPHORES, f"able{k}": 1, f"held{k}": 1, f"head{k}": QUEUED.size,
                f"queue{k}__o__valid": 1,
                f"flying{k}__i__ready": 1, f"flying{k}__o__valid": 1, f"flying{k}__o__payload": SEMAPHORES,
            }  # fmt: skip
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        takes, gives = [seen["taken_own"]], []
        for k in range(len(ENGINES)):
            command = getattr(dut, f"command{k}")
            fire, head = command.valid & command.ready, seen[f"head{k}"]
            # what the queues promise
            offered, was_head = Signal(name=f"offered{k}"), Signal(QUEUED.size, name=f"was_head{k}")
            room = Signal(name=f"room{k}")
            m.d.sync += [
                offered.eq(seen[f"queue{k}__o__valid"] & ~fire),
                was_head.eq(head),
                room.eq(seen[f"flying{k}__i__ready"] & ~fire),
            ]
            self.given(m, ~offered | (seen[f"queue{k}__o__valid"] & (head == was_head)))
            self.given(m, ~room | seen[f"flying{k}__i__ready"])

            self.claim_held(m, command, f"command{k}")
            paid = Signal(name=f"paid{k}")
            with m.If(fire):
                m.d.sync += paid.eq(0)
            with m.Elif(seen[f"able{k}"]):
                m.d.sync += paid.eq(1)
            self.claim(m, paid == seen[f"held{k}"])
            self.claim(m, ~command.valid | paid)
            self.claim(m, ~seen[f"able{k}"] | ~paid)
            self.claim(m, ~paid | seen[f"queue{k}__o__valid"])
            # the mask taken is the command's own, whole or not at all
            wait = head[:SEMAPHORES]
            self.claim(m, seen[f"wants{k}"] == (wait & seen[f"able{k}"].replicate(SEMAPHORES)))
            takes.append(seen[f"wants{k}"])
            done = dut.done[k] & seen[f"flying{k}__o__valid"]
            gives.append(seen[f"flying{k}__o__payload"] & done.replicate(SEMAPHORES))
        # what is given is counted a cycle later
        begun = Signal()
        m.d.sync += begun.eq(1)
        for k, give in enumerate([*gives, dut.own_give]):
            was = Signal(SEMAPHORES, name=f"was_given{k}")
            m.d.sync += was.eq(Mux(dut.clear, 0, give))
            self.claim(m, ~begun | (seen[f"given{k}"] == was))
        given = [seen[f"given{k}"] for k in range(len(ENGINES) + 1)]
        for s in range(SEMAPHORES):
            tokens = seen[f"tokens{s}"]
            down = sum((t[s] for t in takes), Const(0, 1))
            up = sum((g[s] for g in given), Const(0, 1))
            self.claim(m, (down == 0) | ((down == 1) & (tokens + up != 0)))
            expected = Signal(COUNT_BITS + 3, name=f"expected{s}")
            cleared = Signal(name=f"cleared{s}")
            m.d.sync += [expected.eq(tokens + up - down), cleared.eq(dut.clear)]
            with m.If(begun & cleared):
                self.claim(m, tokens == 0)
            with m.Elif(begun & (expected <= SEMAPHORE_MAX)):
                self.claim(m, tokens == expected)
            with m.Elif(begun):
                self.claim(m, (tokens == SEMAPHORE_MAX) & dut.overflow)
