"""About how long a list of items takes: engines in order, dependences by buffer, the sequencer in front.

What an instruction takes comes from its own `cycles`; memory adds a latency. Run-time numbers count as their nominal
values. This is what tilings and orders are chosen by; the cycle simulator says what a program really takes.
"""

from __future__ import annotations

from collections.abc import Callable

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Engine, Operands
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.matrix.matmul import beats
from tapeout.compiler.builder import nominal
from tapeout.compiler.ir import Calculate, Item, Loop, Op, Ref, spans

LATENCY = 100  # cycles of an access of memory
SCALARS = 1.5  # instructions of the sequencer that an engine's instruction needs for its operands, about


def operands(op: Op) -> Operands:
    """Its operands with nominal numbers; addresses are offsets, which are aligned as the addresses will be."""
    values = {
        name: v.offset if isinstance(v, Ref) or hasattr(v, "offset") else nominal(v)
        for name, v in op.operands.items()
    }
    names = {s.name for s in op.instruction.slots if s.name}
    return Operands({**dict.fromkeys(names, 0), **values, **op.fields})


def busy(op: Op, g: Geometry) -> tuple[int, int]:
    """(cycles until its engine can take the next, cycles until it is done)."""
    o = operands(op)
    cycles = op.instruction.cycles(o, g)
    if op.engine == Engine.MATRIX:
        return max(beats(o), o.rows * o.tiles if o.drain else 0), cycles
    if op.engine in (Engine.LOAD, Engine.STORE):
        return cycles, cycles + LATENCY
    return cycles, cycles


class Clock:
    """Time as items are given to it, in the order of the program."""

    def __init__(self, g: Geometry) -> None:
        self.g = g
        self.now = 0.0  # of the sequencer
        self.free: dict[Engine, float] = dict.fromkeys(Engine, 0.0)
        self.wrote: dict[object, float] = {}
        self.read: dict[object, float] = {}
        self.used: dict[Engine, float] = dict.fromkeys(Engine, 0.0)
        self.observe: Callable[[Op, float, float, float], None] | None = None

    @property
    def end(self) -> float:
        """When everything given so far is done."""
        return max(self.now, *self.free.values(), *self.wrote.values(), 0.0)

    def ready(self, item: Item) -> float:
        """When what it depends on is done."""
        at = 0.0
        for (place, _, _), written in spans(item):
            at = max(at, self.wrote.get(place, 0.0))
            if written:
                at = max(at, self.read.get(place, 0.0))
        return at

    def start(self, item: Item) -> float:
        """When it would start if it came next."""
        if isinstance(item, Op):
            return max(self.ready(item), self.free[item.engine], self.now)
        return max(self.ready(item), self.now)

    def take(self, item: Item, after: float = 0.0) -> float:
        """Let it come next, not before `after`; when it is done."""
        if isinstance(item, Loop):
            return self._loop(item)
        begin = max(self.start(item), after)
        if isinstance(item, Calculate):
            self.now = begin + timing.SCALAR + (timing.PAD_ACCESS if item.reads else 0)
            return self.now
        self.now = max(self.now, min(begin, self.now)) + timing.DISPATCH + SCALARS * timing.SCALAR
        occupied, whole = busy(item, self.g)
        self.free[item.engine] = begin + occupied
        self.used[item.engine] += occupied
        done = begin + whole
        for (place, _, _), written in spans(item):
            times = self.wrote if written else self.read
            times[place] = max(times.get(place, 0.0), done)
        if self.observe is not None:
            self.observe(item, begin, begin + occupied, done)
        return done

    def _loop(self, loop: Loop) -> float:
        self.now += 2 * timing.SCALAR
        if not loop.count.nominal:
            return self.now
        self.now = max(self.now, *self.free.values(), *self.wrote.values())
        before, used = self.now, dict(self.used)
        for item in loop.body:
            self.take(item)
        self.now = max(self.now, *self.free.values(), *self.wrote.values())
        more = loop.count.nominal - 1
        for engine in self.used:
            self.used[engine] += more * (self.used[engine] - used[engine])
        self.now += more * (self.now - before)
        return self.now
