"""The middle of a gated network: act(gate)·up, in the orders of `numerics.vector`."""

from __future__ import annotations

from tapeout.compiler.lower.context import Context, Floats, each
from tapeout.numerics import vector


def gated(c: Context, kind: str, gate: Floats, up: Floats, rows: int, limit: float | None) -> Floats:
    """act(gate)·up for `rows` rows; gate and up are overwritten."""
    y = c.floats("gated", rows, gate.n)
    if kind == "clamped_swiglu":
        bound = 7.0 if limit is None else limit
        each(c, "vminimum", gate, gate, rows, float(bound))
        each(c, "vmul", y, gate, rows, float(vector.SWIGLU_ALPHA))
        each(c, "vsigmoid", y, y, rows)
        each(c, "vmul", y, gate, rows, y)
        each(c, "vminimum", up, up, rows, float(bound))
        each(c, "vmaximum", up, up, rows, -float(bound))
        each(c, "vadd", up, up, rows, 1.0)
        each(c, "vmul", y, up, rows, y)
        return y
    if kind == "silu":
        each(c, "vsigmoid", y, gate, rows)
        each(c, "vmul", y, gate, rows, y)
    elif kind == "gelu_tanh":
        each(c, "vmul", y, gate, rows, gate)
        each(c, "vmul", y, y, rows, gate)
        each(c, "vmul", y, y, rows, float(vector.GELU_CUBIC))
        each(c, "vadd", y, gate, rows, y)
        each(c, "vmul", y, y, rows, float(vector.GELU_SCALE))
        each(c, "vsigmoid", y, y, rows)
        each(c, "vmul", y, gate, rows, y)
    elif kind == "relu2":
        each(c, "vmaximum", y, gate, rows, 0.0)
        each(c, "vmul", y, y, rows, y)
    else:
        raise AssertionError(kind)
    each(c, "vmul", y, y, rows, up)
    return y
