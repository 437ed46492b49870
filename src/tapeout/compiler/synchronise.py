"""Puts waits and signals on instructions so that engines see each other's results, and no more.

Each ordered pair of engines has a semaphore of its own. Engines take instructions in order, so "C's j-th waits for
P's i-th" means that everything of P up to i is done: a wait is needed only where i is beyond what C already knows, from
earlier waits of its own or from what the producer itself had waited for (a vector clock each). Every such pair is one
token, given once and taken once, in the same order on both sides, so tokens never mix.

Loops run between barriers (`emit` makes them): their bodies start from knowing everything, and what follows
them needs nothing of theirs. Tokens that pass over a loop, from before it to after it, are put aside while it runs
(`Loop.pending`), because its own would mix with them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tapeout.chip.isa.definition import Engine
from tapeout.compiler.ir import Area, Buffer, Calculate, Item, Loop, Op, Span, Stop, walk

ENGINES = (Engine.LOAD, Engine.MATRIX, Engine.VECTOR, Engine.STORE)
LINE = 32
_SEQUENCER = len(ENGINES)


def semaphore(producer: int, consumer: int) -> int:
    """The semaphore of a pair; engines are counted from 0 in `ENGINES`, the sequencer (a consumer only) is 4."""
    if consumer == _SEQUENCER:
        return 12 + producer
    return producer * 3 + (consumer if consumer < producer else consumer - 1)


def synchronise(items: list[Item], pad_bytes: int) -> None:
    """Set `wait` and `signal` of every item. Buffers have addresses."""
    areas: dict[Area, int] = {}
    for item in walk(items):
        if isinstance(item, Op):
            for place, _, _ in (*item.reads, *item.writes):
                if isinstance(place, Area):
                    areas.setdefault(place, pad_bytes // LINE + len(areas))
    _Pass(pad_bytes // LINE + len(areas), areas).run(items)


class _Pass:
    def __init__(self, lines: int, areas: dict[Area, int]) -> None:
        self.lines, self.areas = lines, areas

    def run(self, items: Iterable[Item]) -> None:
        n = len(ENGINES)
        wrote = np.zeros(
            (n, self.lines), np.int32
        )  # the last instruction of each engine that wrote, that read
        read = np.zeros((n, self.lines), np.int32)
        known = np.zeros((n + 1, n), np.int32)  # known[c, p]: instructions of p that c knows to be done
        clocks: list[list[np.ndarray]] = [[] for _ in ENGINES]
        ops: list[list[Op]] = [[] for _ in ENGINES]
        at: dict[Op, int] = {}
        edges: list[tuple[int, int, int]] = []  # item that gives, item that takes, semaphore
        loops: list[tuple[int, Loop]] = []
        for number_of_item, item in enumerate(items):
            if isinstance(item, Loop):
                self.run(item.body)
                loops.append((number_of_item, item))
                continue
            if isinstance(item, Stop):
                continue
            me = ENGINES.index(item.engine) if isinstance(item, Op) else _SEQUENCER
            if isinstance(item, Calculate) and not item.reads:
                continue
            need = np.zeros(n, np.int32)
            for span in item.reads:
                need = np.maximum(need, wrote[:, self.where(span)].max(axis=1))
            writes = item.writes if isinstance(item, Op) else ()
            for span in writes:
                lines = self.where(span)
                need = np.maximum(need, np.maximum(wrote[:, lines].max(axis=1), read[:, lines].max(axis=1)))
            mine = known[me]
            if isinstance(item, Op):
                np.maximum(mine, known[_SEQUENCER], out=mine)
            for p in np.argsort(-need):  # the latest first: what it knew may spare another wait
                if p == me or need[p] <= mine[p]:
                    continue
                giver, token = ops[p][need[p] - 1], semaphore(int(p), me)
                giver.signal.add(token)
                item.wait.add(token)
                edges.append((at[giver], number_of_item, token))
                np.maximum(mine, clocks[p][need[p] - 1], out=mine)
            if isinstance(item, Op):
                ops[me].append(item)
                at[item] = number_of_item
                number = len(ops[me])
                mine[me] = number
                clocks[me].append(mine.copy())
                for span in item.reads:
                    read[me, self.where(span)] = number
                for span in writes:
                    wrote[me, self.where(span)] = number

        for place, loop in loops:
            for gives, takes, token in edges:
                if gives < place < takes:
                    loop.pending[token] = loop.pending.get(token, 0) + 1

    def where(self, span: Span) -> slice:
        """The lines of a span."""
        place, offset, size = span
        if isinstance(place, Buffer):
            first = (place.address + offset) // LINE
            return slice(first, -(-(place.address + offset + size) // LINE))
        return slice(self.areas[place], self.areas[place] + 1)
