"""Places work buffers in the scratchpad: first fit by lifetime, in the order of the computation.

Two buffers may share bytes if one's last use comes before the other's first; engines that are then still at work are
held apart by `synchronise`. What remains above the work buffers is left to the rings that `order` fills.
"""

from __future__ import annotations

from collections.abc import Iterable

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.banks import Banks
from tapeout.compiler.ir import WORK, Buffer, Item, Loop, spans

RESTS = (64, 32, 16, 8, 4, 2, 1)  # items that bytes rest before they are taken again, by choice


def lifetimes(items: Iterable[Item]) -> dict[Buffer, tuple[int, int]]:
    """First and last item, counted with those of loops' bodies, that touches each buffer. A buffer used inside and
    outside a loop lives through all of it."""
    found: dict[Buffer, tuple[int, int]] = {}
    loops: list[tuple[int, int]] = []
    count = 0

    def visit(items: Iterable[Item]) -> None:
        nonlocal count
        for item in items:
            start = count
            count += 1
            if isinstance(item, Loop):
                visit(item.body)
                loops.append((start, count - 1))
            for (buffer, _, _), _ in spans(item):
                if isinstance(buffer, Buffer):
                    first, last = found.get(buffer, (start, start))
                    found[buffer] = (min(first, start), max(last, start))

    visit(items)
    for start, stop in reversed(
        loops
    ):  # outer loops last in `loops`, so first here; inner ones widen no further
        for buffer, (first, last) in found.items():
            inside = first <= stop and last >= start
            if inside and (first < start or last > stop):
                found[buffer] = (min(first, start), max(last, stop))
    return found


def allocate(items: list[Item], start: int, room: int = 0, banks: Banks | None = None) -> int:
    """Give every work buffer its address, from byte `start` on; the first byte above all of them.

    Bytes just read are taken again only after some other items, as many as keep to `room` bytes in all: an engine that
    runs ahead would wait for the reader otherwise. With `banks`, and within `room` too, a buffer begins in the bank
    in which the streams that go beside it disturb it least.
    """
    work = [(span, b) for b, span in lifetimes(items).items() if b.kind == WORK]
    work.sort(key=lambda x: (x[0][0], -x[1].size))
    least = _place(work, start, 0)
    for rest in RESTS:
        for which in (banks, None) if banks else (None,):
            top = _place(work, start, rest, which)
            if top <= least + room:
                return top
    return _place(work, start, 0)


def _place(
    work: list[tuple[tuple[int, int], Buffer]], start: int, rest: int, banks: Banks | None = None
) -> int:
    """First fit, a buffer's bytes kept for `rest` items after its last use; the first byte above."""
    top = start
    live: list[tuple[int, int, int]] = []  # address, end, last item; by address
    for _, buffer in work:
        buffer.address = -1
    for (first, last), buffer in work:
        live = [x for x in live if x[2] >= first]
        at = _fit(live, start, buffer, 0, buffer.align)
        if banks and buffer in banks.meetings:
            period = banks.period
            places = (_fit(live, start, buffer, phase, period) for phase in range(0, period, banks.access))
            at = min((at, *sorted(places)), key=lambda place: banks.cost(buffer, place))
        buffer.address = at
        live.append((at, at + buffer.size, last + rest))
        live.sort()
        top = max(top, at + buffer.size)
    return top


def _fit(live: list[tuple[int, int, int]], start: int, buffer: Buffer, phase: int, period: int) -> int:
    """The first free place for a buffer that is `phase` above a multiple of `period`."""

    def up(at: int) -> int:
        return round_up(at - phase, period) + phase

    at = up(start)
    for address, end, _ in live:
        if at + buffer.size <= address:
            break
        at = max(at, up(end))
    return at
