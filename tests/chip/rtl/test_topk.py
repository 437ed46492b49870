"""Top-k against the definition: order, ties, NaN, signed zeros, short rows."""

from __future__ import annotations

import numpy as np
import pytest
from floats import bits

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.topk import INDEX_BITS, TopK, twin
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import pack, simulate, unpack

pytestmark = pytest.mark.verilator


@pytest.mark.parametrize("k", [1, 3, 8])
def test_rows_equal_the_definition(k: int) -> None:
    rng = np.random.default_rng(k)
    sim = simulate(TopK(8))
    rows = [bits(rng, int(rng.integers(1, 60))) for _ in range(150)]
    rows += [np.array([0x80000000, 0, 0x80000000, 0], np.uint32), np.full(20, 0x3F800000, np.uint32)]
    rows += [
        rng.choice(np.array([0x7FC00000, 0xFFC00001, 0x7F800000, 0xFF800000], np.uint32), 12)
        for _ in range(9)
    ]
    sim.poke("count", k - 1)
    beats = [int(w) | (i == len(row) - 1) << 32 for row in rows for i, w in enumerate(row)]
    want = [
        (int(i), int(row[i]), j == min(k, len(row)) - 1) for row in rows for j, i in enumerate(twin(row, k))
    ]
    for seed, (offer, accept) in enumerate([(1.0, 1.0), (0.7, 0.5)]):
        run = sim.run({"x": pack(beats, 33)}, {"y": len(want)}, offer=offer, accept=accept, seed=seed)
        got = [
            (v & ((1 << INDEX_BITS) - 1), v >> INDEX_BITS & 0xFFFFFFFF, bool(v >> (INDEX_BITS + 32)))
            for v in unpack(run["y"])
        ]
        assert got == want


def test_lint() -> None:
    assert lint(verilog(TopK(8))) == []
    assert lint(verilog(TopK(1))) == []
