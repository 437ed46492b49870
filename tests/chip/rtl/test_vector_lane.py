"""Every operation of a vector lane against its twin, on bits."""

from __future__ import annotations

import numpy as np
import pytest
from floats import bits, pairs

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.vector_lane import LATENCY, VectorLane, VectorOp, twin
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import simulate

pytestmark = pytest.mark.verilator


def test_every_operation_interleaved() -> None:
    rng = np.random.default_rng(0)
    a, b = pairs(rng, 400_000)
    b = np.where(rng.random(len(a)) < 0.1, a, b)
    c = bits(rng, len(a))
    codes = np.array(list(VectorOp), np.uint32)
    op = rng.choice(codes, len(a))
    narrow = op >= 16
    a = np.where(narrow & (rng.random(len(a)) < 0.7) & (op != 17), a & 0xFF, a).astype(np.uint32)
    b = np.where(
        narrow & (rng.random(len(a)) < 0.5), rng.choice([0, 1, 2, 6, 7, 8, 252, 253, 254, 255], len(a)), b
    )
    b = b.astype(np.uint32)
    got = simulate(VectorLane()).table({"op": op, "a": a, "b": b, "c": c}, ["y"], LATENCY)["y"]
    with np.errstate(all="ignore"):
        for code in VectorOp:
            k = op == code
            want = twin(code, a[k], b[k], c[k])
            wrong = np.flatnonzero(got[k] != want)
            shown = [f"{a[k][i]:08x} {b[k][i]:08x}: {want[i]:08x}, not {got[k][i]:08x}" for i in wrong[:5]]
            assert not len(wrong), (code.name, len(wrong), shown)


def test_lint() -> None:
    assert lint(verilog(VectorLane())) == []
