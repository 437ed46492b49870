"""The native and NumPy products have the bits of the definition, for every pair of formats and every level."""

from __future__ import annotations

import numpy as np
import pytest
from numeric_inputs import any_bits, blocks, same, wide

from tapeout.numerics import fast, fp32, library, product
from tapeout.numerics.formats import FORMATS
from tapeout.numerics.product import Split

LEVELS = [*library.LEVELS, "numpy"]


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    """Each implementation in turn; what the machine lacks is skipped."""
    if request.param == "numpy":
        monkeypatch.setattr(library, "LIBRARY", None)
        yield "numpy"
    else:
        if library.LIBRARY is None:
            pytest.skip("the native library is not built")
        if library.set_level(request.param) != request.param:
            pytest.skip(f"this machine has no {request.param}")
        yield request.param
        library.set_level(library.LEVELS[-1])


@pytest.mark.parametrize("weight", FORMATS)
@pytest.mark.parametrize("activation", FORMATS)
@pytest.mark.parametrize("kind", ["wide", "codes", "hostile"])
def test_product(activation: str, weight: str, kind: str, level: str) -> None:
    rng = np.random.default_rng(1)
    for m, n, k in ((1, 33, 160), (3, 16, 32), (13, 50, 288), (2, 7, 96)):
        a = blocks(rng, FORMATS[activation], m, k, kind)
        w = blocks(rng, FORMATS[weight], n, k, kind)
        expected = product.matmul(a, w)
        assert same(fast.matmul(a, fast.as_weights(w)), expected), (m, n, k)


def test_wide_exponents_see_the_order_of_blocks(level: str) -> None:
    rng = np.random.default_rng(2)
    a, w = (blocks(rng, FORMATS["mxint8"], 40, 640, "wide") for _ in range(2))
    y = fast.matmul(a, fast.as_weights(w))
    backwards = product.accumulate(a, w, range(19, -1, -1))
    assert same(y, product.matmul(a, w))
    assert (fp32.bits(y) != fp32.bits(backwards)).mean() > 0.2


@pytest.mark.parametrize("source", ["float32", "bf16"])
def test_packed_weights(source: str, level: str) -> None:
    rng = np.random.default_rng(3)
    for e, n, k in ((1, 16, 32), (3, 37, 96), (2, 100, 70)):
        x = wide(rng, (e, n, k), 30)
        if source == "bf16":
            x = fp32.bf16_to_f32(fp32.f32_to_bf16(x))
        w = fast.prepare(fp32.f32_to_bf16(x) if source == "bf16" else x, FORMATS["mxint8"])
        from tapeout.numerics import convert

        padded = convert.quantise(x, FORMATS["mxint8"])
        for i in range(e):
            assert (w.mx(i).codes == padded.codes[i]).all() and (w.mx(i).scales == padded.scales[i]).all()
        for activation in FORMATS:
            a = convert.quantise(wide(rng, (5, k)), FORMATS[activation])
            assert same(fast.matmul(a, w), product.matmul(a, padded[0]))


@pytest.mark.parametrize("weight", ["mxfp4", "mxint8", "packed", "mxfp8"])
def test_experts_bias_and_splits(weight: str, level: str) -> None:
    rng = np.random.default_rng(4)
    experts, n, k, tokens, chosen = 5, 41, 192, 9, 2
    x = wide(rng, (experts, n, k), 24)
    format = FORMATS["mxint8" if weight == "packed" else weight]
    mx = fast.quantise(x, format)
    w = fast.prepare(x, format) if weight == "packed" else fast.as_weights(mx)
    a = fast.quantise(wide(rng, (tokens, k)), FORMATS["mxint8"])
    bias = wide(rng, (experts, n))
    picks = np.argsort(rng.random((tokens, experts)), axis=1)[:, :chosen].astype(np.int32)
    groups, slot = fast.group_by_expert(picks)
    for splits in ((), (Split(2),), (Split(4, "interleaved", "tree"),), (Split(2), Split(2, "interleaved"))):
        y = fast.matmul(a, w, bias, splits, groups)
        for t in range(tokens):
            for i in range(chosen):
                e = picks[t, i]
                expected = fp32.add(product.matmul(a[t : t + 1], mx[e], splits), bias[e])
                assert same(y[slot[t, i]][None], expected), (splits, t, i)


@pytest.mark.parametrize("format", FORMATS)
def test_quantise(format: str, level: str) -> None:
    from tapeout.numerics import convert

    rng = np.random.default_rng(5)
    inputs = [
        any_bits(rng, (40, 96)),
        wide(rng, (40, 100), 12),
        wide(rng, (9, 64), 250),
        wide(rng, (7, 32), 20, -140),
    ]
    ties = (rng.integers(-64, 65, (200, 32)) / 8).astype(np.float32)
    for x in (*inputs, ties, ties * np.float32(2**-130), ties * np.float32(2**122)):
        y, expected = fast.quantise(x, FORMATS[format]), convert.quantise(x, FORMATS[format])
        assert (y.scales == expected.scales).all()
        assert (y.codes == expected.codes).all()
