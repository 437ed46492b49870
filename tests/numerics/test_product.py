"""The definition of the product against exact fractions, and what NaN, infinity and splits do to it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from numeric_inputs import blocks, same, wide

from tapeout.numerics import convert, fp32, product, vector
from tapeout.numerics.formats import FORMATS, Mx
from tapeout.numerics.product import Split


def rounded(x: Fraction) -> np.float32:
    """An exact value to FP32, nearest even, by comparing with neighbours in fractions."""
    if abs(x) >= Fraction(2) ** 128 - Fraction(2) ** 103:
        return np.float32(np.inf if x > 0 else -np.inf)
    guess = np.float32(float(x))
    near = [guess, np.nextafter(guess, np.float32(np.inf)), np.nextafter(guess, np.float32(-np.inf))]
    near = [n for n in near if np.isfinite(n)]
    return min(near, key=lambda n: (abs(Fraction(float(n)) - x), int(fp32.bits(n)) & 1))


@pytest.mark.parametrize("weight", FORMATS)
@pytest.mark.parametrize("activation", FORMATS)
def test_against_fractions(activation: str, weight: str) -> None:
    rng = np.random.default_rng(1)
    for kind in ("wide", "codes"):
        a = blocks(rng, FORMATS[activation], 2, 96, kind)
        w = blocks(rng, FORMATS[weight], 3, 96, kind)
        with np.errstate(all="ignore"):
            for i in range(2):
                for j in range(3):
                    acc = np.float32(0)
                    for b in range(3):
                        lanes = slice(32 * b, 32 * b + 32)
                        dot = sum(
                            Fraction(int(x), 2**a.format.fraction) * Fraction(int(y), 2**w.format.fraction)
                            for x, y in zip(a.integers()[i, lanes], w.integers()[j, lanes], strict=True)
                        )
                        scale = Fraction(2) ** (int(a.scales[i, b]) + int(w.scales[j, b]) - 254)
                        acc = np.float32(acc + rounded(dot * scale))
                    assert same(product.matmul(a, w)[i, j], fp32.canonical(acc))


def test_a_nan_block_poisons_its_row_or_column_only() -> None:
    rng = np.random.default_rng(2)
    a, w = (blocks(rng, FORMATS["mxint8"], 4, 128, "wide") for _ in range(2))
    a.scales[1, 2] = 255
    y = product.matmul(a, w)
    assert (fp32.bits(y[1]) == fp32.CANONICAL_NAN).all() and np.isfinite(np.delete(y, 1, axis=0)).all()
    e4m3 = blocks(rng, FORMATS["mxfp8"], 4, 128, "wide")
    e4m3.codes[3, 70] = 0x7F
    assert np.isnan(product.matmul(a[:1], e4m3)[0]).tolist() == [False, False, False, True]


def test_overflow_and_its_opposite() -> None:
    one = convert.quantise(np.full((1, 64), 1.9e38, np.float32), FORMATS["mxint8"])
    signs = np.where(np.arange(64) < 32, 1.0, -1.0)[None].astype(np.float32)
    other = convert.quantise(signs * np.float32(1.9e38), FORMATS["mxint8"])
    assert product.matmul(one, one)[0, 0] == np.inf
    assert fp32.bits(product.matmul(one, other))[0, 0] == fp32.CANONICAL_NAN  # ∞ − ∞


@pytest.mark.parametrize(
    "split",
    [
        Split(1),
        Split(3),
        Split(5),
        Split(4, "interleaved"),
        Split(4, "contiguous", "tree"),
        Split(8, "interleaved", "tree"),
    ],
)
def test_splits_are_partial_products_added(split: Split) -> None:
    rng = np.random.default_rng(3)
    a, w = (blocks(rng, FORMATS["mxint8"], 6, 32 * 11, "wide") for _ in range(2))
    dealt = split.deal(range(11))
    assert sorted(b for part in dealt for b in part) == list(range(11)) and len(dealt) == split.ways
    parts = [product.accumulate(a, w, part) for part in dealt]
    if split.combine == "chain":
        expected = parts[0]
        for p in parts[1:]:
            expected = fp32.add(expected, p)
    else:
        while len(parts) > 1:
            half = len(parts) // 2
            parts = [fp32.add(parts[i], parts[i + half]) for i in range(half)]
        expected = parts[0]
    y = product.matmul(a, w, [split])
    assert same(y, expected)
    if split.ways > 1:
        assert not same(y, product.matmul(a, w))


def test_splits_that_cannot_be() -> None:
    for bad in ({"ways": 0}, {"ways": 3, "combine": "tree"}):
        with pytest.raises(ValueError):
            Split(**bad)
    with pytest.raises(ValueError):
        product.matmul(
            *(
                Mx(FORMATS["mxint8"], np.zeros((1, k), np.int8), np.zeros((1, k // 32), np.uint8))
                for k in (32, 64)
            )
        )


def test_sums_go_through_32_partials() -> None:
    rng = np.random.default_rng(4)
    x = wide(rng, (7, 203), 30)
    expected = []
    for row in x:
        p = [np.float32(0)] * 32
        for i, v in enumerate(row):
            p[i % 32] = np.float32(p[i % 32] + v)
        while len(p) > 1:
            half = len(p) // 2
            p = [np.float32(p[i] + p[i + half]) for i in range(half)]
        expected.append(p[0])
    assert same(vector.total(x), np.array(expected, np.float32))
    assert not same(vector.total(x), x.sum(1))
    assert vector.total(np.zeros((2, 0))).tolist() == [0, 0]


def test_top_k_order() -> None:
    nan, inf = np.nan, np.inf
    assert vector.top_k(np.float32([0.0, -0.0, 1, 1, -inf]), 5).tolist() == [2, 3, 0, 1, 4]
    assert vector.top_k(np.float32([inf, nan, 3, nan]), 3).tolist() == [1, 3, 0]
