"""The function unit against `numerics.functions`, on bits."""

from __future__ import annotations

import numpy as np
import pytest
from floats import SPECIAL, bits

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.function_unit import LATENCY, FunctionUnit, twin
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import simulate

pytestmark = pytest.mark.verilator


def test_every_function_interleaved() -> None:
    rng = np.random.default_rng(0)
    n = 600_000
    x = np.concatenate([SPECIAL, SPECIAL | np.uint32(0x80000000), bits(rng, n)])
    # arguments near the ends of the functions' ranges, and where sigmoid is neither 0 nor 1
    near = np.float32(2.0) ** rng.uniform(-30, 8, len(x)).astype(np.float32)
    x = np.where(rng.random(len(x)) < 0.4, np.float32(near).view(np.uint32) | (x & np.uint32(0x80000000)), x)
    x[: 2 * len(SPECIAL)] = np.concatenate([SPECIAL, SPECIAL | np.uint32(0x80000000)])
    sim = simulate(FunctionUnit())
    for shift in range(2):
        function = (rng.integers(0, 4, len(x)) if shift else np.arange(len(x)) % 4).astype(np.uint32)
        got = sim.table({"x": x, "function": function}, ["y"], LATENCY)["y"]
        for k in range(4):
            chosen = function == k
            want = twin(k, x[chosen])
            wrong = np.flatnonzero(got[chosen] != want)
            shown = [f"{x[chosen][i]:08x}: {want[i]:08x}, not {got[chosen][i]:08x}" for i in wrong[:5]]
            assert not len(wrong), (k, len(wrong), shown)
    for k in range(4):
        ends = x[: 2 * len(SPECIAL)]
        got = sim.table({"x": ends, "function": np.full(len(ends), k)}, ["y"], LATENCY)["y"]
        assert (got == twin(k, ends)).all()


def test_lint() -> None:
    assert lint(verilog(FunctionUnit())) == []
