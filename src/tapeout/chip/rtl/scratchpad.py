"""The scratchpad: banks of SRAM behind a crossbar, SECDED on every 64 bits, errors counted and injectable.

Words are interleaved over the banks (word address modulo banks). A port is `words` wide (a power of two): an
access takes that many consecutive words, aligned, all in one cycle from as many banks. Requests of different
ports that touch different banks are served together. Where they clash, urgent ports go first: the weights, which the
matrix engine takes every cycle, while every other port is wide enough for its engine to need no more than about half
of the cycles. Priority rotates among the others by one port every cycle, upwards then downwards, so any two get equal
shares; it stays where it is while an urgent port keeps the first from its bank. A waiting request is served
within twice as many cycles as there are such ports, doubled if there is an urgent one, given that this takes no
bank in two cycles running, which a stream of consecutive words does not. Reads of a port return in order.

| cycle | work |
|---|---|
| 0 | the request is accepted: arbitration, crossbar |
| 1 | check bits of writes |
| 2 | SRAM |
| 3 | syndrome and correction |
| 4 | to the port's answer queue; a read answers in cycle READ_LATENCY if nothing waits before it |

A write is seen by every request accepted in a later cycle. Corrected data go to the reader; the stored word is
left as it is. A double error delivers the data as stored; it is counted and told with its place.

After reset every word is cleared, a row a cycle, so that no word is read whose check bits mean nothing (a word may
be read of which a program wrote only some granules). Whoever uses the scratchpad waits until `clearing` is 0.

Parity (`parity`): writes bring theirs, and the check bits made of what arrived must add up to it; answers take
theirs from the check bits through the queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, Value
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block, delay, gated_clock, place, register
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.head_fifo import queue_of
from tapeout.chip.rtl.pad_port import PadPort
from tapeout.chip.rtl.population import Population
from tapeout.chip.rtl.secded import DATA, WORD, SecdedDecode, SecdedEncode
from tapeout.chip.rtl.sram import SRAM_1RW

READ_LATENCY = 5
COUNTER_BITS = 32


class Register(Block):
    """q is d of the last clock; a block, so that a simulator may leave its clock out."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"d": In(width), "q": Out(width)})

    @property
    def module_name(self) -> str:
        return f"register_{self.width}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.q.eq(register(m, self.d))
        return m


