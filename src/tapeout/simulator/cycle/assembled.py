"""Operators without a model's program around them, through the compiler's passes: programs for timing alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.definition import encode, word
from tapeout.chip.isa.geometry import Geometry, round_up
from tapeout.chip.spec import Core
from tapeout.compiler.allocate import allocate
from tapeout.compiler.banks import Banks
from tapeout.compiler.builder import Builder
from tapeout.compiler.emit import Code, emit
from tapeout.compiler.ir import EXPERTS, VECTORS, WEIGHTS, Area, Buffer, Item, Ref, named, spans, walk
from tapeout.compiler.lower.cached import Kept, slot_layout
from tapeout.compiler.lower.context import Context, Step
from tapeout.compiler.memory import Memory
from tapeout.compiler.order import Ring, order
from tapeout.compiler.pipeline import RESTING, SHARE
from tapeout.compiler.program import Operator, as_code
from tapeout.compiler.synchronise import synchronise
from tapeout.errors import DoesNotHold
from tapeout.model import load
from tapeout.numerics.plan import PRESETS

REGION = 1 << 34  # bytes between regions
STREAMS = tuple(f"stream {i}" for i in range(48))  # regions of memory that differ in their rate
REGIONS = ("weights", "vectors", "cache", "spill", "code", *STREAMS)
BASE = REGION * REGIONS.index("code")  # of the program, for `simulate`
TILE = 128  # positions that attention works on at a time (numerics.schedule)
GIVEN = "given"  # buffers that hold what is there at the start


@dataclass(frozen=True, eq=False)
class Assembled:
    """A program at BASE, and for each instruction the number of its operator."""

    code: NDArray[np.uint64]
    origin: NDArray[np.int32]
    operators: tuple[Operator, ...]


def given(c: Context, size: int) -> Ref:
    """A buffer that is full when the program starts."""
    return c.builder.buffer("given", size, GIVEN, 512).at()


def assembled(
    core: Core,
    step: Step,
    body: Callable[[Context], None],
    cache: tuple[int, int, int, int] = (1, 32, 32, 128),
    slower: Mapping[str, float] | None = None,
) -> Assembled:
    """The passes of `compiler.pipeline` over what `body` lowers. `cache`: heads, channels of keys and of values, and
    positions of the one layer there is. `slower`: regions of memory, as of `compiler.clock.Clock`. Raises DoesNotHold
    if the scratchpad is too small."""
    g, model, plan = Geometry.of(core), load("demo"), PRESETS["mxint8"]
    memory = Memory(model, plan, g, tiles=g.tiles, chunk_bytes=max(g.pad_bytes // SHARE, 4096))
    heads, dim, wide, positions = cache
    keys, values, size = slot_layout(heads, dim, wide, positions, 0)
    b = Builder(g)
    kept = Kept(((keys, values),), ((),), size, 0)
    body(Context(b, memory, model, plan, step, positions, TILE, kept, 1, {0: Area("cache")}))
    at = 0
    for buffer in _buffers(b.items, GIVEN):
        buffer.address, at = at, round_up(at + buffer.size, buffer.align)
    banks = Banks(g, core.scratchpad.banks, b.items)
    top = allocate(b.items, at, g.pad_bytes // RESTING[0], banks)
    try:
        rings = _rings(b.items, g, top, banks)
    except DoesNotHold:
        rings = _rings(b.items, g, allocate(b.items, at), banks)
    items, _ = order(b.items, g, rings, slower)
    synchronise(items, g.pad_bytes)
    code = Code()
    emit(items, lambda region: REGION * REGIONS.index(region), code)
    code.words.append(encode(word(named("halt"), (), ())))
    code.origin.append(Operator(None, "start"))
    operators = list(dict.fromkeys(code.origin))
    number = {o: i for i, o in enumerate(operators)}
    origin = np.array([number[o] for o in code.origin], np.int32)
    return Assembled(as_code(code.words), origin, tuple(operators))


def _buffers(items: list[Item], kind: str) -> list[Buffer]:
    """Those of a kind, in the order of their use."""
    found = (place for item in walk(items) for (place, _, _), _ in spans(item))
    return list(dict.fromkeys(b for b in found if isinstance(b, Buffer) and b.kind == kind))


def _rings(items: list[Item], g: Geometry, top: int, banks: Banks) -> dict[str, Ring]:
    """The scratchpad above byte `top`: vectors as much as they need, the rest for weights, and of that half for those
    of experts if there are any; less or more where one of the two needs it for two loads."""
    at = round_up(top, 64)
    found = {kind: _buffers(items, kind) for kind in (VECTORS, EXPERTS, WEIGHTS)}
    most = {kind: max((b.size + b.align for b in some), default=0) for kind, some in found.items()}
    vectors = min(sum(round_up(b.size, b.align) for b in found[VECTORS]), 4 * most[VECTORS])
    room = g.pad_bytes - at - vectors
    size = dict.fromkeys(found, vectors)
    size[EXPERTS] = room if found[EXPERTS] else 0
    if found[EXPERTS] and found[WEIGHTS]:
        half = room // 2
        size[EXPERTS] = max(min(half, room - 2 * most[WEIGHTS]), min(2 * most[EXPERTS], half + half // 2))
    size[WEIGHTS] = room - size[EXPERTS]
    rings = {}
    for kind, some in found.items():
        if kind != VECTORS and some and size[kind] < 2 * most[kind]:
            raise DoesNotHold(f"scratchpad: {max(size[kind], 0)} bytes for {kind} of {most[kind]}, twice")
        rings[kind] = Ring(at, size[kind] // 64 * 64, banks)
        at += size[kind] // 64 * 64
    return rings
