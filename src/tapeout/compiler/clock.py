"""About how long a list of items takes: engines in order, dependences by buffer, the sequencer in front.

What an instruction takes comes from its own `cycles`; memory adds a latency. Run-time numbers count as their nominal
values. This is what tilings and orders are chosen by; the cycle simulator says what a program really takes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import lru_cache

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Engine, Operands
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.matrix.matmul import beats
from tapeout.compiler.builder import nominal
from tapeout.compiler.ir import Calculate, Item, Loop, Mem, Op, Ref, Stop, named, spans

LATENCY = 100  # cycles of an access of memory
ALIGNED = 1 << 12  # bytes: a multiple of every word of a scratchpad and of a port
QUEUE = 4  # instructions that wait in front of an engine (`rtl.sequencer_dispatch`)
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
    values = vars(operands(op))
    # of an address only its place in words of the scratchpad and of the port counts: the same commands come again
    values["memory"] = values.get("memory", 0) % ALIGNED
    return _busy(op.instruction.name, tuple(values), tuple(values.values()), g)


@lru_cache(1 << 16)
def _busy(name: str, names: tuple[str, ...], values: tuple[int, ...], g: Geometry) -> tuple[int, int]:
    instruction = named(name)
    o = Operands(dict(zip(names, values, strict=True)))
    cycles = instruction.cycles(o, g)
    if instruction.engine == Engine.MATRIX:
        return max(beats(o), o.rows * o.tiles if o.drain else 0), cycles
    if instruction.engine in (Engine.LOAD, Engine.STORE):
        return cycles, cycles + LATENCY
    return cycles, cycles


class _Touched:
    """When bytes were last read or written, by whom."""

    def __init__(self) -> None:
        self.times: dict[object, dict[Engine, dict[tuple[int, int], float]]] = {}

    def note(self, engine: Engine, place: object, first: int, size: int, done: float) -> None:
        self.times.setdefault(place, {}).setdefault(engine, {})[first, first + size] = done

    def last(self, engine: Engine | None, place: object, first: int, size: int) -> float:
        """When all other engines than `engine` are done with these bytes."""
        at = 0.0
        for other, touched in self.times.get(place, {}).items():
            if other != engine:  # an engine takes its instructions in order, results included
                for (low, high), done in touched.items():
                    if done > at and low < first + size and high > first:
                        at = done
        return at


class Clock:
    """Time as items are given to it, in the order of the program. `slower`: by region of memory, how many times as long
    as the port takes its bytes do; 1 for those that are not named."""

    def __init__(self, g: Geometry, slower: Mapping[str, float] | None = None) -> None:
        self.g = g
        self.slower = slower or {}
        self.now = float(LATENCY)  # of the sequencer: its first line comes from memory
        self.free: dict[Engine, float] = dict.fromkeys(Engine, 0.0)
        self.queued: dict[Engine, deque[float]] = {e: deque([0.0] * QUEUE, QUEUE) for e in Engine}
        self.wrote, self.read = _Touched(), _Touched()
        self.latest = 0.0
        self.used: dict[Engine, float] = dict.fromkeys(Engine, 0.0)
        self.observe: Callable[[Op, float, float, float], None] | None = None

    @property
    def end(self) -> float:
        """When everything given so far is done."""
        return max(self.now, *self.free.values(), self.latest)

    def ready(self, item: Item) -> float:
        """When what it depends on is done."""
        at = 0.0
        me = item.engine if isinstance(item, Op) else None
        for span, written in spans(item):
            at = max(at, self.wrote.last(me, *span))
            if written:
                at = max(at, self.read.last(me, *span))
        return at

    def busy(self, op: Op) -> tuple[float, float]:
        """`busy`, with memory as it is."""
        occupied, whole = busy(op, self.g)
        at = op.operands.get("memory")
        if isinstance(at, Mem) and at.region in self.slower:
            more = (self.slower[at.region] - 1) * occupied
            return occupied + more, whole + more
        return occupied, whole

    def start(self, item: Item) -> float:
        """When it would start if it came next."""
        if isinstance(item, Op):
            return max(self.ready(item), self.free[item.engine], self.now)
        return max(self.ready(item), self.now)

    def take(self, item: Item, after: float = 0.0) -> float:
        """Let it come next, not before `after`; when it is done."""
        if isinstance(item, Loop):
            return self._loop(item)
        if isinstance(item, Stop):  # time is that of the whole entry
            self.now += timing.SCALAR
            return self.now
        begin = max(self.start(item), after)
        if isinstance(item, Calculate):
            self.now = begin + timing.SCALAR + (timing.PAD_ACCESS if item.reads else 0)
            return self.now
        queued = self.queued[item.engine]
        self.now = max(self.now, queued[0]) + timing.DISPATCH + SCALARS * timing.SCALAR
        queued.append(begin)  # the place in the queue is free when it starts
        occupied, whole = self.busy(item)
        self.free[item.engine] = begin + occupied
        self.used[item.engine] += occupied
        done = begin + whole
        for span, written in spans(item):
            (self.wrote if written else self.read).note(item.engine, *span, done)
        self.latest = max(self.latest, done)
        if self.observe is not None:
            self.observe(item, begin, begin + occupied, done)
        return done

    def _loop(self, loop: Loop) -> float:
        self.now += 2 * timing.SCALAR
        if not loop.count.nominal:
            return self.now
        self.now = self.end
        before, used = self.now, dict(self.used)
        for item in loop.body:
            self.take(item)
        self.now = self.end
        more = loop.count.nominal - 1
        for engine in self.used:
            self.used[engine] += more * (self.used[engine] - used[engine])
        self.now += more * (self.now - before)
        return self.now
