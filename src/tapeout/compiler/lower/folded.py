"""Maxima and sums of many rows: folded by the lanes until they are as short as the reducers are wide.

The reducers take VECTOR_REDUCED elements of a row a cycle (32 partial sums and an adder of some cycles allow no more),
the lanes as many as there are. An instruction over all rows for each fold pays for many rows on many lanes.
"""

from __future__ import annotations

from tapeout.chip.isa import timing
from tapeout.compiler.ir import Ref
from tapeout.compiler.lower.context import Context, Floats
from tapeout.numerics.vector import PARTIALS

ROWS = 16  # from which on the cycles that are saved are more than the instructions between cost


def worthwhile(c: Context, rows: int) -> bool:
    """Whether so many rows are folded on this chip."""
    return rows >= ROWS and c.g.lanes >= PARTIALS


def folded(c: Context, name: str, x: Floats, spare: Floats, rows: int, out: Floats) -> None:
    """The greatest (`vgreatest`) or the sum (`vtotal`) of each row of `x`, a tile of positions wide, none of them -0
    where they are summed. Sums go in the order of `numerics.vector.total`: blocks of 32 one after another, then
    halves. `spare`: as many rows, as far apart."""
    b, stride, narrow = c.builder, x.stride, timing.VECTOR_REDUCED

    def combine(first: Ref, second: Ref, n: int) -> None:
        which = "vmaximum" if name == "vgreatest" else "vadd"
        b.vector(which, spare.at, first, n, rows, stride, stride, second, stride)

    if name == "vgreatest":
        width = c.tile // 2
        combine(x.at, x.at + 4 * width, width)
    else:
        width = PARTIALS
        combine(x.at, x.at + 4 * width, width)
        for block in range(2, c.tile // width):
            combine(spare.at, x.at + 4 * width * block, width)
    while width > narrow:
        width //= 2
        combine(spare.at, spare.at + 4 * width, width)
    b.vector(name, out.at, spare.at, narrow, rows, stride, out.stride)
