"""A core as the programmer sees it: the executable definition that the RTL and the simulators are held to.

The sequencer executes its own instructions in order and hands those of an engine, operands resolved, to that
engine's queue. Each engine takes its queue in order, starts when its semaphores have tokens, and gives its own when
done. Between engines there is no order but that of the semaphores: which engine goes next is chosen by
`seed`, so a program that depends on anything else gives different results with different seeds.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from tapeout.chip.isa.definition import WORD_BYTES, Cause, Engine, Operands, Trap, Word
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.registry import decode
from tapeout.chip.isa.state import U8, State
from tapeout.errors import DoesNotHold

QUEUE = 4  # instructions an engine's queue holds; also in the RTL


@dataclass
class Executed:
    """One instruction as it was executed: for traces, coverage and the cycle simulator."""

    pc: int
    word: Word
    operands: Operands


@dataclass
class Machine:
    """A core running the program at byte `program` of `memory`. `trace`, if a list, receives every instruction
    in the order of execution."""

    geometry: Geometry
    memory: U8
    program: int = 0
    arguments: tuple[int, ...] = ()
    seed: int | None = None
    trace: list[Executed] | None = None
    state: State = field(init=False)
    queues: dict[Engine, deque[Executed]] = field(init=False)

    def __post_init__(self) -> None:
        self.state = State(self.geometry, self.memory, self.arguments)
        self.queues = {e: deque() for e in Engine if e != Engine.SEQUENCER}
        self._random = random.Random(self.seed)

    def run(self, limit: int = 1_000_000) -> State:
        """Run to `halt`. Raises Trap for what the hardware traps on, DoesNotHold for a program that waits for
        tokens that never come, or executes more than `limit` instructions."""
        executed = 0
        while self.state.halted is None:
            order = list(Engine)
            if self.seed is not None:
                self._random.shuffle(order)
            for engine in order:
                if self._sequence() if engine == Engine.SEQUENCER else self._engine(engine):
                    break
            else:
                raise DoesNotHold(f"program: {self._stuck()}")
            executed += 1
            if executed > limit:
                raise DoesNotHold(f"program: {limit} instructions without a halt")
        return self.state

    def fetch(self) -> Word:
        """The instruction at pc."""
        at = self.program + WORD_BYTES * self.state.pc
        return decode(int.from_bytes(self.state.read_memory(at, WORD_BYTES).tobytes(), "little"))

    def _sequence(self) -> bool:
        """Execute or dispatch the next instruction; False if it has to wait."""
        s = self.state
        w = self.fetch()
        engine = w.instruction.engine
        if engine != Engine.SEQUENCER:
            if len(self.queues[engine]) == QUEUE:
                return False
            self.queues[engine].append(Executed(s.pc, w, w.resolve(s.registers)))
            s.pc += 1
            s.advance()
            return True
        if w.instruction.name == "halt" and any(self.queues.values()):
            return False
        if not s.take(w.wait):
            return False
        pc = s.pc
        s.pc += 1
        self._execute(Executed(pc, w, w.resolve(s.registers)))
        s.advance()
        return True

    def _engine(self, engine: Engine) -> bool:
        queue = self.queues[engine]
        if not queue or not self.state.take(queue[0].word.wait):
            return False
        self._execute(queue.popleft())
        return True

    def _execute(self, one: Executed) -> None:
        if self.trace is not None:
            self.trace.append(one)
        one.word.instruction.meaning(self.state, one.operands)
        self.state.give(one.word.signal)

    def _stuck(self) -> str:
        heads = [(e, q[0].pc, q[0].word) for e, q in self.queues.items() if q]
        heads.append((Engine.SEQUENCER, self.state.pc, self.fetch()))
        waits = [
            f"{e.name.lower()} at {pc} ({w.instruction.name}) waits for "
            + (f"semaphores {[x for x in w.wait if not self.state.semaphores[x]]}" if w.wait else "an engine")
            for e, pc, w in heads
        ]
        return "nothing can go on: " + "; ".join(waits)


def execute(
    geometry: Geometry, program: Sequence[int], memory: U8, arguments: tuple[int, ...] = (), base: int = 0,
    seed: int | None = None,
) -> State:  # fmt: skip
    """Place `program` at byte `base` of `memory`, run it to its end and return the state."""
    import numpy as np

    from tapeout.chip.isa.assembler import binary

    code = np.frombuffer(binary(program), np.uint8)
    if base + len(code) > len(memory):
        raise Trap(Cause.MEMORY, f"a program of {len(code)} bytes at {base:#x}")
    memory[base : base + len(code)] = code
    return Machine(geometry, memory, base, arguments, seed).run()
