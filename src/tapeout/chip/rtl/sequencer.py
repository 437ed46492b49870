"""The sequencer: fetches, decodes, executes its own instructions, dispatches the others; two cycles each.

| stage | cycle | work |
|---|---|---|
| fetch | 0 | the word at the fetching pc, when the window has it; is it a branch, loop or halt |
| advance | 1 | the pc after it: closes loops that end there, or goes round |
| registers | 2 | four registers, the result of the instruction before among them; reserved bits and codes |
| ready | 3 | b + imm; an engine's other four registers; waits for its tokens |
| execute | 4 | the result, the branch, the loop, or into the engine's queue; gives its tokens |

`registers` of an instruction is the last cycle of the one before, so two cycles each go by; `fetch` and `advance`
are two cycles ahead of them. After a branch or a loop nothing is fetched before it is executed, which costs
three cycles more. Every loop that closes for good takes `advance` a cycle. `mul` and `read` have cycles of their own
in `execute`. Traps are precise: an instruction that traps, and those behind it, have changed nothing.
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
from tapeout.chip.rtl.bits import increment
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


class State(enum.Enum, shape=3):  # type: ignore[call-arg]
    """What is executed. WAIT: nothing, until a word has been fetched."""

    IDLE = 0
    CLEAR = 1  # after the doorbell: registers become 0, one a cycle
    WAIT = 2
    READY = 3
    EXECUTE = 4
    MULTIPLY = 5
    ACCESS = 6
    STOPPED = 7


class Fetching(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What the fetching half does. HOLD: a branch, loop or halt is on its way."""

    FETCH = 0
    ADVANCE = 1
    HOLD = 2


