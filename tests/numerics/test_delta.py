"""The delta rule and what is around it, against the same in double, and against its own definition, token by token."""

from __future__ import annotations

import numpy as np
import pytest
from numeric_inputs import any_bits, same, wide

from tapeout.numerics import delta, fp32


def softplus(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float64)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def test_softplus_against_double() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([wide(rng, (200_000,), 20), rng.uniform(-20, 20, 200_000).astype(np.float32)])
    exact = softplus(x)
    normal = exact > 2.0**-126  # below, the spacing is that of subnormals
    error = np.abs(delta.softplus(x).astype(np.float64) - exact) / np.spacing(
        np.abs(exact).astype(np.float32)
    )
    # the argument of exp2 is rounded, and so is log2(e): each up to |x|·2^-24 of the result
    assert (error[normal] <= 4 + 2 * np.abs(x[normal])).all(), error[normal].max()
    assert error[normal & (np.abs(x) < 1)].max() <= 4


def test_softplus_of_everything() -> None:
    x = any_bits(np.random.default_rng(1), (100_000,))
    y = delta.softplus(x)
    assert (np.isnan(y) == np.isnan(x)).all()
    assert (y[~np.isnan(y)] >= 0).all()
    assert same(delta.softplus(np.float32([np.inf, -np.inf, 0])), np.float32([np.inf, 0, np.log(2)]))


@pytest.mark.parametrize("rows", [1, 2, 3, 8, 24, 31, 128])
def test_rows_total(rows: int) -> None:
    rng = np.random.default_rng(rows)
    x = wide(rng, (4, rows, 5), 20)
    expected = np.zeros((4, 5), np.float32)
    for i in range(4):
        parts = [x[i, r] for r in range(rows)]
        while len(parts) > 1:
            half = 1 << (len(parts) - 1).bit_length() - 1
            for r in range(half, len(parts)):
                parts[r - half] = fp32.add(parts[r - half], parts[r])
            del parts[half:]
        expected[i] = parts[0]
    assert same(delta.rows_total(x), expected)


def test_convolution() -> None:
    rng = np.random.default_rng(2)
    x, w = rng.normal(size=(9, 6)).astype(np.float32), rng.normal(size=(6, 4)).astype(np.float32)
    plain = np.array([[(x[t : t + 4, c] * w[c]).sum() for c in range(6)] for t in range(6)])
    assert np.allclose(delta.convolve(x, w), plain / (1 + np.exp(-plain)), atol=1e-6)


@pytest.mark.parametrize(("key_heads", "heads"), [(1, 1), (2, 6)])
def test_the_rule(key_heads: int, heads: int) -> None:
    """Head by head in double; and tokens given in parts leave the bits of all at once."""
    rng, tokens, dim, wide_ = np.random.default_rng(heads), 12, 16, 24
    q, k = (delta.normalised(rng.normal(size=(tokens, key_heads, dim)).astype(np.float32)) for _ in range(2))
    v = rng.normal(size=(tokens, heads, wide_)).astype(np.float32)
    decays, betas = (rng.uniform(0.1, 1, (tokens, heads)).astype(np.float32) for _ in range(2))
    start = rng.normal(size=(heads, dim, wide_)).astype(np.float32)
    state = start.copy()
    out = delta.gated_delta(q, k, v, decays, betas, state)
    for h in range(heads):
        s, g = start[h].astype(np.float64), h // (heads // key_heads)
        for t in range(tokens):
            s = s * decays[t, h]
            change = (v[t, h] - s.T @ k[t, g]) * betas[t, h]
            s = s + np.outer(k[t, g], change)
            assert np.allclose(out[t, h], s.T @ q[t, g], atol=1e-5)
        assert np.allclose(state[h], s, atol=1e-5)
    again = start.copy()
    parts = [
        delta.gated_delta(q[p], k[p], v[p], decays[p], betas[p], again)
        for p in (slice(0, 5), slice(5, 6), slice(6, 12))
    ]
    assert same(np.concatenate(parts), out) and same(again, state)


def test_decay_is_the_published_one() -> None:
    rng = np.random.default_rng(3)
    a, bias, a_log = (rng.normal(size=50).astype(np.float32) for _ in range(3))
    got = delta.decay(a, bias, delta.rate(a_log))
    exact = np.exp(-np.exp(a_log.astype(np.float64)) * softplus(a + bias))
    assert np.allclose(got, exact, rtol=2e-6)
