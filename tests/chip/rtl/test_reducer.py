"""Sums and maxima of rows of every length against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from floats import bits

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.greatest import Greatest
from tapeout.chip.rtl.reducer import Reducer, twin
from tapeout.numerics import fp32, vector
from tapeout.simulator.rtl.block_checks import reduced_beat
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import pack, simulate

pytestmark = pytest.mark.verilator


def beats(rows: list[np.ndarray], lanes: int) -> list[int]:
    """Of rows one after another."""
    return [reduced_beat(row, i, lanes) for row in rows for i in range(0, max(len(row), 1), lanes)]


def in_turns(
    rows: list[np.ndarray], lanes: int, together: int, rng: np.random.Generator, fair: bool
) -> tuple[list[int], list[int]]:
    """Beats of up to `together` rows at once, in turn or at random; and the rows in the order in which they end."""
    made, order, waiting = [], [], list(range(len(rows)))
    active: dict[int, tuple[int, int]] = {}  # place: (row, its next element)
    bits_of_row = (together - 1).bit_length()
    turn = 0
    while waiting or active:
        for place in range(together):
            if place not in active and waiting and (rng.random() < 0.7 or fair):
                active[place] = (waiting.pop(0), 0)
        if not active:
            continue
        place = sorted(active)[turn % len(active)] if fair else int(rng.choice(sorted(active)))
        turn += 1
        row, i = active[place]
        made.append(reduced_beat(rows[row], i, lanes, place, bits_of_row))
        active[place] = (row, i + lanes)
        if i + lanes >= len(rows[row]):
            order.append(row)
            del active[place]
    return made, order


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
    together = block.rows if isinstance(block, Reducer) else 1
    made, order = in_turns(rows, lanes, together, rng, fair=accept == 1)
    rows = [rows[k] for k in order]
    run = sim.run(
        {"x": pack(made, sim.ports["x__payload"][1])}, {"y": len(rows)}, offer=offer, accept=accept, seed=4
    )
    if isinstance(block, Reducer):
        want = np.array([twin(x) for x in rows], np.uint32)
    else:
        want = np.array([fp32.bits(vector.greatest(fp32.from_bits(x))) for x in rows], np.uint32)
    wrong = np.flatnonzero(run["y"] != want)
    shown = [(i, len(rows[i]), hex(run["y"][i]), hex(want[i])) for i in wrong[:5]]
    assert not len(wrong), (len(wrong), shown)


PRESSURE = [(1.0, 1.0), (0.5, 0.2), (0.9, 0.9)]


@pytest.mark.parametrize("lanes", [4, 8, 16, 32])
def test_sums_equal_the_definition(lanes: int) -> None:
    for offer, accept in PRESSURE:
        check(Reducer(lanes), lanes, offer, accept)


@pytest.mark.parametrize("lanes", [2, 8, 32])
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


@pytest.mark.parametrize("lanes", [16, 32])
def test_rows_in_turn_keep_the_adders_busy(lanes: int) -> None:
    block = Reducer(lanes)
    sim = simulate(block)
    rows = [np.full(160, 0x3F800000, np.uint32)] * 40
    made, _ = in_turns(rows, lanes, block.rows, np.random.default_rng(0), fair=True)
    stamps = sim.run({"x": pack(made, sim.ports["x__payload"][1])}, {"y": 40}).stamps["y"]
    group = block.rows * 160 // lanes
    assert [stamps[k * block.rows] - stamps[0] for k in range(40 // block.rows)] == [
        k * group for k in range(40 // block.rows)
    ]


def test_lint() -> None:
    for lanes in (8, 32):
        assert lint(verilog(Reducer(lanes))) == []
        assert lint(verilog(Greatest(lanes))) == []
