"""The middle of a gated network: act(gate)·up, in the orders of `numerics.vector`."""

from __future__ import annotations

from tapeout.compiler.lower.context import Context, Floats, each
from tapeout.numerics import vector


def activated(c: Context, kind: str, gate: Floats, rows: int, limit: float | None) -> Floats:
    """act(gate) for `rows` rows, which needs nothing of up; gate is overwritten."""
    y = c.floats("gated", rows, gate.n)
    if kind == "clamped_swiglu":
        each(c, "vminimum", gate, gate, rows, _bound(limit))
        each(c, "vmul", y, gate, rows, float(vector.SWIGLU_ALPHA))
        each(c, "vsigmoid", y, y, rows)
        each(c, "vmul", y, gate, rows, y)
    elif kind == "silu":
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
    return y


def times_up(c: Context, kind: str, y: Floats, up: Floats, rows: int, limit: float | None) -> None:
    """y = y·up, where y is what `activated` gave; up is overwritten."""
    if kind != "clamped_swiglu":
        each(c, "vmul", y, y, rows, up)
        return
    each(c, "vminimum", up, up, rows, _bound(limit))
    each(c, "vmaximum", up, up, rows, -_bound(limit))
    each(c, "vadd", up, up, rows, 1.0)
    each(c, "vmul", y, up, rows, y)


def gated(c: Context, kind: str, gate: Floats, up: Floats, rows: int, limit: float | None) -> Floats:
    """act(gate)·up for `rows` rows; gate and up are overwritten."""
    y = activated(c, kind, gate, rows, limit)
    times_up(c, kind, y, up, rows, limit)
    return y


def _bound(limit: float | None) -> float:
    return 7.0 if limit is None else float(limit)
