"""Every operation of a vector lane against its twin, on bits."""

from __future__ import annotations

import numpy as np
import pytest
from floats import U32, bits, pairs

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.vector_lane import LATENCIES, Tap, VectorLane, VectorOp, twin
from tapeout.numerics import fp32
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import simulate

pytestmark = pytest.mark.verilator


CLASSES = {
    Tap.ADD: (VectorOp.ADD, VectorOp.SUB),
    Tap.MUL: (VectorOp.MUL,),
    Tap.FUNCTION: (VectorOp.EXP2, VectorOp.RECIPROCAL, VectorOp.RSQRT, VectorOp.SIGMOID),
    Tap.QUICK: (
        VectorOp.MAXIMUM, VectorOp.MINIMUM, VectorOp.LESS, VectorOp.AT_MOST, VectorOp.EQUAL, VectorOp.SELECT,
        VectorOp.BF16_TO_F32, VectorOp.F32_TO_BF16, VectorOp.E8M0_TO_F32, VectorOp.MXINT8_TO_F32, VectorOp.MXFP4_TO_F32,
    ),
    Tap.CHAIN: (VectorOp.SELECT,),
}  # fmt: skip


@pytest.mark.parametrize("tap", Tap)
def test_every_operation_of_a_class_interleaved(tap: Tap) -> None:
    rng = np.random.default_rng(tap)
    a, b = pairs(rng, 150_000)
    b = np.where(rng.random(len(a)) < 0.1, a, b)
    c = bits(rng, len(a))
    codes = np.array(CLASSES[tap], np.uint32)
    op = rng.choice(codes, len(a))
    narrow = op >= 16
    a = np.where(narrow & (rng.random(len(a)) < 0.7) & (op != 17), a & 0xFF, a).astype(np.uint32)
    b = np.where(
        narrow & (rng.random(len(a)) < 0.5), rng.choice([0, 1, 2, 6, 7, 8, 252, 253, 254, 255], len(a)), b
    )
    b = b.astype(np.uint32)
    got = _lane(op, a, b, c, tap)
    with np.errstate(all="ignore"):
        for code in CLASSES[tap]:
            k = op == code
            want = twin(code, a[k], b[k], c[k])
            wrong = np.flatnonzero(got[k] != want)
            shown = [f"{a[k][i]:08x} {b[k][i]:08x}: {want[i]:08x}, not {got[k][i]:08x}" for i in wrong[:5]]
            assert not len(wrong), (code.name, len(wrong), shown)


def _lane(op: U32, a: U32, b: U32, c: U32, tap: Tap, enable: U32 | None = None) -> U32:
    n = len(a)
    inputs = {"op": op, "a": a, "b": b, "c": c, "tap": np.full(n, 1 << tap)}
    inputs["enable"] = np.ones(n, np.uint32) if enable is None else enable
    return simulate(VectorLane()).table(inputs, ["y"], LATENCIES[tap])["y"]


def test_sums_of_two_products() -> None:
    """Pairs of operations with and without pauses between and within them; each product is rounded."""
    rng = np.random.default_rng(9)
    n = 60_000
    a, b = (bits(rng, 2 * n) for _ in range(2))
    tame = rng.random(2 * n) < 0.7
    a = np.where(tame, (a & np.uint32(0x807FFFFF)) | (rng.integers(120, 132, 2 * n) << 23), a).astype(
        np.uint32
    )
    second = rng.choice([VectorOp.MUL_SUB, VectorOp.MUL_ADD], n)
    op = np.stack([np.full(n, VectorOp.MUL_HOLD), second], 1).reshape(-1)
    at = np.cumsum(rng.choice([1, 1, 1, 2, 5], 2 * n)) - 1
    ops, at_a, at_b, enable = (np.zeros(at[-1] + 1, np.uint32) for _ in range(4))
    ops[at], at_a[at], at_b[at], enable[at] = op, a, b, 1
    got = _lane(ops, at_a, at_b, at_b, Tap.CHAIN, enable)[at[1::2]]
    x, y = fp32.from_bits(a), fp32.from_bits(b)
    with np.errstate(all="ignore"):
        p, q = fp32.mul(x[0::2], y[0::2]), fp32.mul(x[1::2], y[1::2])
        want = fp32.bits(np.where(second == VectorOp.MUL_SUB, fp32.sub(p, q), fp32.add(p, q)))
    assert not len(np.flatnonzero(got != want))


def test_lint() -> None:
    assert lint(verilog(VectorLane())) == []
