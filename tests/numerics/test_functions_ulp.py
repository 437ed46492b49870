"""How far the functions are from the true ones, and what they do at the edges."""

from __future__ import annotations

import numpy as np
import pytest

from tapeout.numerics import fast, fit_tables, fp32, functions, tables


def true(name: str, x: np.ndarray) -> np.ndarray:
    """The function in double."""
    x = x.astype(np.float64)
    with np.errstate(all="ignore"):
        if name == "exp2":
            return np.exp2(x)
        if name == "reciprocal":
            return 1 / x
        return 1 / np.sqrt(x) if name == "rsqrt" else 1 / (1 + np.exp(-x))


def ulps(name: str, x: np.ndarray) -> float:
    """The largest error over x, in units of the last place of the true result."""
    y, t = getattr(fast, name)(x).astype(np.float64), true(name, x)
    t = np.where(np.abs(t) >= 2.0**128, np.inf, t)
    _, e = np.frexp(np.abs(t))
    unit = np.exp2(np.maximum(e - 1, -126) - 23.0)
    finite = np.isfinite(t) & np.isfinite(y)
    assert ((t == y) | finite | (np.abs(t) > 3.4028e38) | (np.abs(y) > 3.4028e38)).all()
    return float(np.max(np.abs(y[finite] - t[finite]) / unit[finite], initial=0.0))


def binades(low: int, high: int, step: int = 1, sign: int = 0) -> list[np.ndarray]:
    """Every `step`-th float from 2^low to 2^high, a binade at a time."""
    mantissas = np.arange(0, 1 << 23, step, dtype=np.uint32)
    return [fp32.from_bits(mantissas | np.uint32(((e + 127) << 23) | sign << 31)) for e in range(low, high)]


def worst(name: str, step: int) -> float:
    """Over every input that matters: the rest repeats these with another exponent, or is 0, 1 or infinite."""
    subnormal = fp32.from_bits(np.arange(1, 1 << 23, step, dtype=np.uint32))
    if name in ("exp2", "sigmoid"):
        parts = [p for s in (0, 1) for p in binades(-27, 8, step, s)]
    elif name == "reciprocal":
        parts = [*binades(0, 1, step), *binades(125, 128, step), *binades(-127, -124, step), subnormal]
    else:
        parts = [*binades(0, 2, step), *binades(126, 128, step), *binades(-126, -124, step), subnormal]
    return max(ulps(name, p) for p in parts)


@pytest.mark.parametrize("name", functions.MAX_ULP)
def test_errors_over_a_sample(name: str) -> None:
    assert worst(name, 1009) <= functions.MAX_ULP[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", functions.MAX_ULP)
def test_errors_over_every_input(name: str) -> None:
    error = worst(name, 1)
    print(f"{name}: {error:.3f} ulp")
    assert error <= functions.MAX_ULP[name]
    assert error > functions.MAX_ULP[name] - 0.01  # the bound that is stated is not idle


def test_the_tables_are_the_fitted_ones() -> None:
    fitted = fit_tables.tables()
    for name in ("EXP2", "RECIPROCAL", "RSQRT"):
        assert list(getattr(tables, name)) == fitted[name]
        c = np.abs(getattr(functions, name)).max(axis=0)
        assert (c < [1 << 28, 1 << 21, 1 << 13]).all()  # the widths that the hardware is built for


def test_powers_of_two_are_exact() -> None:
    n = np.arange(-149, 128)
    assert (functions.exp2(n.astype(np.float32)) == np.exp2(n.astype(np.float64)).astype(np.float32)).all()
    x = np.exp2(np.arange(-126, 128).astype(np.float64)).astype(np.float32)
    assert (functions.reciprocal(x) == 1 / x).all()
    even = np.exp2(np.arange(-126, 128, 2).astype(np.float64)).astype(np.float32)
    assert (functions.rsqrt(even) == (1 / np.sqrt(even.astype(np.float64))).astype(np.float32)).all()


def test_edges() -> None:
    inf, nan = np.float32(np.inf), np.float32(np.nan)
    x = np.float32([0, -0.0, inf, -inf, nan])

    def exactly(y: np.ndarray, *expected: float) -> None:
        assert (fp32.bits(y) == fp32.bits(fp32.canonical(np.float32(expected)))).all()

    exactly(functions.exp2(x), 1, 1, inf, 0, nan)
    exactly(functions.reciprocal(x), inf, -inf, 0, -0.0, nan)
    exactly(functions.rsqrt(x), inf, -inf, 0, nan, nan)
    exactly(functions.sigmoid(x), 0.5, 0.5, 1, 0, nan)
    exactly(functions.exp2(np.float32([128, -150, -149, 1e30, -1e30])), inf, 0, 2**-149, inf, 0)
    exactly(functions.reciprocal(np.float32([2**-128, -(2**-149), 2**127])), inf, -inf, 2**-127)
    exactly(
        functions.rsqrt(np.float32([-1, -(2**-149), 2**-149])), nan, nan, functions.rsqrt(np.float32(2**-149))
    )
    assert functions.rsqrt(np.float32(2**-149)) == pytest.approx(2**74.5, rel=1e-6)


def test_order() -> None:
    """Softmax relies on exp2(x) ≤ 1 for x ≤ 0; sigmoid stays within [0, 1]."""
    rng = np.random.default_rng(0)
    x = np.concatenate([-np.exp2(rng.uniform(-40, 8, 200_000)), -np.arange(2000) * 2.0**-24]).astype(
        np.float32
    )
    assert (fast.exp2(x) <= 1).all()
    y = fast.sigmoid(np.concatenate([x, -x]))
    assert (y >= 0).all() and (y <= 1).all()
