"""The fast versions: the same functions as the definitions, the same bits, native where possible.

Arrays are float32 and contiguous (converted if not). Without the native library each function falls back to NumPy:
the definition itself, except for the product, which takes exact BLAS products block by block.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.numerics import attention as plain_attention
from tapeout.numerics import convert, fp32, functions, library, vector
from tapeout.numerics.fast_product import (
    CODES,
    TILE,
    Groups,
    Weights,
    WeightsBuilder,
    as_weights,
    contiguous,
    empty,
    group_by_expert,
    matmul,
    prepare,
    quantise,
)
from tapeout.numerics.formats import Mx, MxFormat

__all__ = [
    "TILE", "Groups", "Weights", "WeightsBuilder", "add", "append", "as_weights", "attend", "combine", "exp2", "gate",
    "group_by_expert", "matmul", "prepare", "quantise", "reciprocal", "rms_norm", "rope", "rsqrt", "sigmoid",
    "softmax", "top_k",
]  # fmt: skip
GATES = {"silu": 0, "gelu_tanh": 1, "relu2": 2, "clamped_swiglu": 3}
I32 = NDArray[np.int32]


def append(x: fp32.F32, to: Mx, start: int) -> None:
    """Quantise x [tokens, heads, d] into positions start … of a cache [heads, capacity, …]."""
    x = contiguous(x)
    tokens, heads, d = x.shape
    if library.LIBRARY is None:
        q = convert.quantise(x, to.format)
        to.codes[:, start : start + tokens] = q.codes.swapaxes(0, 1)
        to.scales[:, start : start + tokens] = q.scales.swapaxes(0, 1)
        return
    library.LIBRARY.append(
        CODES[to.format.name], x, tokens, heads, d, to.scales.shape[1], start, to.codes, to.scales
    )


def exp2(x: ArrayLike) -> fp32.F32:
    """`functions.exp2`."""
    return _map(0, x)


def reciprocal(x: ArrayLike) -> fp32.F32:
    """`functions.reciprocal`."""
    return _map(1, x)


def rsqrt(x: ArrayLike) -> fp32.F32:
    """`functions.rsqrt`."""
    return _map(2, x)


def sigmoid(x: ArrayLike) -> fp32.F32:
    """`functions.sigmoid`."""
    return _map(3, x)


_DEFINITIONS = (functions.exp2, functions.reciprocal, functions.rsqrt, functions.sigmoid)


def _map(which: int, x: ArrayLike) -> fp32.F32:
    x = contiguous(x)
    if library.LIBRARY is None:
        return _DEFINITIONS[which](x)
    y = np.empty_like(x)
    library.LIBRARY.map(which, x, y, x.size)
    return y


def add(a: fp32.F32, b: fp32.F32) -> fp32.F32:
    """a + b, the same shape on both sides."""
    if library.LIBRARY is None:
        return fp32.add(a, b)
    a, b = contiguous(a), contiguous(b)
    assert a.shape == b.shape
    y = np.empty_like(a)
    library.LIBRARY.add(a, b, a.size, y)
    return y


def rms_norm(
    x: ArrayLike, weight: fp32.F32 | None, epsilon: float, format: MxFormat | None = None
) -> tuple[fp32.F32, Mx | None]:
    """`vector.rms_norm` of x [..., n], and the same in `format` if one is given (rows flattened)."""
    x = contiguous(x)
    n = x.shape[-1]
    if library.LIBRARY is None:
        y = vector.rms_norm(x, weight, epsilon)
        return y, None if format is None else convert.quantise(y.reshape(-1, n), format)
    rows = x.size // n
    y = np.empty_like(x)
    q = None if format is None else empty(format, (rows,), n)
    library.LIBRARY.rms_norm(
        x,
        weight,
        float(epsilon),
        rows,
        n,
        y,
        0 if format is None else CODES[format.name],
        None if q is None else q.codes,
        None if q is None else q.scales,
    )
    return y, q


def rope(x: fp32.F32, cos: fp32.F32, sin: fp32.F32, interleaved: bool = False) -> fp32.F32:
    """`vector.rope` of x [tokens, heads, d] by cos, sin [tokens, h]; x itself is changed where it is contiguous."""
    if library.LIBRARY is None:
        return vector.rope(x, cos[:, None, :], sin[:, None, :], interleaved)
    x, cos, sin = contiguous(x), contiguous(cos), contiguous(sin)
    tokens, heads, d = x.shape
    library.LIBRARY.rope(x, cos, sin, tokens, heads, d, cos.shape[1], int(interleaved))
    return x


def softmax(x: ArrayLike) -> fp32.F32:
    """`vector.softmax`."""
    x = contiguous(x)
    if library.LIBRARY is None:
        return vector.softmax(x)
    y = np.empty_like(x)
    library.LIBRARY.softmax(x, x.size // max(x.shape[-1], 1), x.shape[-1], y)
    return y


def top_k(x: ArrayLike, k: int) -> I32:
    """`vector.top_k` of x [..., n]."""
    x = contiguous(x)
    if library.LIBRARY is None:
        return vector.top_k(x, k)
    y = np.empty((*x.shape[:-1], k), np.int32)
    library.LIBRARY.top_k(x, x.size // x.shape[-1], x.shape[-1], k, y)
    return y


def gate(
    kind: str, x: fp32.F32, interleaved: bool, limit: float | None = None, format: MxFormat | None = None
) -> tuple[fp32.F32, Mx | None]:
    """act(gate)·up of x [rows, 2n] (clamped_swiglu: its own formula), and the same in `format` if one is given."""
    x = contiguous(x)
    rows, n = x.shape[0], x.shape[1] // 2
    if library.LIBRARY is None:
        g, u = (x[:, 0::2], x[:, 1::2]) if interleaved else (x[:, :n], x[:, n:])
        y = vector.gated(kind, g, u, limit)
        return y, None if format is None else convert.quantise(y, format)
    y = np.empty((rows, n), np.float32)
    q = None if format is None else empty(format, (rows,), n)
    library.LIBRARY.gate(
        GATES[kind],
        int(interleaved),
        x,
        7.0 if limit is None else float(limit),
        rows,
        n,
        y,
        0 if format is None else CODES[format.name],
        None if q is None else q.codes,
        None if q is None else q.scales,
    )
    return y, q


def combine(x: fp32.F32, slot: I32, weights: fp32.F32) -> fp32.F32:
    """`vector.combine` for each token: rows slot [tokens, k] of x [rows, n], weights [tokens, k] → [tokens, n]."""
    if library.LIBRARY is None:
        rows = [vector.combine(x[s], w) for s, w in zip(slot, weights, strict=True)]
        return np.stack(rows) if rows else np.empty((0, x.shape[1]), np.float32)
    x, weights, slot = contiguous(x), contiguous(weights), np.ascontiguousarray(slot, np.int32)
    y = np.empty((len(slot), x.shape[1]), np.float32)
    library.LIBRARY.combine(x, slot, weights, None, *slot.shape, x.shape[1], y)
    return y


def attend(
    q: fp32.F32,
    k: Mx,
    v: Mx,
    positions: int,
    low: I32,
    high: I32,
    scale: float,
    activation: MxFormat,
    value_dim: int,
    sinks: fp32.F32 | None = None,
    tile: int = plain_attention.TILE,
) -> fp32.F32:
    """`attention.attend` for all heads of one sequence.

    q [tokens, heads, d]; caches k [kv_heads, capacity, d], v [kv_heads, capacity, value_dim] with `positions` valid;
    token i sees positions low[i] … high[i] − 1; sinks [heads] → float32 [tokens, heads, value_dim].
    """
    q = contiguous(q)
    tokens, heads, d = q.shape
    kv_heads, capacity = k.scales.shape[:2]
    group = heads // kv_heads
    out = np.empty((tokens, heads, value_dim), np.float32)
    if library.LIBRARY is None:
        at = np.arange(positions)
        visible = np.repeat((at >= low[:, None]) & (at < high[:, None]), group, axis=0)
        for h in range(kv_heads):
            rows = q[:, h * group : (h + 1) * group].reshape(-1, d)
            sink = None if sinks is None else np.tile(sinks[h * group : (h + 1) * group], tokens)
            y = plain_attention.attend(
                rows, k[h, :positions], v[h, :positions], visible, scale, activation, sink, tile
            )
            out[:, h * group : (h + 1) * group] = y[:, :value_dim].reshape(tokens, group, value_dim)
        return out
    low, high = np.ascontiguousarray(low, np.int32), np.ascontiguousarray(high, np.int32)
    sinks = None if sinks is None else contiguous(sinks)
    library.LIBRARY.attention(
        q,
        sinks,
        low,
        high,
        k.codes,
        k.scales,
        v.codes,
        v.scales,
        tokens,
        heads,
        kv_heads,
        d,
        value_dim,
        positions,
        capacity,
        tile,
        CODES[activation.name],
        CODES[k.format.name],
        float(plain_attention.factor(scale)),
        out,
    )
    return out
