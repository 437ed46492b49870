"""Which buffers a vector instruction reads and writes at the same time, and so should begin in different banks.

The vector engine reads up to two streams and writes one, a pass of the lanes each in a cycle (an access is a pass or a
word of the scratchpad, whichever is more), one after another through a row. Two streams that are in the same bank in
the same cycle wait for each other, and as they keep in step they meet again in the next. A stream's *phase* is where it
is in the first cycle, in bytes; a result's is behind its operands' by the instruction's latency.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Engine
from tapeout.chip.isa.geometry import Geometry
from tapeout.compiler.clock import operands
from tapeout.compiler.ir import Buffer, Item, Op, Ref, walk

LEAST = 4  # passes of an instruction from which a clash counts


@dataclass(frozen=True)
class Meeting:
    """A stream of another buffer goes beside one of this: `passes` long; were both buffers at address 0, the other
    would be `ahead` bytes ahead."""

    other: Buffer
    ahead: int
    passes: int


class Banks:
    """The scratchpad of a core as `count` banks of words; `meetings`: of each buffer, by the items' instructions."""

    def __init__(self, g: Geometry, count: int, items: Iterable[Item]) -> None:
        self.access, self.period = max(g.word_bytes, 4 * g.lanes), g.word_bytes * count
        self.meetings: dict[Buffer, list[Meeting]] = {}
        for item in walk(items):
            if isinstance(item, Op) and item.engine == Engine.VECTOR:
                self._note(item, g)

    def _note(self, op: Op, g: Geometry) -> None:
        o, pass_bytes = operands(op), 4 * g.lanes
        rows, passes = o.rows, timing.passes(o.n, g.lanes)
        if rows * passes < LEAST or op.instruction.name in ("vtopk", "vtake"):  # these go element by element
            return
        one = timing.passes(g.lanes, g.lanes)
        whole = op.instruction.cycles(type(o)({**vars(o), "rows": one, "n": g.lanes}), g)
        first = whole - timing.VECTOR_START - one  # from a request to the write of what is made of it
        streams: list[tuple[Buffer, int, int]] = []  # buffer, phase, stride
        for name, stride, late in (("a", o.sa, 0), ("b", getattr(o, "sb", 0), 0), ("out", o.so, first)):
            value = op.operands.get(name)
            if not isinstance(value, Ref) or (name == "b" and getattr(o, "from", 0) == 1):
                continue
            if value.plus is None:
                streams.append((value.buffer, value.offset - late * pass_bytes, stride if rows > 1 else 0))
        for i, (x, at, step) in enumerate(streams):
            for y, there, other in streams[i + 1 :]:
                if x is y:
                    continue
                if rows > 1 and (step - other) % self.period:  # they drift: one place is as good as another
                    continue
                self.meetings.setdefault(x, []).append(Meeting(y, there - at, rows * passes))
                self.meetings.setdefault(y, []).append(Meeting(x, at - there, rows * passes))

    def cost(self, buffer: Buffer, address: int) -> float:
        """Cycles that clashes with buffers placed before take if `buffer` is at `address`, about."""
        total = 0.0
        for m in self.meetings.get(buffer, ()):
            if m.other.address >= 0:
                apart = (m.other.address + m.ahead - address) % self.period
                total += m.passes * max(0.0, 1 - min(apart, self.period - apart) / self.access)
        return total
