"""The scratchpad's arbitration and its promise to the answer queues.

The banks are opaque: what they store is the subject of the SECDED proofs and of the tests. The queues are opaque too,
with what `FifoProof` shows of them given: they are valid exactly while they hold something.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal

from tapeout.chip.rtl.scratchpad import QUEUE, READ_LATENCY, Scratchpad
from tapeout.chip.verification.formal import Proof


class ScratchpadProof(Proof):
    """Claims: no grant without a request; two grants in one cycle are of different banks; if any request can go,
    one does; a request that can go waits fewer cycles than twice the ports; an answer always finds room in its queue:
    credits, reads under way and answers that wait add up to the queue's size."""

    def __init__(self, block: Scratchpad) -> None:
        n = len(block.ports)
        self.opaque = tuple(b.module_name for b in block.placed())
        self.inside = {
            name: width
            for k in range(n)
            for name, width in (
                (f"credit{k}", QUEUE.bit_length()),
                (f"queue{k}__i__valid", 1),
            )
        }
        self.k = max(2 * n + 1, READ_LATENCY + 1)
        self.depth = 2 * self.k
        super().__init__(block)

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        block: Any = self.block
        n, bank_bits = len(block.ports), (block.banks - 1).bit_length()
        requests = [getattr(dut, f"request{k}") for k in range(n)]
        able, granted, banks = [], [], []
        for k, (r, words) in enumerate(zip(requests, block.ports, strict=True)):
            self.given_held(m, r, f"request{k}")
            self.claim(m, ~r.ready | r.valid)
            can, go = Signal(name=f"can{k}"), Signal(name=f"go{k}")
            m.d.comb += [
                can.eq(r.valid & (r.payload.write | seen[f"credit{k}"].any())),
                go.eq(r.valid & r.ready),
            ]
            able.append(can)
            granted.append(go)
            group = r.payload.address[:bank_bits] >> (words - 1).bit_length()
            mask = Signal(block.banks, name=f"banks{k}")
            m.d.comb += mask.eq(Cat(group == b // words for b in range(block.banks)))
            banks.append(mask)

            waited = Signal(range(2 * n + 2), name=f"waited{k}")
            m.d.sync += waited.eq(Mux(can & ~go, waited + 1, 0))
            self.claim(m, waited < 2 * n)

            flight = Signal(READ_LATENCY - 1, name=f"flight{k}")
            m.d.sync += flight.eq(Cat(go & ~r.payload.write, flight))
            under_way = sum((flight[i] for i in range(1, len(flight))), flight[0])
            answer, arrives = getattr(dut, f"answer{k}"), seen[f"queue{k}__i__valid"]
            held = Signal(range(2 * QUEUE), name=f"held{k}")
            m.d.sync += held.eq(held + arrives - (answer.valid & answer.ready))
            self.given(m, answer.valid == (self.started & (held != 0)))
            self.claim(m, seen[f"credit{k}"] + under_way + held == QUEUE)
            self.claim(m, arrives == flight[-1])
            self.claim(m, ~arrives | (held != QUEUE))
        self.claim(m, Cat(granted).any() == Cat(able).any())
        for k in range(n):
            for j in range(k):
                self.claim(m, ~(granted[k] & granted[j]) | ((banks[k] & banks[j]) == 0))
