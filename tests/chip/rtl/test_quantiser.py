"""The MX quantiser against `numerics.convert`, on codes and scales."""

from __future__ import annotations

import numpy as np
import pytest
from floats import bits

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.quantiser import Quantiser, twin
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import simulate

pytestmark = pytest.mark.verilator


@pytest.mark.parametrize(("lanes", "gaps"), [(8, 0.0), (8, 0.4), (32, 0.3)])
def test_blocks_equal_the_twin(lanes: int, gaps: float) -> None:
    rng = np.random.default_rng(lanes)
    n = 4000
    x = bits(rng, n * 32).reshape(n, 32)
    centre = rng.integers(0, 255, (n, 1))
    field = np.clip(centre - np.abs(rng.normal(0, 3, (n, 32)).astype(int)), 0, 254)
    x = np.where(rng.random((n, 1)) < 0.9, (x & np.uint32(0x807FFFFF)) | (field << 23).astype(np.uint32), x)
    x = np.where(rng.random((n, 1)) < 0.05, x & np.uint32(0x817FFFFF), x).astype(np.uint32)  # tiny ones
    # ties: few bits set in the fraction
    x = np.where(rng.random((n, 1)) < 0.4, x & np.uint32(0xFFFE0000), x)
    fp4 = rng.integers(0, 2, n)
    beats = x.reshape(n * 32 // lanes, lanes)
    of = np.repeat(fp4, 32 // lanes)
    valid = np.ones(len(beats), int)
    if gaps:
        at = np.flatnonzero(rng.random(2 * len(beats)) > gaps)[: len(beats)]
        spread, ofs, valid = (np.zeros((at[-1] + 1, *s), np.uint32) for s in ((lanes,), (), ()))
        spread[at], ofs[at], valid[at] = beats, of, 1
        beats, of = spread, ofs
    pad = 48
    beats = np.concatenate([beats, np.zeros((pad, lanes), np.uint32)])
    of, valid = (np.concatenate([v, np.zeros(pad, int)]) for v in (of, valid))
    got = simulate(Quantiser(lanes)).table(
        {"x": beats, "valid": valid, "fp4": of}, ["codes", "scale", "codes_valid", "first"]
    )
    out = got["codes_valid"] == 1
    codes = np.ascontiguousarray(got["codes"][out]).view(np.uint8).reshape(n, 32)
    scales = got["scale"][out].reshape(n, -1)
    assert (got["first"][out].reshape(n, -1)[:, 0] == 1).all()
    for kind in (0, 1):
        want, want_scales = twin(x[fp4 == kind], bool(kind))
        assert (scales[fp4 == kind] == want_scales[:, None]).all()
        wrong = np.argwhere(codes[fp4 == kind] != want)
        shown = [(hex(x[fp4 == kind][i, j]), codes[fp4 == kind][i, j], want[i, j]) for i, j in wrong[:5]]
        assert not len(wrong), (kind, len(wrong), shown)


def test_lint() -> None:
    assert lint(verilog(Quantiser(8))) == []
