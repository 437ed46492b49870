"""Vector operations: everything between the matrix products, with its order of operations.

All arithmetic is FP32, one rounding per multiplication or addition, never fused. Sums go through 32 partial
sums whatever number of lanes a chip has: element i is added to partial i mod 32, i increasing, then the
partials are added by halving (p[i] += p[i + 16], then 8, 4, 2, 1). A unit of L lanes keeps 32 / L partials in
each, so a pipelined adder never waits for itself until L times its latency exceeds 32.
Constants such as 1/n are computed in double and rounded to FP32.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.numerics import fp32, functions
from tapeout.numerics.fp32 import F32, add, mul, sub

PARTIALS = 32
LOG2E = np.float32(math.log2(math.e))


def total(x: ArrayLike) -> F32:
    """The sum of float32 [..., n] over the last axis, in the order above. n = 0 gives +0."""
    x = np.asarray(x, dtype=np.float32)
    p = np.zeros((*x.shape[:-1], PARTIALS), np.float32)
    for i in range(0, x.shape[-1], PARTIALS):
        row = x[..., i : i + PARTIALS]
        n = row.shape[-1]
        p[..., :n] = add(p[..., :n], row)
    half = PARTIALS // 2
    while half:
        p = add(p[..., :half], p[..., half : 2 * half])
        half //= 2
    return p[..., 0]


def greatest(x: ArrayLike) -> F32:
    """The largest of float32 [..., n] (NaN if any is); −∞ if n = 0. Order does not matter."""
    x = np.asarray(x, dtype=np.float32)
    result = np.full(x.shape[:-1], -np.inf, np.float32)
    for i in range(x.shape[-1]):
        result = fp32.maximum(result, x[..., i])
    return result


def rms_norm(x: ArrayLike, weight: ArrayLike | None, epsilon: float) -> F32:
    """x [..., n] × rsqrt(mean(x²) + ε) × weight [n].

    Order: s = total(x·x); r = rsqrt(s·(1/n) + ε); (x·r)·weight. A model whose norm multiplies by 1 + weight
    passes 1 + weight. No weight: the last multiplication is left out.
    """
    x = np.asarray(x, dtype=np.float32)
    mean = mul(total(mul(x, x)), np.float32(1.0 / x.shape[-1]))
    y = mul(x, functions.rsqrt(add(mean, np.float32(epsilon)))[..., None])
    return y if weight is None else mul(y, weight)


def rope(x: ArrayLike, cos: ArrayLike, sin: ArrayLike, interleaved: bool = False) -> F32:
    """Rotate the first 2·h channels of x [..., d] by cos, sin [..., h]; the rest pass.

    Pairs are (i, i + h), or (2i, 2i + 1) if `interleaved`: (a·cos − b·sin, b·cos + a·sin), each product
    rounded. A result takes the place of its input.
    """
    x = np.asarray(x, dtype=np.float32)
    h = np.shape(cos)[-1]
    first, second = (
        (slice(0, 2 * h, 2), slice(1, 2 * h, 2)) if interleaved else (slice(0, h), slice(h, 2 * h))
    )
    a, b = x[..., first], x[..., second]
    y = x.copy()
    y[..., first] = sub(mul(a, cos), mul(b, sin))
    y[..., second] = add(mul(b, cos), mul(a, sin))
    return y


def softmax(x: ArrayLike) -> F32:
    """exp(x − max) / Σ over the last axis of float32 [..., n], n ≥ 1.

    Order: t = x·log2(e); e = exp2(t − greatest(t)); e·reciprocal(total(e)).
    """
    t = mul(x, LOG2E)
    e = functions.exp2(sub(t, greatest(t)[..., None]))
    return mul(e, functions.reciprocal(total(e))[..., None])


def silu(x: ArrayLike) -> F32:
    """x · sigmoid(x)."""
    return mul(x, functions.sigmoid(x))


GELU_CUBIC = np.float32(0.044715)
GELU_SCALE = np.float32(2.0 * math.sqrt(2.0 / math.pi))


def gelu_tanh(x: ArrayLike) -> F32:
    """The tanh form of GELU as x·sigmoid(2√(2/π)·(x + 0.044715·x³)).

    Order: c = ((x·x)·x)·0.044715; z = (x + c)·2√(2/π); x·sigmoid(z).
    """
    x = np.asarray(x, dtype=np.float32)
    cubic = mul(mul(mul(x, x), x), GELU_CUBIC)
    return mul(x, functions.sigmoid(mul(add(x, cubic), GELU_SCALE)))


def relu2(x: ArrayLike) -> F32:
    """max(x, 0)²."""
    r = fp32.maximum(x, np.float32(0))
    return mul(r, r)


SWIGLU_ALPHA = np.float32(1.702)


def clamped_swiglu(gate: ArrayLike, up: ArrayLike, limit: float) -> F32:
    """gpt-oss: g = min(gate, limit); u = max(min(up, limit), −limit); (u + 1) · (g · sigmoid(1.702·g))."""
    limit32 = np.float32(limit)
    g = fp32.minimum(gate, limit32)
    u = fp32.maximum(fp32.minimum(up, limit32), -limit32)
    return mul(add(u, np.float32(1)), mul(g, functions.sigmoid(mul(g, SWIGLU_ALPHA))))


ACTIVATIONS = {"silu": silu, "gelu_tanh": gelu_tanh, "relu2": relu2}


def gated(kind: str, gate: ArrayLike, up: ArrayLike, limit: float | None = None) -> F32:
    """The product in the middle of a gated network: act(gate)·up, or `clamped_swiglu`."""
    if kind == "clamped_swiglu":
        return clamped_swiglu(gate, up, 7.0 if limit is None else limit)
    return mul(ACTIVATIONS[kind](gate), up)


def top_k(x: ArrayLike, k: int) -> NDArray[np.int32]:
    """Indices [..., k] of the k largest of float32 [..., n], largest first.

    Compared as the integers of `fp32.order_key` (NaN above +∞, +0 above −0); of equals the lower index wins.
    """
    key = fp32.order_key(fp32.canonical(x)).astype(np.int64)
    return np.argsort(-key, axis=-1, kind="stable")[..., :k].astype(np.int32)


def combine(x: ArrayLike, weights: ArrayLike) -> F32:
    """Σ weights[i]·x[i] over the chosen experts: x [k, n], weights [k] → [n].

    Order: the first product, then each further product added, in the order of choice. No product is fused.
    """
    x, weights = np.asarray(x, dtype=np.float32), np.asarray(weights, dtype=np.float32)
    result = mul(x[0], weights[0])
    for i in range(1, len(x)):
        result = add(result, mul(x[i], weights[i]))
    return result
