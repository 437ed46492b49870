"""The scratchpad's arbitration and its promise to the answer queues.

The banks are opaque: what they store is the subject of the SECDED proofs and of the tests. The queues are opaque too,
with what `FifoProof` shows of them given: they are valid exactly while they hold something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal

from tapeout.chip.rtl.scratchpad import READ_LATENCY, Scratchpad
from tapeout.chip.verification.formal import Proof


class ScratchpadProof(Proof):
    """Claims: no grant without a request; two grants in one cycle are of different banks; if any request can go,
    one does; a request of an urgent port that can go goes; another waits fewer cycles than twice the ports that are not
    urgent, doubled if there is an urgent one that takes no bank in two cycles running; an answer always finds room in
    its queue: credits, reads under way and answers that wait add up to the queue's size. Registers that say in advance
    whose turn it is, and whether there is credit, say what turn and credit do. At most one port is urgent."""

    def __init__(self, block: Scratchpad) -> None:
        self.opaque = tuple(b.module_name for b in block.placed())
        self.inside = {
            name: width
            for k, port in enumerate(block.kinds)
            if port.reads
            for name, width in (
                (f"credit{k}", port.queue.bit_length()),
                (f"queue{k}__i__valid", 1),
                (f"some{k}", 1),
            )
        }
        # what the turn decides is held in registers: each a function of the turn
        self.decided = {f"before{j}_{k}": turns for (j, k), turns in block.turns_of_pairs().items()}
        if any(p.urgent for p in block.kinds):
            self.decided |= {f"leads{k}": turns for k, turns in block.turns_of_leaders().items()}
        self.turns = 2 * max(sum(not p.urgent for p in block.kinds), 1)
        if self.decided:
            self.inside |= {"turn": (self.turns - 1).bit_length(), **dict.fromkeys(self.decided, 1)}
        urgent = any(p.urgent for p in block.kinds)
        self.wait = 2 * sum(not p.urgent for p in block.kinds) * (2 if urgent else 1)
        self.k = max(self.wait + 1, READ_LATENCY + 1)
        self.depth = 2 * self.k
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        n, bank_bits = len(block.ports), (block.banks - 1).bit_length()
        requests = [getattr(dut, f"request{k}") for k in range(n)]
        able, granted, banks = [], [], []
        for name, turns in self.decided.items():
            self.claim(m, seen[name] == Cat(seen["turn"] == t for t in turns).any())
        if self.decided:
            self.claim(m, seen["turn"] < self.turns)
        for k, (r, port) in enumerate(zip(requests, block.kinds, strict=True)):
            words, writes = port.words, block.writes(k, r)
            self.given_held(m, r, f"request{k}")
            self.claim(m, ~r.ready | r.valid)
            can, go = Signal(name=f"can{k}"), Signal(name=f"go{k}")
            m.d.comb += [
                can.eq(r.valid & ((writes | seen[f"credit{k}"].any()) if port.reads else 1)),
                go.eq(r.valid & r.ready),
            ]
            able.append(can)
            granted.append(go)
            group = r.payload.address[:bank_bits] >> (words - 1).bit_length()
            mask = Signal(block.banks, name=f"banks{k}")
            m.d.comb += mask.eq(Cat(group == b // words for b in range(block.banks)))
            banks.append(mask)

            if port.urgent:
                self.claim(m, ~can | go)
                before = Signal(block.banks, name=f"before{k}")
                m.d.sync += before.eq(Mux(go, mask, 0))
                self.given(m, ~r.valid | ((mask & before) == 0))
            else:
                waited = Signal(range(self.wait + 2), name=f"waited{k}")
                m.d.sync += waited.eq(Mux(can & ~go, waited + 1, 0))
                self.claim(m, waited < self.wait)
            if not port.reads:
                continue

            flight = Signal(READ_LATENCY - 1, name=f"flight{k}")
            m.d.sync += flight.eq(Cat(go & ~writes, flight))
            under_way = sum((flight[i] for i in range(1, len(flight))), flight[0])
            answer, arrives = getattr(dut, f"answer{k}"), seen[f"queue{k}__i__valid"]
            held = Signal(range(2 * port.queue), name=f"held{k}")
            m.d.sync += held.eq(held + arrives - (answer.valid & answer.ready))
            self.given(m, answer.valid == (self.started & (held != 0)))
            self.claim(m, seen[f"some{k}"] == seen[f"credit{k}"].any())
            self.claim(m, seen[f"credit{k}"] + under_way + held == port.queue)
            self.claim(m, arrives == flight[-1])
            self.claim(m, ~arrives | (held != port.queue))
        self.claim(m, Cat(granted).any() == Cat(able).any())
        for k in range(n):
            for j in range(k):
                self.claim(m, ~(granted[k] & granted[j]) | ((banks[k] & banks[j]) == 0))
