"""Lanes between streams: every result, in order, whatever the pressure; a beat per cycle without it."""

from __future__ import annotations

import numpy as np
import pytest
from floats import bits

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.vector_lane import LATENCIES, Tap, VectorOp, twin
from tapeout.chip.rtl.vector_unit import VectorUnit
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import pack, simulate, unpack

pytestmark = pytest.mark.verilator
UNIT = VectorUnit(2)


@pytest.mark.parametrize(
    ("tap", "op"),
    [
        (Tap.ADD, VectorOp.SUB),
        (Tap.MUL, VectorOp.MUL),
        (Tap.FUNCTION, VectorOp.EXP2),
        (Tap.QUICK, VectorOp.LESS),
    ],
)
def test_results_in_order_under_pressure(tap: Tap, op: VectorOp) -> None:
    rng = np.random.default_rng(1)
    n = 1000
    a, b, c = (bits(rng, 2 * n).reshape(n, 2) for _ in range(3))
    beats = [
        op | sum(int(v[i, k]) << 6 + 64 * j + 32 * k for j, v in enumerate((a, b, c)) for k in range(2))
        for i in range(n)
    ]
    with np.errstate(all="ignore"):
        want = twin(op, a, b, c)
    sim = simulate(UNIT)
    sim.poke("tap", 1 << tap)
    for seed, (offer, accept) in enumerate([(1.0, 1.0), (0.9, 0.2), (0.4, 0.9)]):
        run = sim.run({"x": pack(beats, 198)}, {"y": n}, offer=offer, accept=accept, seed=seed)
        assert unpack(run["y"]) == [int(w[0]) | int(w[1]) << 32 for w in want]
        if offer == accept == 1:
            assert run.cycles == n + LATENCIES[tap] + 1


def test_lint() -> None:
    assert lint(verilog(UNIT)) == []
