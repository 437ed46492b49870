"""Places in the scratchpad and the compiler's clock: what lives at the same time never overlaps, streams that meet
begin in different banks, engines wait for one another's bytes and not for their own."""

from __future__ import annotations

import numpy as np
import pytest

from tapeout.chip import load
from tapeout.chip.isa.geometry import Geometry
from tapeout.compiler.allocate import allocate, lifetimes
from tapeout.compiler.banks import Banks
from tapeout.compiler.builder import Builder
from tapeout.compiler.clock import Clock
from tapeout.compiler.ir import VECTORS, Area, Buffer, Mem
from tapeout.compiler.order import Ring

CORE = load("tiny").core
G = Geometry.of(CORE)
BANKS = CORE.scratchpad.banks


def additions(seed: int, count: int = 60) -> Builder:
    """Sums of random rows, each of two buffers made before."""
    rng, b = np.random.default_rng(seed), Builder(G)
    made: list[tuple[Buffer, int]] = []
    for i in range(count):
        n = int(rng.integers(1, 40)) * 8
        out = b.buffer(f"b{i}", 4 * n)
        if len(made) < 3:
            b.load(out.at(), Mem("weights"), 4 * n)
        else:
            few = [x for x, size in made[-8:] if size >= n] or [out]
            x, y = (few[int(rng.integers(len(few)))] for _ in range(2))
            if out in (x, y):
                b.load(out.at(), Mem("weights"), 4 * n)
            else:
                b.vector("vadd", out.at(), x.at(), n, b=y.at())
        made.append((out, n))
    return b


def buffers(b: Builder) -> dict[Buffer, tuple[int, int]]:
    return lifetimes(b.items)


@pytest.mark.parametrize("seed", range(10))
def test_what_lives_at_the_same_time_is_apart(seed: int) -> None:
    b = additions(seed)
    for banks in (None, Banks(G, BANKS, b.items)):
        top = allocate(b.items, 64, G.pad_bytes // 3, banks)
        placed = list(buffers(b).items())
        for i, (x, (first, last)) in enumerate(placed):
            assert x.address >= 64 and x.address % x.align == 0 and x.address + x.size <= top
            for y, (begin, end) in placed[i + 1 :]:
                if first <= end and begin <= last:
                    assert x.address + x.size <= y.address or y.address + y.size <= x.address


@pytest.mark.parametrize("seed", range(10))
def test_streams_that_meet_are_in_different_banks(seed: int) -> None:
    b = additions(seed)
    banks = Banks(G, BANKS, b.items)

    def clashes() -> float:
        return sum(banks.cost(x, x.address) for x in buffers(b)) / 2

    allocate(b.items, 0, G.pad_bytes)
    before = clashes()
    allocate(b.items, 0, G.pad_bytes, banks)
    assert clashes() < before / 2


def test_a_clash_is_counted_by_phase() -> None:
    b = Builder(G)
    x, y, out = (b.buffer(n, 1024) for n in "xyo")
    b.vector("vadd", out.at(), x.at(), 256, b=y.at())
    banks = Banks(G, BANKS, b.items)
    x.address = 0
    assert banks.cost(y, 0) == banks.cost(y, BANKS * G.word_bytes) == 256 / G.lanes
    assert banks.cost(y, G.word_bytes) == 0 and banks.cost(y, G.word_bytes // 2) == 128 / G.lanes
    # the result comes `VECTOR_ADD` passes after its operands
    behind = int(banks.meetings[out][0].ahead)
    assert banks.cost(out, behind) == 256 / G.lanes and banks.cost(out, behind + 2 * G.word_bytes) == 0


@pytest.mark.parametrize("seed", range(10))
def test_a_ring_never_overwrites_what_is_live(seed: int) -> None:
    rng, b = np.random.default_rng(seed), additions(seed)
    sizes = [Buffer(f"r{i}", int(rng.integers(1, 60)) * 32, VECTORS) for i in range(300)]
    other = next(iter(buffers(b)))
    other.address = 0
    banks = Banks(G, BANKS, b.items)
    for x in sizes[::2]:
        banks.meetings[x] = banks.meetings.get(other, [])
    ring, freed, live, waiting = Ring(4096, 8192, banks), dict[Buffer, float](), list[Buffer](), list(sizes)
    while waiting:
        x = waiting[0]
        after = ring.place(x, freed)
        live = [y for y in live if y not in freed]
        if after is None:
            assert live  # an empty ring has room
            freed[live[0]] = float(len(freed))
            continue
        waiting.pop(0)
        assert x.address >= 4096 and x.address + x.size <= 4096 + 8192 and x.address % x.align == 0
        for y in live:
            assert x.address + x.size <= y.address or y.address + y.size <= x.address
        live.append(x)
        if rng.random() < 0.5:
            freed[live[0]] = float(len(freed))


def test_an_engine_waits_for_others_and_not_for_itself() -> None:
    b = Builder(G)
    x, y = b.buffer("x", 256), b.buffer("y", 256)
    area = Area("cache")
    b.store(x.at(), Mem("cache"), 64, area=area)
    b.store(y.at(), Mem("cache", 64), 64, area=area)
    b.load(x.at(), Mem("cache"), 64, area=area)  # after both are in memory
    b.vector("vadd", y.at(128), y.at(128), 8, b=1.0)  # other bytes than the store reads
    b.vector("vadd", y.at(), y.at(), 8, b=1.0)  # its bytes
    clock, seen = Clock(G), list[tuple[float, float]]()
    clock.observe = lambda op, begin, free, done: seen.append((begin, done))
    for item in b.items:
        clock.take(item)
    first, second, back, apart, same = seen
    assert second[0] < first[1]  # the second store goes out before the first is done
    assert back[0] == second[1]
    assert apart[0] < second[1] <= same[0]


def test_the_sequencer_waits_for_a_full_queue() -> None:
    b = Builder(G)
    x = b.buffer("x", 1 << 14)
    for _ in range(20):
        b.vector("vadd", x.at(), x.at(), 4096, b=1.0)
    clock, at = Clock(G), list[float]()
    for item in b.items:
        clock.take(item)
        at.append(clock.now)
    long = 4096 / G.lanes
    assert at[3] - at[0] < long < at[19] - at[5]  # four go in at once, then one as one begins
    assert 12 * long < at[19] - at[5] < 16 * long