READ_PORTS = SLOTS // 2


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
        state, fetching = Signal(State), Signal(Fetching)
        # fetched next; of the word that waits, and after that one
        pc = Signal(PC_BITS)
        next_at, next_following = (
            Signal(PC_BITS, name=n, reset_less=True) for n in ("next_at", "next_following")
        )
        self.following = Signal(PC_BITS, reset_less=True)
        waiting_word, has_word = Signal(WORD_BITS + 1, reset_less=True), Signal()  # with memory's error
        word = Signal(WORD_BITS, reset_less=True)
        self._connect(m, fetch, dispatch)
        m.d.comb += [
            self.running.eq((state != State.IDLE) & (state != State.STOPPED)),
            fetch.pc.eq(pc),
            fetch.wants.eq((fetching == Fetching.FETCH) & self.running),
            fetch.flush.eq(self.start),
            fetch.base.eq(self.base),
        ]
        # signals of execution: the instruction ends in this cycle; the next one's registers are read in it
        finishes, takes = Signal(), Signal()
        result, write = Signal(REGISTER_BITS), Signal()
        trap, cause = Signal(), Signal(Cause)
        m.d.comb += takes.eq(has_word & ((state == State.WAIT) | finishes))

        # fetch
        jump, target = Signal(), Signal(PC_BITS)
        with m.If(takes):
            m.d.sync += has_word.eq(0)
        pc_next = increment(m, pc, Const(1, 1), "pc_next")[:PC_BITS]
        with m.If(fetch.wants & fetch.present & (~has_word | takes)):
            m.d.sync += [waiting_word.eq(Cat(fetch.word, fetch.bad)), has_word.eq(1), next_at.eq(pc)]
            m.d.sync += next_following.eq(pc_next)
            held = Signal()
            codes = [instructions()[name].opcode for name in ("branch", "loop", "halt")]
            m.d.comb += held.eq(Cat(fetch.word[:8] == code for code in codes).any())
            m.d.sync += [pc.eq(pc_next), fetching.eq(Mux(held, Fetching.HOLD, Fetching.ADVANCE))]
        with m.If(jump):
            m.d.sync += [pc.eq(target), fetching.eq(Fetching.ADVANCE)]

        # registers
        m.submodules.registers = registers = Memory(shape=REGISTER_BITS, depth=REGISTERS, init=[])
        port = registers.write_port()
        slots, later = (
            [w[SLOT_LOW + SLOT_BITS * i : SLOT_LOW + SLOT_BITS * (i + 1)] for i in range(SLOTS)]
            for w in (waiting_word, word)
        )
        operands = [Signal(REGISTER_BITS, name=f"operand{i}", reset_less=True) for i in range(SLOTS)]
        values = []
        for i in range(READ_PORTS):
            read, number = registers.read_port(domain="comb"), Signal(SLOT_BITS, name=f"number{i}")
            m.d.comb += [number.eq(Mux(takes, slots[i], later[READ_PORTS + i])), read.addr.eq(number)]
            held_value = Mux(write & (later[0] == number), result, read.data)
            values.append(Mux(number.any(), held_value, 0))
        known, clean = legality(m, waiting_word[:WORD_BITS], self.names)
        branches = Signal(reset_less=True)
        illegal, why = Signal(reset_less=True), Signal(Cause, reset_less=True)
        with m.If(takes):
            m.d.sync += [o.eq(v) for o, v in zip(operands[:READ_PORTS], values, strict=True)]
            m.d.sync += [
                word.eq(waiting_word), self.at.eq(next_at), state.eq(State.READY),
                self.following.eq(next_following), branches.eq(waiting_word[:8] == instructions()["branch"].opcode),
                illegal.eq(waiting_word[WORD_BITS] | ~known | ~clean),
                why.eq(
                    Mux(waiting_word[WORD_BITS], Cause.MEMORY, Mux(known, Cause.RESERVED, Cause.OPCODE))
                ),
            ]  # fmt: skip
        with m.Elif(finishes):
            m.d.sync += state.eq(State.WAIT)

        # ready
        engine = word[5:8]
        own = engine == Engine.SEQUENCER
        imm = word[IMMEDIATE_LOW:]
        opcode = {name: Signal(name=f"is_{name}") for name, one in instructions().items() if one.opcode < 32}
        for name, hit in opcode.items():
            m.d.comb += hit.eq(word[:8] == instructions()[name].opcode)
        wait, signal = word[WAIT_LOW : WAIT_LOW + SEMAPHORES], word[SIGNAL_LOW : SIGNAL_LOW + SEMAPHORES]
        m.d.comb += [
            dispatch.own_wait.eq(wait),
            dispatch.own_request.eq((state == State.READY) & own & ~illegal),
            dispatch.own_give.eq(signal & Mux(finishes & own, ~0, 0)),
        ]
        b_imm = Signal(REGISTER_BITS)
        m.d.comb += b_imm.eq(Mux(branches, imm[26:48].as_signed(), imm.as_signed()))
        a, b = operands[1], Signal(REGISTER_BITS, reset_less=True)
        with m.If(state == State.READY):
            m.d.sync += b.eq(operands[2] + b_imm)
            m.d.sync += [o.eq(v) for o, v in zip(operands[READ_PORTS:], values, strict=True)]
            with m.If(illegal):
                m.d.comb += [trap.eq(1), cause.eq(why)]
            with m.Elif(~own | dispatch.own_granted):
                m.d.sync += state.eq(State.EXECUTE)

        # execute
        go = (state == State.EXECUTE) & own
        cleared = Signal(SLOT_BITS)
        clearing = state == State.CLEAR
        m.d.comb += [
            port.addr.eq(Mux(clearing, cleared, later[0])),
            port.data.eq(Mux(clearing, 0, result)),
            port.en.eq(write | clearing),
            dispatch.clear.eq(clearing),
        ]
        with m.If(clearing):
            m.d.sync += cleared.eq(cleared + 1)
            with m.If(cleared == REGISTERS - 1):
                m.d.sync += state.eq(State.WAIT)
        push = dispatch.push
        m.d.comb += [
            push.payload.engine.eq(engine - 1),
            push.payload.queued.wait.eq(wait),
            push.payload.queued.signal.eq(signal),
            push.payload.queued.command.opcode.eq(word[:5]),
            push.payload.queued.command.slots.eq(Cat(operands)),
            push.payload.queued.command.imm.eq(imm),
            push.valid.eq((state == State.EXECUTE) & ~own),
        ]
        with m.If(push.valid & push.ready):
            m.d.comb += finishes.eq(1)
        late = Signal(REGISTER_BITS, reset_less=True)  # of `mul` and `read`: written the cycle after it came
        has_late = Signal()
        m.d.sync += has_late.eq(0)
        with m.If(has_late):
            m.d.comb += [write.eq(1), finishes.eq(1)]
        self._arithmetic(m, state, go, opcode, a, b, imm, result, write, finishes, late, has_late)
        self._control(m, state, go, opcode, a, b, imm, finishes, trap, cause, dispatch, jump, target)
        self._advance(m, fetching, pc, trap, cause)
        self._access(m, state, go, opcode, a, b, finishes, trap, cause, late, has_late)
        m.d.comb += self.retired.eq(finishes | self.halted)
        with m.If(self.start & ~self.running):
            m.d.sync += [
                state.eq(State.CLEAR), pc.eq(0), cleared.eq(0), has_word.eq(0), fetching.eq(Fetching.FETCH)
            ]  # fmt: skip
        failed, failed_cause = Signal(), Signal(CAUSE_BITS, reset_less=True)
        m.d.sync += [failed.eq(self.engine_error & ~self.start), failed_cause.eq(self.engine_cause)]
        with m.If(self.running & (trap | failed | dispatch.overflow)):
            m.d.sync += [
                state.eq(State.STOPPED),
                self.trapped.eq(1),
                self.cause.eq(Mux(trap, cause, Mux(dispatch.overflow, Cause.SEMAPHORE, failed_cause))),
            ]
        with m.Else():
            m.d.sync += self.trapped.eq(0)
        return m

    def _connect(self, m: Module, fetch: Any, dispatch: Any) -> None:
        """What only passes through."""
        m.d.comb += [
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

    def _arithmetic(
        self, m: Module, state: Any, go: Value, opcode: dict[str, Signal], a: Signal, b: Signal, imm: Value,
        result: Signal, write: Signal, finishes: Signal, late: Signal, has_late: Signal,
    ) -> None:  # fmt: skip
        """Results of one cycle, and the product, eight bits a cycle, a digit's product and its addition apart."""
        self.less, self.equal = less, equal = Signal(), Signal()
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
        # one at most, so that none waits for another: the late one has a cycle of its own
        chosen: Value = Mux(has_late, late, 0)
        for name, value in simple.items():
            chosen = chosen | Mux(opcode[name], value, 0)
            with m.If(go & opcode[name]):
                m.d.comb += [write.eq(1), finishes.eq(1)]
        m.d.comb += result.eq(chosen)
        digit = 8
        steps = REGISTER_BITS // digit
        left, rest = Signal(range(steps + 1)), Signal(REGISTER_BITS, reset_less=True)
        part = Signal(REGISTER_BITS, reset_less=True)
        with m.If(go & opcode["mul"]):
            m.d.sync += [state.eq(State.MULTIPLY), left.eq(steps), late.eq(0), rest.eq(b)]
        with m.If(state == State.MULTIPLY):
            # from the highest digit down, so that only the product moves
            m.d.sync += [
                rest.eq(rest << digit),
                left.eq(left - 1),
                part.eq(a * rest[REGISTER_BITS - digit :]),
            ]
            with m.If(left < steps):
                m.d.sync += late.eq((late << digit) + part)
            m.d.sync += has_late.eq(left == 0)

    def _control(
        self, m: Module, state: Any, go: Value, opcode: dict[str, Signal], a: Signal, b: Signal, imm: Value,
        finishes: Signal, trap: Signal, cause: Signal, dispatch: Any, jump: Signal, target: Signal,
    ) -> None:  # fmt: skip
        """Branches, loops, and what concerns the host."""
        self.starts, self.ends = ([Signal(PC_BITS, name=f"{n}{i}", reset_less=True) for i in range(LOOP_DEPTH)]
                                  for n in ("loop_start", "loop_end"))  # fmt: skip
        self.lefts = [Signal(REGISTER_BITS, name=f"loop_left{i}", reset_less=True) for i in range(LOOP_DEPTH)]
        # one round is left
        self.lasts = [Signal(name=f"loop_last{i}", reset_less=True) for i in range(LOOP_DEPTH)]
        self.depth = depth = Signal(range(LOOP_DEPTH + 1))
        with m.If(self.start):
            m.d.sync += depth.eq(0)
        following = self.following
        m.d.comb += target.eq(following)
        with m.If(go & opcode["branch"]):
            m.d.comb += [finishes.eq(1), jump.eq(1)]
            with m.If(Array([self.equal, ~self.equal, self.less, ~self.less])[imm[24:26]]):
                m.d.comb += target.eq(imm[:PC_BITS])
        with m.If(go & opcode["loop"]):
            m.d.comb += [finishes.eq(1), jump.eq(1)]
            with m.If(imm[:PC_BITS] <= following):
                m.d.comb += [trap.eq(1), cause.eq(Cause.LOOP)]
            with m.Elif(a == 0):
                m.d.comb += target.eq(imm[:PC_BITS])
            with m.Elif(depth == LOOP_DEPTH):
                m.d.comb += [trap.eq(1), cause.eq(Cause.LOOP)]
            with m.Else():
                m.d.sync += depth.eq(depth + 1)
                for i in range(LOOP_DEPTH):
                    with m.If(depth == i):
                        m.d.sync += [
                            self.starts[i].eq(following), self.ends[i].eq(imm[:PC_BITS]), self.lefts[i].eq(a),
                            self.lasts[i].eq(a == 1),
                        ]  # fmt: skip
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

    def _advance(self, m: Module, fetching: Any, pc: Signal, trap: Signal, cause: Signal) -> None:
        """The innermost loop's say about the next pc."""
        top = self.depth - 1
        fewer = [
            ~increment(m, ~left, Const(1, 1), f"fewer{i}")[:REGISTER_BITS]
            for i, left in enumerate(self.lefts)
        ]
        start, end, last = (Array(x)[top[:3]] for x in (self.starts, self.ends, self.lasts))
        with m.If(self.running & (fetching == Fetching.ADVANCE)):
            with m.If(self.depth == 0):
                m.d.sync += fetching.eq(Fetching.FETCH)
            with m.Elif(pc == end):
                with m.If(last):
                    m.d.sync += self.depth.eq(top)  # and look at the loop around it
                with m.Else():
                    m.d.sync += [pc.eq(start), fetching.eq(Fetching.FETCH)]
                    for i in range(LOOP_DEPTH):
                        with m.If(top == i):
                            m.d.sync += [self.lefts[i].eq(fewer[i]), self.lasts[i].eq(self.lefts[i] == 2)]
            with m.Elif((pc < start) | (pc > end)):
                m.d.comb += [trap.eq(1), cause.eq(Cause.LOOP)]
            with m.Else():
                m.d.sync += fetching.eq(Fetching.FETCH)

    def _access(
        self, m: Module, state: Any, go: Value, opcode: dict[str, Signal], a: Signal, b: Signal, finishes: Signal,
        trap: Signal, cause: Signal, late: Signal, has_late: Signal,
    ) -> None:  # fmt: skip
        """`read` and `write`: the request a cycle after its address, what comes a cycle before its use."""
        offset = (self.word_bytes - 1).bit_length()
        p = self.pad_request.payload
        granules = self.word_bytes // 8
        asks = Signal()
        m.d.comb += [
            self.pad_request.valid.eq(asks),
            p.address.eq(b[offset:]),
            p.write.eq(opcode["write"]),
            p.mask.eq(Const(1, 1) << b[3:offset] if granules > 1 else 1),
            p.data.eq(Cat(*[Cat(a, Const(0, 64 - REGISTER_BITS))] * granules)),
            self.pad_answer.ready.eq((state == State.ACCESS) & ~has_late),
        ]
        lanes = Array(self.pad_answer.payload.word_select(i, 32) for i in range(self.word_bytes // 4))
        with m.If(go & (opcode["read"] | opcode["write"])):
            with m.If(Mux(opcode["write"], b[:3].any(), b[:2].any())):
                m.d.comb += [trap.eq(1), cause.eq(Cause.ALIGNMENT)]
            with m.Elif(b >= self.pad_bytes):
                m.d.comb += [trap.eq(1), cause.eq(Cause.RANGE)]
            with m.Else():
                m.d.sync += [asks.eq(1), state.eq(State.ACCESS)]
        with m.If(asks & self.pad_request.ready):
            m.d.sync += asks.eq(0)
        # the grant comes late in its cycle
        written = Signal()
        m.d.sync += written.eq(asks & self.pad_request.ready & opcode["write"])
        with m.If(written):
            m.d.comb += finishes.eq(1)
        with m.If(self.pad_answer.valid & self.pad_answer.ready):
            m.d.sync += [late.eq(lanes[b[2:offset]]), has_late.eq(1)]
