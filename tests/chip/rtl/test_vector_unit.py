"""Lanes between streams: every result, in order, whatever the pressure; a beat per cycle without it."""

from __future__ import annotations

import numpy as np
import pytest
from floats import bits

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.vector_lane import LATENCY, VectorOp, twin
from tapeout.chip.rtl.vector_unit import VectorUnit
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import pack, simulate, unpack

pytestmark = pytest.mark.verilator
UNIT = VectorUnit(2, 5)


def test_results_in_order_under_pressure() -> None:
    rng = np.random.default_rng(1)
    n = 2000
    ops = rng.choice(np.array(list(VectorOp)), n)
    a, b, c = (bits(rng, 2 * n).reshape(n, 2) for _ in range(3))
    tag = rng.integers(0, 32, n)
    beats = [
        int(ops[i]) | sum(int(v[i, k]) << 5 + 64 * j + 32 * k for j, v in enumerate((a, b, c)) for k in range(2))
        | int(tag[i]) << 197
        for i in range(n)
    ]  # fmt: skip
    want = np.zeros((n, 2), np.uint32)
    with np.errstate(all="ignore"):
        for op in VectorOp:
            k = ops == op
            want[k] = twin(op, a[k], b[k], c[k])
    sim = simulate(UNIT)
    for seed, (offer, accept) in enumerate([(1.0, 1.0), (0.9, 0.2), (0.4, 0.9)]):
        run = sim.run({"x": pack(beats, 202)}, {"y": n}, offer=offer, accept=accept, seed=seed)
        expected = [int(w[0]) | int(w[1]) << 32 | int(t) << 64 for w, t in zip(want, tag, strict=True)]
        assert unpack(run["y"]) == expected
        if offer == accept == 1:
            assert run.cycles == n + LATENCY + 1


def test_lint() -> None:
    assert lint(verilog(UNIT)) == []
