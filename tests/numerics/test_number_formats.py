"""Every code of every format, and every conversion, against two public implementations: ml_dtypes and gfloat.

Known differences, on purpose: ml_dtypes' E4M3 cast turns what is too large into NaN and ours saturates, as OCP MX
asks of a block conversion; ours drops the sign of what rounds to zero; ours has one NaN, the whole block.
"""

from __future__ import annotations

from fractions import Fraction

import gfloat
import ml_dtypes
import numpy as np
import pytest
from gfloat import formats as gf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numeric_inputs import SPECIAL, any_bits, same, wide

from tapeout.numerics import convert, fast, formats, fp32
from tapeout.numerics.formats import FORMATS, MXFP4, MXFP8, MXINT8, MXINT15, Mx

GFLOAT = {
    "mxfp4": gf.format_info_mxfp4_e2m1,
    "mxfp8": gf.format_info_mxfp8_e4m3,
    "mxint8": gf.format_info_mxint8,
}


def decoded(format: formats.MxFormat, codes: np.ndarray, scale: int) -> np.ndarray:
    """Element codes (padded to a block) with one scale, as float32."""
    padded = np.zeros(-(-len(codes) // 32) * 32, codes.dtype)
    padded[: len(codes)] = codes
    packed = formats.pack_nibbles(padded) if format is MXFP4 else padded
    return Mx(format, packed, np.full(len(padded) // 32, scale, np.uint8)).decode()[: len(codes)]


@pytest.mark.parametrize("scale", [0, 1, 5, 120, 127, 128, 240, 254])
def test_every_element_code(scale: int) -> None:
    power = 2.0 ** (scale - 127)
    nibbles = np.arange(16, dtype=np.uint8)
    bytes_ = np.arange(256, dtype=np.uint8)
    with np.errstate(over="ignore"):
        e2m1 = nibbles.view(ml_dtypes.float4_e2m1fn).astype(np.float64) * power
        e4m3 = bytes_.view(ml_dtypes.float8_e4m3fn).astype(np.float64) * power
        int8 = bytes_.view(np.int8).astype(np.float64) / 64 * power
        for format, codes, truth in (
            (MXFP4, nibbles, e2m1),
            (MXFP8, bytes_, e4m3),
            (MXINT8, bytes_.view(np.int8), int8),
        ):
            np.testing.assert_array_equal(decoded(format, codes, scale), truth.astype(np.float32))
            values = [
                gfloat.decode_float(GFLOAT[format.name].etype, int(c)).fval for c in codes.view(np.uint8)
            ]
            np.testing.assert_array_equal(
                decoded(format, codes, scale), (np.array(values) * power).astype(np.float32)
            )
    wide_ints = np.arange(-16384, 16384, dtype=np.int16)
    with np.errstate(over="ignore"):
        expected = (wide_ints.astype(np.float64) / 8192 * power).astype(np.float32)
    assert same(decoded(MXINT15, wide_ints, scale), expected)


def test_every_scale() -> None:
    codes = np.arange(256, dtype=np.uint8)
    truth = codes.view(ml_dtypes.float8_e8m0fnu).astype(np.float32)
    assert same(formats.scale_value(codes), fp32.canonical(truth))
    values = [gfloat.decode_float(gf.format_info_ocp_e8m0, int(c)).fval for c in codes]
    np.testing.assert_array_equal(formats.scale_value(codes), np.array(values, np.float32))
    assert fp32.bits(formats.scale_value(0)) == 0x400000  # 2^-127, a subnormal
    assert np.isnan(decoded(MXFP4, np.arange(16, dtype=np.uint8), 255)).all()


def test_every_bf16() -> None:
    codes = np.arange(65536, dtype=np.uint16)
    values = codes.view(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(fp32.bits(fp32.bf16_to_f32(codes)), codes.astype(np.uint32) << 16)
    np.testing.assert_array_equal(fp32.bf16_to_f32(codes), values)
    around = (codes.astype(np.uint32)[:, None] << 16) + np.array(
        [0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32
    )
    x = fp32.from_bits(around)
    with np.errstate(invalid="ignore"):
        expected = x.astype(ml_dtypes.bfloat16).view(np.uint16)
    ours = fp32.f32_to_bf16(x)
    np.testing.assert_array_equal(ours[~np.isnan(x)], expected[~np.isnan(x)])
    assert (ours[np.isnan(x)] == 0x7FC0).all()


@pytest.mark.parametrize("format,dtype", [(MXFP4, ml_dtypes.float4_e2m1fn), (MXFP8, ml_dtypes.float8_e4m3fn)])
def test_elements_round_like_ml_dtypes(format: formats.MxFormat, dtype: type) -> None:
    rng = np.random.default_rng(1)
    largest = format.largest / 2**format.fraction
    values = np.unique(format.table) / 2**format.fraction
    ties = (values[:-1] + values[1:]) / 2
    x = np.concatenate(
        [
            values,
            ties,
            np.nextafter(ties, 9e9),
            np.nextafter(ties, -9e9),
            rng.uniform(-largest, largest, 9000),
        ]
    )
    x = np.pad(x, (0, -len(x) % 32)).astype(np.float32).reshape(-1, 32)
    scale = np.full(len(x), 127, np.uint8)
    ours = convert.element_integers(x, scale, format) / 2**format.fraction
    np.testing.assert_array_equal(ours, x.astype(dtype).astype(np.float64))
    codes = convert.encode_elements(convert.element_integers(x, scale, format), format)
    expected = x.astype(dtype).view(np.uint8)
    expected[expected == 1 << (format.bits - 1)] = 0  # we drop the sign of zero
    np.testing.assert_array_equal(codes, expected)
    above = np.float32([largest, largest * 1.01, largest * 1.9, -largest * 1.9]).repeat(8)[None]
    assert (abs(convert.element_integers(above, scale[:1], format)) == format.largest).all()


@pytest.mark.parametrize("name", GFLOAT)
@pytest.mark.parametrize("quantise", [convert.quantise, fast.quantise])
def test_blocks_like_gfloat(name: str, quantise: object) -> None:
    rng = np.random.default_rng(2)
    blocks = [
        wide(rng, (40, 32), 4), wide(rng, (40, 32), 12), wide(rng, (40, 32), 30, -140), wide(rng, (20, 32), 6, 124),
        np.zeros((1, 32), np.float32), (rng.integers(-256, 257, (60, 32)) / 128).astype(np.float32),
        np.float32(2) ** rng.integers(-149, 128, (20, 32)).astype(np.float32),
    ]  # fmt: skip
    x = np.concatenate(blocks)
    ours = quantise(x, FORMATS[name])  # type: ignore[operator]
    for i, block in enumerate(x.astype(np.float64)):
        theirs = gfloat.quantize_block(GFLOAT[name], block, gfloat.compute_scale_amax)
        if name == "mxint8":  # theirs reaches −2; ours is symmetric
            theirs = np.maximum(theirs, -127 / 64 * 2.0 ** (float(ours.scales[i, 0]) - 127))
        np.testing.assert_array_equal(ours[i : i + 1].decode()[0], theirs.astype(np.float32))


floats = arrays(np.uint32, 32).map(lambda b: fp32.canonical(fp32.from_bits(b)))
near = arrays(np.float32, 32, elements=st.floats(-(2.0**20), 2.0**20, width=32))


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
@settings(max_examples=150, deadline=None)
@given(x=floats | near)
def test_conversion_reads_like_the_rule(format: formats.MxFormat, x: np.ndarray) -> None:
    """Scale: floor(log2 max) − emax, clamped. Elements: nearest, ties to even, saturated. In exact fractions."""
    q = convert.quantise(x, format)
    f = fast.quantise(x, format)
    assert (q.codes == f.codes).all() and (q.scales == f.scales).all()
    if not np.isfinite(x).all():
        assert q.scales[0] == 255 and not q.codes.any()
        return
    largest = max(abs(Fraction(float(v))) for v in x)
    exponent = -127
    if largest:
        e = largest.numerator.bit_length() - largest.denominator.bit_length()
        e -= largest < Fraction(2) ** e
        exponent = min(max(e - format.emax, -127), 127)
    assert q.scales[0] == exponent + 127
    if format.floating:
        codes = np.unique(format.table[: 1 << (format.bits - 1)])
        grid = [Fraction(int(v), 1) for v in codes]
    for v, integer in zip(x, q.integers(), strict=True):
        exact = abs(Fraction(float(v))) / Fraction(2) ** exponent * 2**format.fraction
        if format.floating:
            exact = min(exact, Fraction(format.largest))
            above = next(i for i, g in enumerate(grid) if g >= exact)
            below = max(above - 1, 0) if grid[above] != exact else above
            d = exact - grid[below], grid[above] - exact
            best = below if d[0] < d[1] or (d[0] == d[1] and below % 2 == 0) else above
            expected = grid[best]
        else:
            expected = Fraction(min(round(exact), format.largest))
        assert abs(int(integer)) == expected and (integer >= 0 if v > 0 else integer <= 0)


@pytest.mark.parametrize("format", FORMATS.values(), ids=FORMATS)
def test_quantising_again_changes_nothing(format: formats.MxFormat) -> None:
    """Except where the largest element rounded up or saturated into another binade: values stay the same then too."""
    x = wide(np.random.default_rng(3), (200, 64), 10)
    once = convert.quantise(x, format).decode()
    np.testing.assert_array_equal(convert.quantise(once, format).decode(), once)


def test_special_values_and_padding() -> None:
    x = np.zeros((len(SPECIAL), 40), np.float32)
    x[:, 33] = SPECIAL
    for format in FORMATS.values():
        q = convert.quantise(x, format)
        assert q.shape == (len(SPECIAL), 64)
        assert (q.scales[:, 0] == 0).all()
        bad = ~np.isfinite(SPECIAL)
        assert ((q.scales[:, 1] == 255) == bad).all()
        assert np.isnan(q.decode()[bad][:, 32:]).all() and not np.isnan(q.decode()[:, :32]).any()


def test_wide_integers_hold_bf16() -> None:
    rng = np.random.default_rng(4)
    x = (
        rng.uniform(1, 2, (500, 32))
        * np.exp2(rng.integers(-6, 1, (500, 32)))
        * rng.choice([-1, 1], (500, 32))
    )
    x[:, 0] = 1.5  # the largest binade is present
    x = fp32.bf16_to_f32(fp32.f32_to_bf16(x.astype(np.float32)))
    x = np.clip(x, -1.9921875, 1.9921875).astype(np.float32)
    assert same(convert.quantise(x, MXINT15).decode(), x)
    y = any_bits(rng, (500, 32))
    y = np.where(np.isfinite(y), y, 0).astype(np.float32)
    error = np.abs(convert.quantise(y, MXINT15).decode().astype(np.float64) - y)
    assert (error <= np.abs(y).max(1, keepdims=True).astype(np.float64) * 2**-13).all()