class ScratchpadBank(Block):
    """Check bits, SRAM, correction: cycles 1 to 4 of the table above.

    `enable` with `write` (a bit per granule) or, if none, a read of `row`; `fixed` and its `fixed_parity` appear three
    cycles later, with the counts of granules in which one bit or two were wrong. `parity`: with `word`, as its
    sender made it; `mismatch`: of a write, three cycles later. `at` is the row of what is told.
    """

    def __init__(self, depth: int, word_bytes: int) -> None:
        self.depth, self.word_bytes, self.granules = depth, word_bytes, word_bytes // 8
        self.register, self.population = Register(WORD * self.granules), Population(self.granules)
        count = bits_for_index(self.granules + 1)
        super().__init__(
            {
                "enable": In(1), "read": In(1), "row": In(bits_for_index(depth)), "write": In(self.granules),
                "word": In(8 * word_bytes), "inject": In(2), "fixed": Out(8 * word_bytes),
                "corrected": Out(count), "wrong": Out(count), "parity": In(self.granules),
                "fixed_parity": Out(self.granules), "mismatch": Out(1), "at": Out(bits_for_index(depth)),
                "clearing": Out(1),
            }
        )  # fmt: skip

    @property
    def module_name(self) -> str:
        return f"scratchpad_bank_{self.depth}x{self.word_bytes}"

    def placed(self) -> Iterable[Block]:
        return (SecdedEncode(), SecdedDecode(), self.register, self.population)

    def foreign(self) -> Iterable[str]:
        return (SRAM_1RW,)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        stored, fixed, single, double, read_parity, write_parity = [], [], [], [], [], []
        q = Signal(WORD * self.granules)
        for g in range(self.granules):
            encoder, decoder = place(m, f"encode{g}", SecdedEncode()), place(m, f"decode{g}", SecdedDecode())
            granule = self.word[DATA * g : DATA * g + DATA]
            m.d.comb += [encoder.word.eq(granule), decoder.word.eq(q[WORD * g : WORD * g + WORD])]
            word = Cat(granule, encoder.check)
            stored.append(word if g else word ^ Cat(self.inject.any(), self.inject[1]))
            fixed.append(decoder.fixed)
            single.append(decoder.one_wrong)
            double.append(decoder.two_wrong)
            read_parity.append(decoder.parity)
            write_parity.append(encoder.check.xor())  # the parity of the data, every column being odd
        # the zeros of a word that nobody sends are a codeword
        clearing, cleared = Signal(init=1), Signal(bits_for_index(self.depth))
        m.d.comb += self.clearing.eq(clearing)
        with m.If(clearing):
            m.d.sync += cleared.eq(cleared + 1)
            with m.If(cleared == self.depth - 1):
                m.d.sync += [clearing.eq(0), cleared.eq(0)]
        enable, row = self.enable | clearing, self.row | cleared
        write = self.write | clearing.replicate(self.granules)
        data = place(m, "data", self.register, active=write.any())
        m.d.comb += data.d.eq(Cat(*stored))
        enabled = delay(m, enable, 1, reset=True)
        m.submodules.sram = Instance(
            "sram_1rw",
            p_WIDTH=WORD * self.granules, p_DEPTH=self.depth, p_GRANULE=WORD, p_INDEX=bits_for_index(self.depth),
            i_clk=gated_clock(m, "sram", enabled), i_enable=enabled,
            i_write=register(m, write), i_address=register(m, row), i_data=data.q, o_q=q,
        )  # fmt: skip
        reads = delay(m, self.read, 2, reset=True)
        reading = reads.replicate(self.granules)
        held, differ = (Signal(self.granules, name=n, reset_less=True) for n in ("held_parity", "differ"))
        with m.If(reads):
            m.d.sync += held.eq(Cat(*read_parity))
        with m.If(self.write.any()):
            m.d.sync += differ.eq((Cat(*write_parity) ^ self.parity) & self.write)
        differs = delay(m, self.write.any(), 1, reset=True) & differ.any()
        corrected, wrong = (place(m, n, self.population) for n in ("count_corrected", "count_wrong"))
        ones, twos = (
            delay(m, Cat(*single) & reading, 1, reset=True),
            delay(m, Cat(*double) & reading, 1, reset=True),
        )
        m.d.comb += [
            self.fixed.eq(register(m, Cat(*fixed))),
            corrected.word.eq(ones),
            self.corrected.eq(corrected.count),
            wrong.word.eq(twos),
            self.wrong.eq(wrong.count),
            self.fixed_parity.eq(held),
            self.mismatch.eq(delay(m, differs, 2, reset=True)),
            self.at.eq(delay(m, self.row, 3, name="at")),
        ]
        return m


