"""RMSNorm, in the order of `numerics.vector.rms_norm`."""

from __future__ import annotations

from tapeout.compiler.ir import Ref
from tapeout.compiler.lower.context import Context, Floats, by_row, each, reduce
from tapeout.model.architecture import Tensor


def weight_of(c: Context, tensor: Tensor | None, n: int) -> Ref | None:
    """A norm's weight, with the model's offset added."""
    if tensor is None:
        return None
    return c.vector(tensor, n, add=c.model.norm_offset) if c.model.norm_offset else c.vector(tensor, n)


def rms_norm(c: Context, x: Floats, rows: int, weight: Tensor | None, out: Floats | None = None) -> Floats:
    """x × rsqrt(mean(x²) + ε) × weight, to `out` (which may be x) or a new buffer."""
    return normed(c, x, rows, weight_of(c, weight, x.n), out)


def normed(c: Context, x: Floats, rows: int, scale: Ref | None, out: Floats | None = None) -> Floats:
    """`rms_norm` with its weight in the scratchpad."""
    y = c.floats("norm", rows, x.n)
    each(c, "vmul", y, x, rows, x)
    s = reduce(c, "vtotal", y, rows, "norm statistics")
    each(c, "vmul", s, s, rows, 1.0 / x.n)
    each(c, "vadd", s, s, rows, c.model.norm_epsilon)
    each(c, "vrsqrt", s, s, rows)
    to = y if out is None else out
    by_row(c, "vmul", to, x, rows, s)
    if scale is not None:
        each(c, "vmul", to, to, rows, scale)
    return to
