"""The native vector operations and attention have the bits of their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from numeric_inputs import SPECIAL, any_bits, same, wide

from tapeout.numerics import attention, convert, fast, fp32, functions, library, vector
from tapeout.numerics.formats import FORMATS

pytestmark = pytest.mark.skipif(library.LIBRARY is None, reason="the native library is not built")


@pytest.mark.parametrize("name", ["exp2", "reciprocal", "rsqrt", "sigmoid"])
def test_functions(name: str) -> None:
    rng = np.random.default_rng(1)
    x = np.concatenate(
        [SPECIAL, any_bits(rng, (300_000,)), wide(rng, (300_000,), 20), wide(rng, (50_000,), 20, -140)]
    )
    edges = np.float32(
        [127.99999, 128, -149, -149.5, -150, -151, 88.7, -87.3, -103.97, -104, -127.99, 255.9, 256]
    )
    for y in (x, edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))):
        assert same(getattr(fast, name)(y), getattr(functions, name)(y))


@pytest.mark.parametrize("n", [1, 31, 32, 64, 100, 2880])
@pytest.mark.parametrize("format", [None, *FORMATS])
def test_rms_norm(n: int, format: str | None) -> None:
    rng = np.random.default_rng(n)
    f = None if format is None else FORMATS[format]
    for x in (wide(rng, (5, n), 30), wide(rng, (3, n), 250), any_bits(rng, (4, n))):
        for weight in (None, wide(rng, (n,), 10)):
            y, q = fast.rms_norm(x, weight, 1e-5, f)
            expected = vector.rms_norm(x, weight, 1e-5)
            assert same(y, expected)
            if f is not None and q is not None:
                e = convert.quantise(expected, f)
                assert (q.codes == e.codes).all() and (q.scales == e.scales).all()


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("h", [8, 16, 32])
def test_rope(interleaved: bool, h: int) -> None:
    rng = np.random.default_rng(h)
    x = wide(rng, (4, 3, 64), 30)
    cos, sin = wide(rng, (4, h), 8), wide(rng, (4, h), 8)
    expected = vector.rope(x, cos[:, None], sin[:, None], interleaved)
    assert same(fast.rope(x.copy(), cos, sin, interleaved), expected)


@pytest.mark.parametrize("n", [1, 4, 32, 129])
def test_softmax_and_top_k(n: int) -> None:
    rng = np.random.default_rng(n)
    ties = rng.integers(-3, 4, (50, n)).astype(np.float32) * np.float32(0.5)
    for x in (
        wide(rng, (50, n), 12),
        any_bits(rng, (50, n)),
        ties,
        np.where(ties == 0, np.float32(-0.0), ties),
    ):
        assert same(fast.softmax(x), vector.softmax(x))
        for k in {1, min(n, 4), n}:
            assert (fast.top_k(x, k) == vector.top_k(x, k)).all()


@pytest.mark.parametrize("kind", fast.GATES)
@pytest.mark.parametrize("interleaved", [False, True])
def test_gates(kind: str, interleaved: bool) -> None:
    rng = np.random.default_rng(7)
    for x in (wide(rng, (6, 200), 12), any_bits(rng, (6, 200))):
        y, q = fast.gate(kind, x, interleaved, 7.0, FORMATS["mxint8"])
        g, u = (x[:, 0::2], x[:, 1::2]) if interleaved else (x[:, :100], x[:, 100:])
        expected = vector.gated(kind, g, u, 7.0)
        e = convert.quantise(expected, FORMATS["mxint8"])
        assert same(y, expected)
        assert q is not None and (q.codes == e.codes).all() and (q.scales == e.scales).all()


def test_combine() -> None:
    rng = np.random.default_rng(8)
    x, w = wide(rng, (12, 70), 30), wide(rng, (3, 4), 20)
    slot = rng.permutation(12).astype(np.int32).reshape(3, 4)
    expected = np.stack([vector.combine(x[s], v) for s, v in zip(slot, w, strict=True)])
    assert same(fast.combine(x, slot, w), expected)


@pytest.mark.parametrize("level", library.LEVELS)
@pytest.mark.parametrize(
    "activation,cache",
    [("mxint8", "mxint8"), ("mxint8", "mxfp8"), ("mxint15", "mxint15"), ("mxfp8", "mxint8")],
)
@pytest.mark.parametrize(
    "heads,kv_heads,d,dv", [(8, 2, 64, 64), (4, 4, 32, 32), (6, 1, 80, 48), (130, 1, 32, 32)]
)
def test_attention(
    level: str, activation: str, cache: str, heads: int, kv_heads: int, d: int, dv: int
) -> None:
    if library.set_level(level) != level:
        pytest.skip(f"this machine has no {level}")
    rng = np.random.default_rng(heads)
    try:
        for positions, tokens, window, tile, sinks in (
            (1, 1, None, 128, True),
            (45, 9, 7, 32, True),
            (300, 3, 140, 64, False),
            (70, 70, None, 128, False),
        ):
            a, f = FORMATS[activation], FORMATS[cache]
            if heads > 100 and positions > 50:
                continue
            k = fast.quantise(wide(rng, (kv_heads, positions + 19, d), 8), f)
            v = fast.quantise(wide(rng, (kv_heads, positions + 19, dv), 14), f)
            q = wide(rng, (tokens, heads, d), 8)
            high = np.arange(positions - tokens + 1, positions + 1, dtype=np.int32)
            low = np.maximum(0, high - window).astype(np.int32) if window else np.zeros(tokens, np.int32)
            sink = wide(rng, (heads,), 6) if sinks else None
            y = fast.attend(q, k, v, positions, low, high, d**-0.5, a, dv, sink, tile)
            at = np.arange(positions)
            group = heads // kv_heads
            visible = np.repeat((at >= low[:, None]) & (at < high[:, None]), group, axis=0)
            for h in range(kv_heads):
                s = None if sink is None else np.tile(sink[h * group : (h + 1) * group], tokens)
                rows = q[:, h * group : (h + 1) * group].reshape(-1, d)
                expected = attention.attend(
                    rows, k[h, :positions], v[h, :positions], visible, d**-0.5, a, s, tile
                )
                assert same(y[:, h * group : (h + 1) * group].reshape(-1, dv), expected[:, :dv])
    finally:
        library.set_level(library.LEVELS[-1])


def test_masked_positions_do_not_matter() -> None:
    rng = np.random.default_rng(9)
    f = FORMATS["mxint8"]
    k, v = (fast.quantise(wide(rng, (1, 200, 32), 8), f) for _ in range(2))
    q = wide(rng, (1, 2, 32), 8)
    low, high = np.int32([70]), np.int32([150])
    y = fast.attend(q, k, v, 150, low, high, 0.2, f, 32)
    k.scales[0, :70], v.scales[0, :70], k.scales[0, 150:], v.scales[0, 150:] = 255, 255, 255, 255
    assert same(fast.attend(q, k, v, 150, low, high, 0.2, f, 32), y)
    assert not np.isnan(y).any()
    assert fp32.bits(y).any()
