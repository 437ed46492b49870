"""Moves loads of constants forward, as far as there is room for what they bring and time on the memory port.

Constants stream through rings in the scratchpad: one for weights at addresses known beforehand, one for weights of
experts (whose loads wait for the router), one for vectors. Within a ring loads keep the order of their use, so that
the oldest is always the next to be freed and nothing can lock up; between rings the load that is needed first goes
first. A load goes in front of the first item that would start later than it could (`clock`), so a load that
something waits for is not held up by one that nothing needs yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from tapeout.chip.isa.definition import Engine
from tapeout.chip.isa.geometry import Geometry, round_up
from tapeout.compiler.banks import Banks
from tapeout.compiler.clock import LATENCY, Clock
from tapeout.compiler.ir import (
    EXPERTS,
    VECTORS,
    WEIGHTS,
    Buffer,
    Calculate,
    Item,
    Loop,
    Op,
    Scalar,
    scalars,
    spans,
    walk,
)
from tapeout.errors import DoesNotHold


@dataclass
class Ring:
    """`size` bytes from `base`; what is live in it, oldest first."""

    base: int
    size: int
    banks: Banks | None = None
    live: deque[Buffer] = field(default_factory=deque)

    def place(self, buffer: Buffer, freed: Mapping[Buffer, float]) -> float | None:
        """Give `buffer` an address if there is room once what is freed has left: when the room is free, or None."""
        after = 0.0
        while self.live and self.live[0] in freed:
            after = max(after, freed[self.live.popleft()])
        at = self._at(buffer)
        if at is None:
            return None
        buffer.address = at
        self.live.append(buffer)
        return after

    def _at(self, buffer: Buffer) -> int | None:
        """Where there is room for it behind what is live; of the next places the one that clashes least."""
        end = self.base + self.size
        if not self.live:
            return self._best(buffer, self.base, end)
        head, tail = self.live[0].address, self.live[-1].address + self.live[-1].size
        if tail <= head:
            return self._best(buffer, tail, head)
        at = self._best(buffer, tail, end)
        return self._best(buffer, self.base, head) if at is None else at

    def _best(self, buffer: Buffer, start: int, stop: int) -> int | None:
        """Where in these bytes it begins, if there is room for it."""
        first = round_up(start, buffer.align)
        last = stop - round_up(buffer.size, buffer.align)
        if first > last:
            return None
        banks = self.banks
        if banks is None or buffer not in banks.meetings:
            return first
        words = range(round_up(first, banks.access), min(first + banks.period, last + 1), banks.access)
        return min((first, *words), key=lambda at: banks.cost(buffer, at))


def least(items: Iterable[Item], kinds: Iterable[str], banks: Banks, ahead: int = 2) -> dict[str, int]:
    """Bytes with which each ring works at all: what is in use at a time, from the oldest on, and as much as the largest
    buffer leaves unused where the ring starts again. `ahead`: so many of the largest vectors are on their way."""
    order: dict[str, list[Buffer]] = {kind: [] for kind in kinds}
    number: dict[Buffer, int] = {}
    last: dict[Buffer, int] = {}
    uses: list[tuple[int, Buffer]] = []
    for i, item in enumerate(items):  # what a loop uses is in use for all of it
        for (place, _, _), written in (s for one in walk([item]) for s in spans(one)):
            if not isinstance(place, Buffer) or place.kind not in order:
                continue
            if written and place not in number:
                number[place] = len(order[place.kind])
                order[place.kind].append(place)
            elif not written:
                last[place] = i
                uses.append((i, place))
    found = {}
    for kind, buffers in order.items():
        sizes = [b.size + b.align + (banks.period if b in banks.meetings else 0) for b in buffers]
        head = tail = held = most = 0  # buffers head to tail are in use, `held` bytes
        for i, buffer in uses:
            if buffer.kind != kind:
                continue
            while tail <= number[buffer]:
                held += sizes[tail]
                tail += 1
            while head < tail and last.get(buffers[head], -1) < i:
                held -= sizes[head]
                head += 1
            most = max(most, held)
        spare = ahead if kind == VECTORS else 1  # many small ones: enough to have the next on their way
        found[kind] = min(most + spare * max(sizes, default=0), sum(sizes)) + (1024 if kind == VECTORS else 0)
    return found


class _Order:
    def __init__(
        self, items: list[Item], g: Geometry, rings: Mapping[str, Ring], slower: Mapping[str, float] | None
    ) -> None:
        self.items, self.rings = items, rings
        self.clock = Clock(g, slower)
        self.result: list[Item] = []
        self.waiting: dict[str, deque[tuple[int, Op]]] = {kind: deque() for kind in rings}
        self.last: dict[Buffer, int] = {}
        self.freed: dict[Buffer, float] = {}
        self.room: dict[Buffer, float] = {}  # when the room of a freed-and-taken place is free
        self.issued: set[Op] = set()
        self.defined: set[Scalar] = set()
        self.loader: dict[Buffer, Op] = {}

    def run(self) -> list[Item]:
        assigned = {i.rd for i in walk(self.items) if isinstance(i, Calculate)}
        for i, item in enumerate(self.items):
            if isinstance(item, Op) and item.prefetch:
                buffer = self.target(item)
                self.waiting[buffer.kind].append((i, item))
                self.loader[buffer] = item
            for one in walk([item]):
                for (place, _, _), written in spans(one):
                    if isinstance(place, Buffer) and place.kind in self.rings and not written:
                        self.last[place] = i
        self.assigned = assigned
        ends: dict[int, list[Buffer]] = {}
        for buffer, i in self.last.items():
            ends.setdefault(i, []).append(buffer)
        for i, item in enumerate(self.items):
            if isinstance(item, Op) and item.prefetch:
                continue
            for one in walk([item]):
                for (place, _, _), _ in spans(one):
                    if isinstance(place, Buffer) and place in self.loader:
                        self.force(self.loader[place])
            self.fill(item)
            done = self.clock.take(item)
            self.result.append(item)
            if isinstance(item, Calculate):
                self.defined.add(item.rd)
            for buffer in ends.get(i, ()):
                self.freed[buffer] = done
        return self.result

    def target(self, op: Op) -> Buffer:
        buffer = op.writes[0][0]
        assert isinstance(buffer, Buffer)
        return buffer

    def ready(self, op: Op) -> bool:
        """Its address is known."""
        return all(s is None or s in self.defined for s in map(scalars, op.operands.values()))

    def force(self, op: Op) -> None:
        """Load it, and what comes before it in its ring, now."""
        if op in self.issued:
            return
        queue = self.waiting[self.target(op).kind]
        while op not in self.issued:
            _, first = queue[0]
            if not self.issue(first):
                buffer = self.target(first)
                raise DoesNotHold(
                    f"compiler: {first.origin.name}: {buffer.size} bytes of {buffer.name} do not fit"
                    f" the scratchpad's room for {buffer.kind} ({self.rings[buffer.kind].size} bytes)"
                )

    def issue(self, op: Op) -> bool:
        """Load it now if there is room."""
        buffer = self.target(op)
        if buffer in self.room:
            after = self.room[buffer]
        else:
            found = self.place(buffer)
            if found is None:
                return False
            after = self.room[buffer] = found
        self.clock.take(op, after)
        self.result.append(op)
        self.issued.add(op)
        self.waiting[buffer.kind].popleft()
        return True

    def place(self, buffer: Buffer) -> float | None:
        """As `Ring.place`; weights that are done with before the next experts come may lie where those will."""
        found = self.rings[buffer.kind].place(buffer, self.freed)
        if found is None and buffer.kind == WEIGHTS and EXPERTS in self.rings:
            coming = self.waiting[EXPERTS]
            if not coming or self.last[buffer] < coming[0][0]:
                found = self.rings[EXPERTS].place(buffer, self.freed)
        return found

    def fill(self, item: Item) -> None:
        """Loads that can start before `item` does, the one needed first first; before a load of its own, only those
        that are done by then."""
        if isinstance(item, Loop):
            return
        while True:
            begin = self.clock.start(item)
            best: tuple[int, Op] | None = None
            for queue in self.waiting.values():
                if not queue or not self.ready(queue[0][1]):
                    continue
                i, op = queue[0]
                buffer = self.target(op)
                if buffer not in self.room:
                    found = self.place(buffer)
                    if found is None:
                        continue
                    self.room[buffer] = found
                start = max(self.clock.free[Engine.LOAD], self.room[buffer])
                if isinstance(item, Op) and item.engine == Engine.LOAD:
                    start += self.clock.busy(op)[0] + LATENCY
                if start <= begin and (best is None or i < best[0]):
                    best = (i, op)
            if best is None or not self.issue(best[1]):
                return


def order(
    items: list[Item], g: Geometry, rings: Mapping[str, Ring], slower: Mapping[str, float] | None = None
) -> tuple[list[Item], Clock]:
    """The items with their prefetches moved and placed, and the clock at the end of them. `slower`: as of `Clock`."""
    o = _Order(items, g, rings, slower)
    return o.run(), o.clock
