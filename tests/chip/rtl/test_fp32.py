"""FP32 addition and multiplication against IEEE 754, on bits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from floats import pairs

from tapeout.chip.rtl import fp32_add, fp32_mul
from tapeout.chip.rtl.block import Block, verilog
from tapeout.simulator.rtl.simulation import simulate

pytestmark = pytest.mark.verilator


@pytest.mark.parametrize(
    ("block", "module", "sign"), [(fp32_add.Fp32Add, fp32_add, "+"), (fp32_mul.Fp32Mul, fp32_mul, "×")]
)
@pytest.mark.parametrize("simulation", [True, False], ids=["simulated", "synthesised"])
def test_equals_ieee(block: type[Block], module: Any, sign: str, simulation: bool) -> None:
    a, b = pairs(np.random.default_rng(int(simulation)), 400_000)
    got = simulate(verilog(block(), simulation)).table({"a": a, "b": b}, ["y"], module.LATENCY)["y"]
    want = module.twin(a, b)
    wrong = np.flatnonzero(got != want)
    assert not len(wrong), [
        f"{a[i]:08x} {sign} {b[i]:08x} = {want[i]:08x}, not {got[i]:08x}" for i in wrong[:5]
    ]
