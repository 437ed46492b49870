"""The gated delta rule (arXiv 2412.06464) and what is around it, in FP32, each multiplication and addition rounded.

Per value head a state S [key_dim, value_dim], per token a query q and a key k (those of the key head that it shares),
a value v, a decay d and a rate β:

    S = S·d;  m = Sᵀk;  S = S + k ⊗ (v − m)·β;  o = Sᵀq

Sums over key channels go by halves of rows (`rows_total`), which a vector engine adds as whole rows.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from tapeout.numerics import fp32, functions, vector
from tapeout.numerics.fp32 import F32, add, mul, sub

EPSILON = np.float32(1e-6)  # of the normalisation of queries and keys
SERIES = tuple(np.float32(2.0 / (2 * i + 1)) for i in range(8))  # of 2·atanh(z)/z in powers of z²


def rows_total(x: ArrayLike) -> F32:
    """The sum of float32 [..., rows, n] over the rows, rows ≥ 1.

    Order: with h the largest power of two below the number of rows, row i + h is added to row i; then so on with the
    first h rows.
    """
    x = np.asarray(x, dtype=np.float32)
    while x.shape[-2] > 1:
        half = 1 << (x.shape[-2] - 1).bit_length() - 1
        more = x.shape[-2] - half
        x = np.concatenate([add(x[..., :more, :], x[..., half:, :]), x[..., more:half, :]], axis=-2)
    return x[..., 0, :]


def softplus(x: ArrayLike) -> F32:
    """ln(1 + eˣ).

    Order: t = exp2(max(x, −x)·−log2(e)); z = t·reciprocal(t + 2); s = z·z; p from the last of `SERIES` down, p·s + the
    next; max(x, 0) + z·p. ln(1 + t) = 2·atanh(t / (2 + t)), where z ≤ 1/3.
    """
    x = np.asarray(x, dtype=np.float32)
    magnitude = fp32.maximum(x, mul(x, np.float32(-1)))
    t = functions.exp2(mul(magnitude, -vector.LOG2E))
    z = mul(t, functions.reciprocal(add(t, np.float32(2))))
    s = mul(z, z)
    p = mul(s, SERIES[-1])
    for c in SERIES[-2:0:-1]:
        p = mul(add(p, c), s)
    return add(fp32.maximum(x, np.float32(0)), mul(z, add(p, SERIES[0])))


def rate(a_log: ArrayLike) -> F32:
    """What `decay` multiplies: −exp(A_log)·log2(e), in double, rounded to FP32."""
    return np.asarray(-np.exp(np.asarray(a_log, np.float64)) * math.log2(math.e), np.float32)


def decay(a: ArrayLike, bias: ArrayLike, rates: ArrayLike) -> F32:
    """exp2(softplus(a + bias)·rates), of `rate`'s: how much of the state stays."""
    return functions.exp2(mul(softplus(add(a, bias)), rates))


def convolve(x: ArrayLike, weight: ArrayLike) -> F32:
    """silu of a causal convolution of each channel: x [width − 1 + tokens, n], the first width − 1 rows from
    before; weight [n, width] → [tokens, n]. Products of increasing age last to first are added in order: the oldest
    first."""
    x, w = np.asarray(x, np.float32), np.asarray(weight, np.float32)
    width, tokens = w.shape[1], len(x) - w.shape[1] + 1
    y = mul(x[:tokens], w[:, 0])
    for j in range(1, width):
        y = add(y, mul(x[j : j + tokens], w[:, j]))
    return vector.silu(y)


def normalised(x: ArrayLike, scale: float = 1.0) -> F32:
    """x [..., n] × rsqrt(total(x²) + ε), times `scale` (in double, rounded to FP32) if that is not 1."""
    x = np.asarray(x, dtype=np.float32)
    y = mul(x, functions.rsqrt(add(vector.total(mul(x, x)), EPSILON))[..., None])
    return y if scale == 1.0 else mul(y, np.float32(scale))


def gated_delta(q: F32, k: F32, v: F32, decays: F32, betas: F32, state: F32) -> F32:
    """Tokens one after another: q, k [tokens, key heads, key_dim], v [tokens, heads, value_dim], decays and betas
    [tokens, heads]; state [heads, key_dim, value_dim] is changed → [tokens, heads, value_dim].

    Value head h shares key head h // (heads / key heads).
    """
    out = np.empty_like(v)
    share = v.shape[1] // k.shape[1]
    for t in range(len(v)):
        key, query = (np.repeat(x[t], share, axis=0)[:, :, None] for x in (k, q))
        state[:] = mul(state, decays[t][:, None, None])
        memory = rows_total(mul(state, key))
        change = mul(sub(v[t], memory), betas[t][:, None])
        state[:] = add(state, mul(change[:, None, :], key))
        out[t] = rows_total(mul(state, query))
    return out
