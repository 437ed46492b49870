"""Sums and maxima of rows of every length against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from floats import bits

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.reducer import Reducer, twin
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import pack, simulate

pytestmark = pytest.mark.verilator


def beats(rows: list[tuple[np.ndarray, bool]], lanes: int) -> list[int]:
    made = []
    for row, greatest in rows:
        for i in range(0, max(len(row), 1), lanes):
            part = row[i : i + lanes]
            words = sum(int(w) << 32 * k for k, w in enumerate(part))
            last = i + lanes >= len(row)
            made.append(
                words | ((1 << len(part)) - 1 | last << lanes | greatest << (lanes + 1)) << 32 * lanes
            )
    return made


@pytest.mark.parametrize(("lanes", "offer", "accept"), [(8, 1.0, 1.0), (8, 0.5, 0.2), (16, 0.9, 0.9)])
def test_rows_equal_the_definition(lanes: int, offer: float, accept: float) -> None:
    rng = np.random.default_rng(lanes)
    rows = []
    for k in range(400):
        n = int(rng.integers(0, 20 if k % 2 else 150))
        x = bits(rng, n)
        if rng.random() < 0.8:  # finite, of comparable sizes
            x = (x & np.uint32(0x807FFFFF)) | (rng.integers(115, 140, n) << 23).astype(np.uint32)
        rows.append((x, bool(rng.random() < 0.3)))
    sim = simulate(Reducer(lanes))
    payload = pack(beats(rows, lanes), sim.ports["x__payload"][1])
    run = sim.run({"x": payload}, {"y": len(rows)}, offer=offer, accept=accept, seed=4)
    want = np.array([twin(x, g) for x, g in rows], np.uint32)
    wrong = np.flatnonzero(run["y"] != want)
    shown = [(i, len(rows[i][0]), rows[i][1], hex(run["y"][i]), hex(want[i])) for i in wrong[:5]]
    assert not len(wrong), (len(wrong), shown)


def test_long_rows_follow_without_a_gap() -> None:
    block = Reducer(8)
    rows = [(np.full(512, 0x3F800000, np.uint32), False)] * 10
    sim = simulate(block)
    run = sim.run({"x": pack(beats(rows, 8), sim.ports["x__payload"][1])}, {"y": 10})
    assert (run["y"] == 0x44000000).all()  # 512.0
    assert (np.diff(run.stamps["x"]) == 1).all()


def test_lint() -> None:
    assert lint(verilog(Reducer(8))) == []
