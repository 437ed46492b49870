"""One operator alone, compiled as the compiler does it in a step: a product, a norm, attention over a cache.

Activations are in the scratchpad already, as within a step; weights, cache and the norm's weight come from memory. The
programs are for timing: what memory holds does not matter to them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.geometry import BLOCK_BYTES, round_up
from tapeout.chip.isa.layout import row_bytes
from tapeout.chip.spec import Core
from tapeout.compiler.lower.attention import Query, attend, extent
from tapeout.compiler.lower.context import Context, Floats, Rows, Step, by_row, each, reduce
from tapeout.compiler.lower.product import product as lower_product
from tapeout.compiler.lower.product import room
from tapeout.compiler.memory import Matrix
from tapeout.simulator.cycle.assembled import BASE, assembled, given

__all__ = ["BASE", "attention", "norm", "product"]


def product(core: Core, m: int, n: int, k: int, format: str) -> NDArray[np.uint64]:
    """x · wᵀ: x [m, k] MXINT8 in the scratchpad, w [n, k] of `format` streamed from memory; FP32 [m, n] stays."""

    def body(c: Context) -> None:
        commands = c.memory.cut(n, k, format)
        size = commands[-1][-1].offset + commands[-1][-1].bytes
        matrix = Matrix(c.memory.room("weights", size, 4096), n, k, format, commands, size)
        x = Rows(given(c, m * row_bytes(k)), k)
        lower_product(c, x, m, matrix, c.floats("outputs", m, n, room(c, n)))

    return assembled(core, Step(m, 1), body).code


def norm(core: Core, m: int, n: int) -> NDArray[np.uint64]:
    """RMSNorm of m rows of n, and the quantisation that a product's input needs."""

    def body(c: Context) -> None:
        stride = round_up(4 * n, BLOCK_BYTES)
        x = Floats(given(c, m * stride), n, stride)
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

    return assembled(core, Step(m, 1), body).code


def attention(core: Core, kv: int, group: int, dim: int, context: int) -> NDArray[np.uint64]:
    """One token's queries, `group` for each of `kv` heads of `dim` channels, over `context` cached positions, its own
    among them."""

    def body(c: Context) -> None:
        rows = kv * group
        position, slot = c.builder.argument(1, context - 1), c.builder.argument(2, 0)
        c.tables["ones"] = given(c, 1024)
        q = Query(Rows(given(c, rows * row_bytes(dim)), dim), 1, 0, kv, group, dim**-0.5, None, None)
        out = c.floats("attended", rows, round_up(dim, BLOCK_BYTES), extent(c, dim))
        attend(c, q, 0, position, slot, out)

    cache = (kv, dim, dim, round_up(context + 1, 128))
    return assembled(core, Step(1, 1), body, cache).code
