"""The sequencer: fetches, decodes, executes its own instructions, dispatches the others.

One instruction at a time, a cycle per state; the engines work for tens to thousands of cycles on each, so what
counts here is small logic and a time that can be told in advance:

| state | work |
|---|---|
| FETCH | the word at pc, when the window has it |
| DECODE | reserved bits and codes; which engine |
| READ | two registers (a scalar instruction's a and b; four times for an engine's eight slots) |
| ADD | b + imm |
| EXECUTE | waits for its tokens; the result, the branch, the loop; gives its tokens |
| MULTIPLY, ACCESS | six more cycles of `mul`; the scratchpad's answer to `read` |
| PUSH | into the engine's queue, when it has room |
| CLEAR | after the doorbell: registers become 0, one a cycle |
| NEXT | closes loops that end here, checks that pc stays inside |
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import (
    ARGUMENTS,
    IMMEDIATE_LOW,
    LOOP_DEPTH,
    PC_BITS,
    REGISTER_BITS,
    REGISTERS,
    SEMAPHORES,
    SIGNAL_LOW,
    SLOT_BITS,
    SLOT_LOW,
    SLOTS,
    WAIT_LOW,
    WORD_BITS,
    Cause,
    Engine,
)
from tapeout.chip.isa.registry import instructions
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.sequencer_decode import legality
from tapeout.chip.rtl.sequencer_dispatch import COMMAND, ENGINES, SequencerDispatch
from tapeout.chip.rtl.sequencer_fetch import SequencerFetch

CAUSE_BITS = 4


def pad_request(words: int, word_bytes: int) -> data.StructLayout:
    """What a port of one word asks the scratchpad, as `Scratchpad.request` has it."""
    return data.StructLayout(
        {"address": (words - 1).bit_length(), "write": 1, "mask": word_bytes // 8, "data": 8 * word_bytes}
    )


class State(enum.Enum, shape=4):  # type: ignore[call-arg]
    """What the sequencer is doing."""

    IDLE = 0
    FETCH = 1
    DECODE = 2
    READ = 3
    ADD = 4
    EXECUTE = 5
    MULTIPLY = 6
    ACCESS = 7
    PUSH = 8
    NEXT = 9
    STOPPED = 10
    CLEAR = 11


class Sequencer(Block):
    """`start` (with base and arguments as they should be used): runs a program. `running` until it halts or traps:
    then `halted` or `trapped` pulses, with `cause` and `at` (the instruction's number; engines' errors
    come with the number of what the sequencer was at).

    `names`: the instructions that the core's engines can do; others trap as unknown. `engine_error`,
    `engine_cause`: an engine's trap. `interrupt`: a stream of codes to the host, that of `halt` the last.
    """

    def __init__(
        self, port_bytes: int, pad_bytes: int, word_bytes: int, names: frozenset[str] | None = None
    ) -> None:
        self.fetch = SequencerFetch(port_bytes)
        self.dispatch = SequencerDispatch()
        self.pad_bytes, self.word_bytes = pad_bytes, word_bytes
        self.names = frozenset(instructions()) if names is None else names
        self.pad_words = pad_bytes // word_bytes
        members: dict[str, Any] = {f"command{k}": Out(stream.Signature(COMMAND)) for k in range(len(ENGINES))}
        super().__init__(
            {
                "start": In(1),
                "base": In(REGISTER_BITS),
                "arguments": In(REGISTER_BITS * ARGUMENTS),
                "running": Out(1),
                "halted": Out(1),
                "trapped": Out(1),
                "cause": Out(CAUSE_BITS),
                "at": Out(PC_BITS),
                "interrupt": Out(stream.Signature(16)),
                "line_request": Out(stream.Signature(REGISTER_BITS)),
                "line": In(stream.Signature(data.StructLayout({"data": 8 * port_bytes, "error": 1}))),
                "pad_request": Out(stream.Signature(pad_request(self.pad_words, word_bytes))),
                "pad_answer": In(stream.Signature(8 * word_bytes)),
                "done": In(len(ENGINES)),
                "engine_error": In(1),
                "engine_cause": In(CAUSE_BITS),
                "retired": Out(1),
                "blocked": Out(len(ENGINES)),
            }
            | members
        )

    @property
    def module_name(self) -> str:
        text = f"sequencer_{self.fetch.port_bytes}_{self.pad_bytes}_{self.word_bytes}"
        if self.names == frozenset(instructions()):
            return text
        mask = sum(1 << one.opcode for one in instructions().values() if one.name in self.names)
        return f"{text}_{mask:x}"

    def placed(self) -> Iterable[Block]:
        return (self.fetch, self.dispatch)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        fetch, dispatch = place(m, "fetch", self.fetch), place(m, "dispatch", self.dispatch)
        state = Signal(State)
        pc, word = Signal(PC_BITS), Signal(WORD_BITS, reset_less=True)
        bad = Signal(reset_less=True)
        m.d.comb += [
            self.running.eq((state != State.IDLE) & (state != State.STOPPED)),
            fetch.pc.eq(pc),
            fetch.wants.eq(state == State.FETCH),
            fetch.flush.eq(self.start),
            fetch.base.eq(self.base),
            self.line_request.valid.eq(fetch.request.valid),
            self.line_request.payload.eq(fetch.request.payload),
            fetch.request.ready.eq(self.line_request.ready),
            fetch.answer.valid.eq(self.line.valid),
            fetch.answer.payload.eq(self.line.payload),
            self.line.ready.eq(fetch.answer.ready),
            dispatch.done.eq(self.done),
            self.blocked.eq(dispatch.blocked),
        ]
        for k in range(len(ENGINES)):
            mine, theirs = getattr(self, f"command{k}"), getattr(dispatch, f"command{k}")
            m.d.comb += [
                mine.valid.eq(theirs.valid), mine.payload.eq(theirs.payload), theirs.ready.eq(mine.ready)
            ]  # fmt: skip

        m.submodules.registers = registers = Memory(shape=REGISTER_BITS, depth=REGISTERS, init=[])
        port = registers.write_port()
        reads = [registers.read_port(domain="comb") for _ in range(2)]
        turn = Signal(2)
        operands = [Signal(REGISTER_BITS, name=f"operand{i}", reset_less=True) for i in range(SLOTS)]
        slot = [word[SLOT_LOW + SLOT_BITS * i : SLOT_LOW + SLOT_BITS * (i + 1)] for i in range(SLOTS)]
        engine = word[5:8]
        own = engine == Engine.SEQUENCER
        values = []
        for i, read in enumerate(reads):
            number = Signal(SLOT_BITS, name=f"number{i}")
            m.d.comb += [
                number.eq(Mux(own, slot[1 + i], Array(slot[i::2])[turn])),
                read.addr.eq(number),
            ]
            values.append(Mux(number.any(), read.data, 0))
        imm = word[IMMEDIATE_LOW:]
        opcode = {name: Signal(name=f"is_{name}") for name, one in instructions().items() if one.opcode < 32}
        for name, hit in opcode.items():
            m.d.comb += hit.eq(word[:8] == instructions()[name].opcode)
        wait, signal = word[WAIT_LOW : WAIT_LOW + SEMAPHORES], word[SIGNAL_LOW : SIGNAL_LOW + SEMAPHORES]
        granted = Signal()
        proceeds, finishes = Signal(), Signal()  # EXECUTE has what it waits for; the instruction ends here
        request = Signal()
        taken = Signal()  # its tokens were taken in an earlier cycle of EXECUTE
        m.d.comb += [
            dispatch.own_wait.eq(wait),
            dispatch.own_request.eq(request),
            granted.eq(dispatch.own_granted | taken),
            dispatch.own_give.eq(signal & finishes.replicate(SEMAPHORES)),
        ]
        a, b = operands[1], operands[2]
        result, write = Signal(REGISTER_BITS), Signal()
        cleared = Signal(SLOT_BITS)
        clearing = state == State.CLEAR
        m.d.comb += [
            port.addr.eq(Mux(clearing, cleared, slot[0])),
            port.data.eq(Mux(clearing, 0, result)),
            port.en.eq(write | clearing),
            dispatch.clear.eq(clearing),
        ]
        with m.If(clearing):
            m.d.sync += cleared.eq(cleared + 1)
            with m.If(cleared == REGISTERS - 1):
                m.d.sync += state.eq(State.FETCH)
        trap, cause = Signal(), Signal(Cause)
        next_pc = Signal(PC_BITS)
        m.d.comb += next_pc.eq(pc + 1)
        with m.If(finishes):
            m.d.sync += state.eq(State.NEXT)
        m.d.comb += self.retired.eq(finishes | (self.halted) | ((state == State.PUSH) & dispatch.push.ready))

        known, clean = legality(m, word, self.names)
        push = dispatch.push
        m.d.comb += [
            push.payload.engine.eq(engine - 1),
            push.payload.queued.wait.eq(wait),
            push.payload.queued.signal.eq(signal),
            push.payload.queued.command.opcode.eq(word[:5]),
            push.payload.queued.command.slots.eq(Cat(operands)),
            push.payload.queued.command.imm.eq(imm),
            push.valid.eq(state == State.PUSH),
        ]
        b_imm = Signal(REGISTER_BITS)
        m.d.comb += b_imm.eq(Mux(opcode["branch"], imm[26:48].as_signed(), imm.as_signed()))
        with m.Switch(state):
            with m.Case(State.FETCH), m.If(fetch.present):
                m.d.sync += [word.eq(fetch.word), bad.eq(fetch.bad), state.eq(State.DECODE)]
                m.d.sync += self.at.eq(pc)
            with m.Case(State.DECODE):
                m.d.sync += [state.eq(State.READ), turn.eq(0), taken.eq(0)]
                with m.If(bad):
                    m.d.comb += [trap.eq(1), cause.eq(Cause.MEMORY)]
                with m.Elif(~known):
                    m.d.comb += [trap.eq(1), cause.eq(Cause.OPCODE)]
                with m.Elif(~clean):
                    m.d.comb += [trap.eq(1), cause.eq(Cause.RESERVED)]
            with m.Case(State.READ):
                m.d.sync += turn.eq(turn + 1)
                with m.If(own):
                    m.d.sync += [a.eq(values[0]), b.eq(values[1]), state.eq(State.ADD)]
                with m.Else():
                    for t in range(SLOTS // 2):
                        with m.If(turn == t):
                            m.d.sync += [operands[2 * t].eq(values[0]), operands[2 * t + 1].eq(values[1])]
                    with m.If(turn == SLOTS // 2 - 1):
                        m.d.sync += state.eq(State.PUSH)
            with m.Case(State.ADD):
                m.d.sync += [b.eq(b + b_imm), state.eq(State.EXECUTE)]
            with m.Case(State.PUSH), m.If(push.ready):
                m.d.sync += [pc.eq(next_pc), state.eq(State.NEXT)]
            with m.Case(State.EXECUTE):
                m.d.comb += [request.eq(~taken), proceeds.eq(granted)]
                with m.If(dispatch.own_granted):
                    m.d.sync += taken.eq(1)
        self._arithmetic(m, state, proceeds, opcode, a, b, imm, result, write, finishes)
        self._control(m, state, proceeds, opcode, a, b, imm, pc, next_pc, finishes, trap, cause, dispatch)
        self._access(m, state, proceeds, opcode, a, b, result, write, finishes, trap, cause)
        with m.If(self.start & ~self.running):
            m.d.sync += [state.eq(State.CLEAR), pc.eq(0), cleared.eq(0)]
        with m.If(self.running & (trap | self.engine_error | dispatch.overflow)):
            m.d.sync += [
                state.eq(State.STOPPED),
                self.trapped.eq(1),
                self.cause.eq(Mux(trap, cause, Mux(dispatch.overflow, Cause.SEMAPHORE, self.engine_cause))),
            ]
        with m.Else():
            m.d.sync += self.trapped.eq(0)
        return m

    def _arithmetic(
        self, m: Module, state: Any, proceeds: Value, opcode: dict[str, Signal], a: Signal, b: Signal, imm: Value,
        result: Signal, write: Signal, finishes: Signal,
    ) -> None:  # fmt: skip
        """Results of one cycle, and the product in six."""
        less, equal = Signal(), Signal()
        m.d.comb += [less.eq(a.as_signed() < b.as_signed()), equal.eq(a == b)]
        shift = b[:6]
        arguments = Array(self.arguments.word_select(i, REGISTER_BITS) for i in range(ARGUMENTS))
        simple: dict[str, Any] = {
            "add": a + b,
            "sub": a - b,
            "and": a & b,
            "or": a | b,
            "xor": a ^ b,
            "shl": (a << shift)[:REGISTER_BITS],
            "shr": a >> shift,
            "min": Mux(less, a, b),
            "max": Mux(less, b, a),
            "less": less,
            "equal": equal,
            "argument": arguments[imm[:3]],
        }
        for name, value in simple.items():
            with m.If((state == State.EXECUTE) & proceeds & opcode[name]):
                m.d.comb += [result.eq(value), write.eq(1), finishes.eq(1)]
        digit = 8
        steps = REGISTER_BITS // digit
        left = Signal(range(steps + 1))
        product, rest = (Signal(REGISTER_BITS, name=n, reset_less=True) for n in ("product", "rest"))
        with m.If((state == State.EXECUTE) & proceeds & opcode["mul"]):
            m.d.sync += [state.eq(State.MULTIPLY), left.eq(steps), product.eq(0), rest.eq(b)]
        with m.If(state == State.MULTIPLY):
            # from the highest digit down, so that only the product moves
            m.d.sync += [
                product.eq((product << digit) + a * rest[REGISTER_BITS - digit :]),
                rest.eq(rest << digit),
                left.eq(left - 1),
            ]
            with m.If(left == 1):
                m.d.comb += [
                    result.eq((product << digit) + a * rest[REGISTER_BITS - digit :]), write.eq(1), finishes.eq(1)
                ]  # fmt: skip

    def _control(
        self, m: Module, state: Any, proceeds: Value, opcode: dict[str, Signal], a: Signal, b: Signal, imm: Value,
        pc: Signal, next_pc: Signal, finishes: Signal, trap: Signal, cause: Signal, dispatch: Any,
    ) -> None:  # fmt: skip
        """Branches, loops, and what concerns the host."""
        starts, ends = ([Signal(PC_BITS, name=f"{n}{i}", reset_less=True) for i in range(LOOP_DEPTH)]
                        for n in ("loop_start", "loop_end"))  # fmt: skip
        lefts = [Signal(REGISTER_BITS, name=f"loop_left{i}", reset_less=True) for i in range(LOOP_DEPTH)]
        depth = Signal(range(LOOP_DEPTH + 1))
        with m.If(self.start):
            m.d.sync += depth.eq(0)
        with m.If(finishes):
            m.d.sync += pc.eq(next_pc)
        go = (state == State.EXECUTE) & proceeds
        less, equal = a.as_signed() < b.as_signed(), a == b
        with m.If(go & opcode["branch"]):
            m.d.comb += finishes.eq(1)
            with m.If(Array([equal, ~equal, less, ~less])[imm[24:26]]):
                m.d.sync += pc.eq(imm[:PC_BITS])
        with m.If(go & opcode["loop"]):
            m.d.comb += finishes.eq(1)
            with m.If(imm[:PC_BITS] <= next_pc):
                m.d.comb += [trap.eq(1), cause.eq(Cause.LOOP)]
            with m.Elif(a == 0):
                m.d.sync += pc.eq(imm[:PC_BITS])
            with m.Elif(depth == LOOP_DEPTH):
                m.d.comb += [trap.eq(1), cause.eq(Cause.LOOP)]
            with m.Else():
                m.d.sync += depth.eq(depth + 1)
                for i in range(LOOP_DEPTH):
                    with m.If(depth == i):
                        m.d.sync += [starts[i].eq(next_pc), ends[i].eq(imm[:PC_BITS]), lefts[i].eq(a)]
        with m.If(go & opcode["sync"]):
            m.d.comb += finishes.eq(1)
        with m.If(go & opcode["interrupt"]):
            m.d.comb += [self.interrupt.valid.eq(1), finishes.eq(self.interrupt.ready)]
        m.d.comb += self.interrupt.payload.eq(imm[:16])
        m.d.sync += self.halted.eq(0)
        with m.If(go & opcode["halt"] & dispatch.idle):
            m.d.comb += self.interrupt.valid.eq(1)
            with m.If(self.interrupt.ready):
                m.d.sync += [state.eq(State.IDLE), self.halted.eq(1)]
        # NEXT: the innermost loop
        top = depth - 1
        start, end, left = (Array(x)[top[:3]] for x in (starts, ends, lefts))
        with m.If(state == State.NEXT):
            with m.If(depth == 0):
                m.d.sync += state.eq(State.FETCH)
            with m.Elif(pc == end):
                with m.If(left == 1):
                    m.d.sync += depth.eq(top)
                with m.Else():
                    m.d.sync += [pc.eq(start), state.eq(State.FETCH)]
                    for i in range(LOOP_DEPTH):
                        with m.If(top == i):
                            m.d.sync += lefts[i].eq(lefts[i] - 1)
            with m.Elif((pc < start) | (pc > end)):
                m.d.comb += [trap.eq(1), cause.eq(Cause.LOOP)]
            with m.Else():
                m.d.sync += state.eq(State.FETCH)

    def _access(
        self, m: Module, state: Any, proceeds: Value, opcode: dict[str, Signal], a: Signal, b: Signal,
        result: Signal, write: Signal, finishes: Signal, trap: Signal, cause: Signal,
    ) -> None:  # fmt: skip
        """`read` and `write`."""
        offset = (self.word_bytes - 1).bit_length()
        p = self.pad_request.payload
        granules = self.word_bytes // 8
        m.d.comb += [
            p.address.eq(b[offset:]),
            p.write.eq(opcode["write"]),
            p.mask.eq(Const(1, 1) << b[3:offset] if granules > 1 else 1),
            p.data.eq(Cat(a, Const(0, 64 - REGISTER_BITS)).replicate(granules)),
            self.pad_answer.ready.eq(state == State.ACCESS),
        ]
        lanes = Array(self.pad_answer.payload.word_select(i, 32) for i in range(self.word_bytes // 4))
        with m.If((state == State.ACCESS) & self.pad_answer.valid):
            m.d.comb += [
                result.eq(lanes[b[2:offset]]), write.eq(1), finishes.eq(1)
            ]  # fmt: skip
        with m.If((state == State.EXECUTE) & proceeds & (opcode["read"] | opcode["write"])):
            with m.If(Mux(opcode["write"], b[:3].any(), b[:2].any())):
                m.d.comb += [trap.eq(1), cause.eq(Cause.ALIGNMENT)]
            with m.Elif(b >= self.pad_bytes):
                m.d.comb += [trap.eq(1), cause.eq(Cause.RANGE)]
            with m.Else():
                m.d.comb += self.pad_request.valid.eq(1)
                with m.If(self.pad_request.ready):
                    with m.If(opcode["write"]):
                        m.d.comb += finishes.eq(1)
                    with m.Else():
                        m.d.sync += state.eq(State.ACCESS)
