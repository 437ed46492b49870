"""One operator alone, compiled as the compiler does it in a step: a product, a norm, attention over a cache.

Activations are in the scratchpad already, as within a step; weights, cache and the norm's weight come from memory. The
programs are for timing: what memory holds does not matter to them.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.definition import encode, word
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry, round_up
from tapeout.chip.isa.layout import row_bytes
from tapeout.chip.spec import Core
from tapeout.compiler.allocate import allocate
from tapeout.compiler.builder import Builder
from tapeout.compiler.emit import Code, emit
from tapeout.compiler.ir import VECTORS, WEIGHTS, Area, Buffer, Item, Ref, named, spans, walk
from tapeout.compiler.lower.attention import Query, attend
from tapeout.compiler.lower.cached import Kept, slot_layout
from tapeout.compiler.lower.context import Context, Floats, Rows, Step, by_row, each, reduce
from tapeout.compiler.lower.product import product as lower_product
from tapeout.compiler.lower.product import room
from tapeout.compiler.memory import Matrix, Memory
from tapeout.compiler.order import Ring, order
from tapeout.compiler.pipeline import SHARE
from tapeout.compiler.program import as_code
from tapeout.compiler.synchronise import synchronise
from tapeout.errors import DoesNotHold
from tapeout.model import load
from tapeout.numerics.plan import PRESETS

REGION = 1 << 34  # bytes between regions
REGIONS = ("weights", "vectors", "cache", "code")
BASE = REGION * REGIONS.index("code")  # of the program, for `simulate`
TILE = 128  # positions that attention works on at a time (numerics.schedule)
GIVEN = "given"  # buffers that hold the operator's inputs


def product(core: Core, m: int, n: int, k: int, format: str) -> NDArray[np.uint64]:
    """x · wᵀ: x [m, k] MXINT8 in the scratchpad, w [n, k] of `format` streamed from memory; FP32 [m, n] stays."""

    def body(c: Context) -> None:
        commands = c.memory.cut(n, k, format)
        size = commands[-1][-1].offset + commands[-1][-1].bytes
        matrix = Matrix(c.memory.room("weights", size, 4096), n, k, format, commands, size)
        x = Rows(_given(c, m * row_bytes(k)), k)
        lower_product(c, x, m, matrix, c.floats("outputs", m, n, room(c, n)))

    return _compiled(core, Step(m, 1), body)


def norm(core: Core, m: int, n: int) -> NDArray[np.uint64]:
    """RMSNorm of m rows of n, and the quantisation that a product's input needs."""

    def body(c: Context) -> None:
        stride = round_up(4 * n, BLOCK_BYTES)
        x = Floats(_given(c, m * stride), n, stride)
        weight = c.constants(c.memory.room("vectors", 4 * n), 4 * n, "weight")
        y = c.floats("norm", m, n)
        each(c, "vmul", y, x, m, x)
        s = reduce(c, "vtotal", y, m, "norm statistics")
        each(c, "vmul", s, s, m, 1.0 / n)
        each(c, "vadd", s, s, m, 1e-5)
        each(c, "vrsqrt", s, s, m)
        by_row(c, "vmul", y, x, m, s)
        each(c, "vmul", y, y, m, weight)
        q = c.rows("codes", m, n)
        c.builder.vector("vquantise", q.at, y.at, n, m, y.stride, q.stride, q.scales, q.stride, format=1)

    return _compiled(core, Step(m, 1), body)


def attention(core: Core, kv: int, group: int, dim: int, context: int) -> NDArray[np.uint64]:
    """One token's queries, `group` for each of `kv` heads of `dim` channels, over `context` cached positions, its own
    among them."""

    def body(c: Context) -> None:
        rows = kv * group
        position, slot = c.builder.argument(1, context - 1), c.builder.argument(2, 0)
        c.tables["ones"] = _given(c, 1024)
        q = Query(Rows(_given(c, rows * row_bytes(dim)), dim), 1, 0, kv, group, dim**-0.5, None, None)
        out = c.floats("attended", rows, round_up(dim, BLOCK_BYTES))
        attend(c, q, 0, position, slot, out)

    return _compiled(core, Step(1, 1), body, cache=(kv, dim, round_up(context + 1, 128)))


def _given(c: Context, size: int) -> Ref:
    """A buffer that is full when the operator starts."""
    return c.builder.buffer("given", size, GIVEN, 512).at()


def _compiled(
    core: Core, step: Step, body: Callable[[Context], None], cache: tuple[int, int, int] = (1, 32, 128)
) -> NDArray[np.uint64]:
    """The passes of `compiler.pipeline` over one operator. Raises DoesNotHold if the scratchpad is too small."""
    g, model, plan = Geometry.of(core), load("demo"), PRESETS["mxint8"]
    memory = Memory(model, plan, g, tiles=g.tiles, chunk_bytes=max(g.pad_bytes // SHARE, 4096))
    keys, values, size = slot_layout(cache[0], cache[1], cache[1], cache[2], 0)
    b = Builder(g)
    kept = Kept(((keys, values),), ((),), size, 0)
    body(Context(b, memory, model, plan, step, cache[2], TILE, kept, 1, {0: Area("cache")}))
    at = 0
    for buffer in _buffers(b.items, GIVEN):
        buffer.address, at = at, round_up(at + buffer.size, buffer.align)
    items, _ = order(b.items, g, _rings(b.items, g, allocate(b.items, at)))
    synchronise(items, g.pad_bytes)
    code = Code()
    emit(items, lambda region: REGION * REGIONS.index(region), code)
    return as_code([*code.words, encode(word(named("halt"), (), ()))])


def _buffers(items: list[Item], kind: str) -> list[Buffer]:
    """Those of a kind, in the order of their use."""
    found = (place for item in walk(items) for (place, _, _), _ in spans(item))
    return list(dict.fromkeys(b for b in found if isinstance(b, Buffer) and b.kind == kind))


def _rings(items: list[Item], g: Geometry, top: int) -> dict[str, Ring]:
    """The scratchpad above byte `top`: all vectors at once, the rest for weights."""
    start = round_up(top, 64)
    vectors = sum(round_up(b.size, b.align) for b in _buffers(items, VECTORS))
    most = max((b.size + b.align for b in _buffers(items, WEIGHTS)), default=0)
    room = (g.pad_bytes - start - vectors) // 64 * 64
    if room < 2 * most:
        raise DoesNotHold(f"scratchpad: {room} bytes for weights of {most}, twice")
    return {VECTORS: Ring(start, vectors), WEIGHTS: Ring(start + vectors, room)}