class Scratchpad(Block):
    """Ports: request{k} {address (in words), write, mask (a bit per 8 bytes), data}, answer{k} (data of reads);
    `sent_parity{k}` of a write, a bit per 8 bytes, in the cycle after it was taken; `answer_parity{k}` with the answer.

    `two_wrong`, `mismatch`: pulses, a double error read, a write whose parity is wrong; `at`: the address, in words,
    of the first of them in that cycle. `ports`: `PadPort`, or a number of words for one that reads and writes.
    `inject`: while 1, every write stores its lowest granule with one wrong bit; while 2, with two. `corrected`,
    `uncorrectable`: saturating counts of granules read so.
    """

    def __init__(
        self,
        banks: int = 8,
        depth: int = 512,
        word_bytes: int = 32,
        ports: Sequence[int | PadPort] = (4, 1, 1, 1),
    ) -> None:
        for name, n in (("banks", banks), ("depth", depth), ("word_bytes", word_bytes)):
            if n & (n - 1) or n < 1:
                raise ValueError(f"{name} {n} is not a power of two")
        self.kinds = tuple(p if isinstance(p, PadPort) else PadPort(words=p) for p in ports)
        self.ports = tuple(p.words for p in self.kinds)
        if word_bytes < 8 or any(p & (p - 1) or not 1 <= p <= banks for p in self.ports):
            raise ValueError(f"ports of {self.ports} words on {banks} banks of {word_bytes} bytes")
        self.banks, self.depth, self.word_bytes = banks, depth, word_bytes
        self.granules = word_bytes // 8
        self.bank, self.word = ScratchpadBank(depth, word_bytes), Register(8 * word_bytes)
        self.address_bits = (banks * depth - 1).bit_length()
        members: dict[str, Any] = {}
        for k, port in enumerate(self.kinds):
            members[f"request{k}"] = In(stream.Signature(port.request(banks * depth, word_bytes)))
            if port.reads:
                members[f"answer{k}"] = Out(stream.Signature(8 * word_bytes * port.words))
                members[f"answer_parity{k}"] = Out(self.granules * port.words)
            if port.writes:
                members[f"sent_parity{k}"] = In(self.granules * port.words)
        super().__init__(
            members
            | {
                "inject": In(2), "corrected": Out(COUNTER_BITS), "uncorrectable": Out(COUNTER_BITS),
                "two_wrong": Out(1), "mismatch": Out(1), "at": Out(self.address_bits), "clearing": Out(1),
            }
        )  # fmt: skip

    @property
    def module_name(self) -> str:
        return f"scratchpad_{self.banks}x{self.depth}x{self.word_bytes}_" + "_".join(
            p.code for p in self.kinds
        )

    def placed(self) -> Iterable[Block]:
        return (self.bank, self.word, *(self.queue(p) for p in self.kinds if p.reads))

    def queue(self, port: PadPort) -> Fifo:
        """Where a port's answers wait, each with its parity behind it."""
        return queue_of((8 * self.word_bytes + self.granules) * port.words, port.queue)

    def writes(self, k: int, request: Any) -> Value:
        """Whether a request of port k writes."""
        kind = self.kinds[k]
        return Value.cast(request.payload.write) if kind.reads and kind.writes else Const(int(kind.writes), 1)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        n, bank_bits = len(self.ports), (self.banks - 1).bit_length()
        requests = [getattr(self, f"request{k}") for k in range(n)]
        queues = {k: place(m, f"queue{k}", self.queue(p)) for k, p in enumerate(self.kinds) if p.reads}

        # 0: who may go. `credit`: answers not yet in the queue's hands.
        wanted, able = [], []
        for k, (r, port) in enumerate(zip(requests, self.kinds, strict=True)):
            words = port.words
            first = r.payload.address[:bank_bits] if bank_bits else Const(0, 1)
            group = first[(words - 1).bit_length() :] if bank_bits else first
            mask = Cat(
                (group == b // words if self.banks > words else Const(1, 1)).replicate(words)
                for b in range(0, self.banks, words)
            )
            able.append(r.valid)
            if port.reads:
                credit = Signal(range(port.queue + 1), init=port.queue, name=f"credit{k}")
                some = Signal(init=1, name=f"some{k}")  # credit is not 0
                able[k] = r.valid & (self.writes(k, r) | some)
                taken = r.valid & r.ready & ~self.writes(k, r)
                returned = queues[k].o.valid & queues[k].o.ready
                m.d.sync += [
                    credit.eq(credit - taken + returned),
                    some.eq((credit > 1) | returned | (some & ~taken)),
                ]
            wanted.append(Mux(able[k], mask, 0))
        grants = [Signal(name=f"grant{k}") for k in range(n)]
        for k in range(n):
            m.d.comb += requests[k].ready.eq(grants[k])
        urgent = [k for k, p in enumerate(self.kinds) if p.urgent]
        others = [k for k in range(n) if k not in urgent]
        self._arbitrate(m, urgent, others, able, wanted, grants)

        corrected: list[Value] = []
        wrong: list[Value] = []
        words_out, parities_out = [], []
        at: Value = Const(0, self.address_bits)
        banks = [self._bank(m, b, requests, grants, wanted, bank_bits) for b in range(self.banks)]
        for b, bank in reversed(list(enumerate(banks))):
            at = Mux(bank.wrong.any() | bank.mismatch, Cat(Const(b, bank_bits), bank.at), at)
        m.d.sync += [
            self.two_wrong.eq(Cat(bank.wrong.any() for bank in banks).any()),
            self.mismatch.eq(Cat(bank.mismatch for bank in banks).any()),
            self.at.eq(at),
        ]
        m.d.comb += self.clearing.eq(banks[0].clearing)
        for bank in banks:
            words_out.append(bank.fixed)
            parities_out.append(bank.fixed_parity)
            corrected.append(bank.corrected)
            wrong.append(bank.wrong)
        self._count(m, corrected, self.corrected)
        self._count(m, wrong, self.uncorrectable)

        for k, queue in queues.items():
            r, words = requests[k], self.ports[k]
            reads = delay(m, grants[k] & ~self.writes(k, r), READ_LATENCY - 1, reset=True, name=f"reads{k}")
            which = r.payload.address[(words - 1).bit_length() : bank_bits]
            chosen: Any = Cat(*words_out, *parities_out)
            bits = 8 * self.word_bytes * words
            if len(which):
                which_before = delay(m, which, READ_LATENCY - 2, name=f"which{k}")
                groups = range(self.banks // words)
                chosen = Const(0, bits + self.granules * words)
                for g in groups:
                    here, mine = register(m, which_before == g), slice(g * words, (g + 1) * words)
                    group = Cat(*words_out[mine], *parities_out[mine])
                    chosen = chosen | Mux(here, group, 0)
            m.d.comb += [
                queue.i.valid.eq(reads),
                queue.i.payload.eq(chosen),
                getattr(self, f"answer{k}").payload.eq(queue.o.payload[:bits]),
                getattr(self, f"answer_parity{k}").eq(queue.o.payload[bits:]),
                getattr(self, f"answer{k}").valid.eq(queue.o.valid),
                queue.o.ready.eq(getattr(self, f"answer{k}").ready),
            ]
        return m

    def _orders(self) -> list[list[int]]:
        """The ports that are not urgent, in the order of each turn."""
        others = [k for k, p in enumerate(self.kinds) if not p.urgent]
        n = len(others)
        return [[others[(start + (i if start < n else -i)) % n] for i in range(n)] for start in range(2 * n)]

    def turns_of_leaders(self) -> dict[int, list[int]]:
        """Turns in which a port comes before all others."""
        orders = self._orders()
        return {k: [i for i, o in enumerate(orders) if o[0] == k] for k in (orders[0] if orders else ())}

    def turns_of_pairs(self) -> dict[tuple[int, int], list[int]]:
        """Turns in which the first of two ports comes before the second."""
        orders = self._orders()
        pairs = [(j, k) for j in sorted(orders[0]) for k in sorted(orders[0]) if j < k] if orders else []
        return {(j, k): [i for i, o in enumerate(orders) if o.index(j) < o.index(k)] for j, k in pairs}

    def _arbitrate(
        self,
        m: Module,
        urgent: list[int],
        others: list[int],
        able: list[Value],
        wanted: list[Value],
        grants: list[Signal],
    ) -> None:
        """Who goes in this cycle."""
        n = max(len(others), 1)
        turn = Signal(range(2 * n))
        following = Signal(range(2 * n))
        kept = Signal()  # the one whose turn it is waits for an urgent one
        m.d.comb += following.eq(Mux(turn == 2 * n - 1, 0, turn + 1))
        with m.If(~kept):
            m.d.sync += turn.eq(following)

        def during(turns: list[int], name: str) -> Signal:
            """Whether it is one of these turns: a register, so that no decoding is in the way of a request."""
            is_one = Signal(name=name, init=0 in turns)
            with m.If(~kept):
                m.d.sync += is_one.eq(Cat(following == i for i in turns).any())
            return is_one

        if urgent and others:
            leads = {k: during(turns, f"leads{k}") for k, turns in self.turns_of_leaders().items()}
            m.d.comb += kept.eq(Cat(leads[k] & able[k] & ~grants[k] for k in others).any())
        before = {(j, k): during(t, f"before{j}_{k}") for (j, k), t in self.turns_of_pairs().items()}
        # All pairs at once: a port goes if no other before it wants a bank of its own. One that loses keeps its banks
        # from those behind it, so wide ones are not starved.
        for k in [*urgent, *others]:
            clashes: list[Value] = []
            for j in [*urgent, *others]:
                if j == k or (k in urgent and (j in others or urgent.index(j) > urgent.index(k))):
                    continue
                both = (wanted[j] & wanted[k]).any()
                if j in others:
                    both &= before[j, k] if j < k else ~before[k, j]
                clashes.append(both)
            m.d.comb += grants[k].eq(able[k] & ~Cat(clashes).any())

    def _bank(
        self,
        m: Module,
        b: int,
        requests: list[Any],
        grants: list[Signal],
        wanted: list[Value],
        bank_bits: int,
    ) -> Any:
        """One bank and its slice of the crossbar."""
        bits, index = 8 * self.word_bytes, bits_for_index(self.depth)
        enable: Value = Const(0, 1)
        row: Value = Const(0, index)
        write: Value = Const(0, self.granules)
        word: Value = Const(0, bits)
        writing: Value = Const(0, 1)
        parity: Value = Const(0, self.granules)
        for k, r in enumerate(requests):
            lane = b % self.ports[k]
            mine = grants[k] & wanted[k][b]
            enable = enable | mine
            row = row | Mux(mine, r.payload.address[bank_bits:], 0)
            if self.kinds[k].writes:
                mask = r.payload.mask[lane * self.granules : (lane + 1) * self.granules]
                write = write | Mux(mine & self.writes(k, r), mask, 0)
                word = word | Mux(mine, r.payload.data[lane * bits : (lane + 1) * bits], 0)
                writing = writing | (mine & self.writes(k, r))
                sent = getattr(self, f"sent_parity{k}")[lane * self.granules : (lane + 1) * self.granules]
                parity = parity | Mux(delay(m, mine, 1, reset=True, name=f"sent{k}_{b}"), sent, 0)
        bank = place(m, f"bank{b}", self.bank)
        held = place(m, f"word{b}", self.word, active=(enable & writing) | bank.clearing)
        m.d.comb += held.d.eq(word)
        m.d.comb += [
            bank.enable.eq(delay(m, enable, 1, reset=True, name=f"enable{b}")),
            bank.read.eq(delay(m, enable & ~writing, 1, reset=True, name=f"read{b}")),
            bank.row.eq(delay(m, row, 1, name=f"row{b}")),
            bank.write.eq(delay(m, write, 1, name=f"write{b}")),
            bank.word.eq(held.q),
            bank.inject.eq(self.inject),
            bank.parity.eq(parity),
        ]
        return bank

    def _count(self, m: Module, events: list[Value], counter: Signal) -> None:
        """Adds the banks' events of a cycle, and stays at the largest count."""
        now = delay(m, sum(events, Const(0, 1)), 1, reset=True, name="events_now")
        total = Signal(COUNTER_BITS + 1)
        m.d.comb += total.eq(counter + now)
        m.d.sync += counter.eq(Mux(total[COUNTER_BITS], (1 << COUNTER_BITS) - 1, total[:COUNTER_BITS]))
