"""Sums and maxima of rows of every length against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from floats import bits

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.greatest import Greatest
from tapeout.chip.rtl.reducer import Reducer, twin
from tapeout.numerics import fp32, vector
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import pack, simulate

pytestmark = pytest.mark.verilator


def beats(rows: list[np.ndarray], lanes: int) -> list[int]:
    made = []
    for row in rows:
        for i in range(0, max(len(row), 1), lanes):
            part = row[i : i + lanes]
            words = sum(int(w) << 32 * k for k, w in enumerate(part))
            last = i + lanes >= len(row)
            made.append(words | ((1 << len(part)) - 1 | last << lanes) << 32 * lanes)
    return made


def check(block: Reducer | Greatest, lanes: int, offer: float, accept: float) -> None:
    rng = np.random.default_rng(lanes)
    rows = []
    for k in range(400):
        n = int(rng.integers(0, 20 if k % 2 else 150))
        x = bits(rng, n)
        if rng.random() < 0.8:  # finite, of comparable sizes
            x = (x & np.uint32(0x807FFFFF)) | (rng.integers(115, 140, n) << 23).astype(np.uint32)
        rows.append(x)
    sim = simulate(block)
    payload = pack(beats(rows, lanes), sim.ports["x__payload"][1])
    run = sim.run({"x": payload}, {"y": len(rows)}, offer=offer, accept=accept, seed=4)
    if isinstance(block, Reducer):
        want = np.array([twin(x) for x in rows], np.uint32)
    else:
        want = np.array([fp32.bits(vector.greatest(fp32.from_bits(x))) for x in rows], np.uint32)
    wrong = np.flatnonzero(run["y"] != want)
    shown = [(i, len(rows[i]), hex(run["y"][i]), hex(want[i])) for i in wrong[:5]]
    assert not len(wrong), (len(wrong), shown)


PRESSURE = [(1.0, 1.0), (0.5, 0.2), (0.9, 0.9)]


@pytest.mark.parametrize("lanes", [4, 8, 16])
def test_sums_equal_the_definition(lanes: int) -> None:
    for offer, accept in PRESSURE:
        check(Reducer(lanes), lanes, offer, accept)


@pytest.mark.parametrize("lanes", [2, 8])
def test_maxima_equal_the_definition(lanes: int) -> None:
    for offer, accept in PRESSURE:
        check(Greatest(lanes), lanes, offer, accept)


@pytest.mark.parametrize("n, apart", [(512, 64), (16, 2), (3, 2)])
def test_rows_follow_without_a_gap(n: int, apart: int) -> None:
    rows = [np.full(n, 0x3F800000, np.uint32)] * 40
    for block, gap in ((Reducer(8), apart), (Greatest(8), -(-n // 8))):
        sim = simulate(block)
        run = sim.run({"x": pack(beats(rows, 8), sim.ports["x__payload"][1])}, {"y": 40})
        assert (np.diff(run.stamps["y"]) == gap).all()


def test_lint() -> None:
    assert lint(verilog(Reducer(8))) == []
    assert lint(verilog(Greatest(8))) == []
