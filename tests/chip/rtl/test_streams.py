"""Queues, skid buffers and arbiters: nothing lost, doubled or reordered under any pressure."""

from __future__ import annotations

import numpy as np
import pytest

from tapeout.chip.rtl.arbiter import Arbiter
from tapeout.chip.rtl.block import Block, verilog
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.chip.rtl.skid import Skid
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import simulate

pytestmark = pytest.mark.verilator
PRESSURE = [(1.0, 1.0), (0.3, 0.9), (0.9, 0.3), (0.5, 0.5)]


@pytest.mark.parametrize(
    "block", [Fifo(9, 5), Fifo(9, 2), HeadFifo(9, 5), HeadFifo(9, 2), Skid(9)], ids=lambda b: b.module_name
)
def test_what_goes_in_comes_out(block: Block) -> None:
    sim = simulate(block)
    data = np.random.default_rng(0).integers(0, 512, 4000)
    for seed, (offer, accept) in enumerate(PRESSURE):
        run = sim.run({"i": data}, {"o": len(data)}, offer=offer, accept=accept, seed=seed)
        assert (run["o"] == data).all()
        if offer == accept == 1:
            assert run.cycles <= len(data) + 2  # a word every cycle


@pytest.mark.parametrize("block", [Fifo(9, 5), HeadFifo(9, 5)], ids=lambda b: b.module_name)
def test_fifo_level_and_capacity(block: Block) -> None:
    sim = simulate(block)
    sim.run({"i": range(9)}, {}, limit=50, partial=True)
    assert sim.peek("level") == 5
    assert sim.peek("i__ready") == 0
    sim.poke("i__valid", 0)
    assert list(sim.run({}, {"o": 5})["o"]) == [0, 1, 2, 3, 4]
    assert sim.peek("level") == 0


def test_skid_finds_a_flipped_bit() -> None:
    sim = simulate(Skid(9))
    for inject in (0, 1):
        sim.reset()
        sim.poke("inject", inject)
        sim.run({"i": [77]}, {})
        assert sim.peek("o__valid") == 1
        assert sim.peek("parity_error") == inject


def test_arbiter_is_fair_and_keeps_the_order_of_each() -> None:
    sim = simulate(Arbiter(8, 3))
    n = 300
    data = [np.random.default_rng(k).integers(0, 256, n) for k in range(3)]
    for seed, (offer, accept) in enumerate(PRESSURE):
        sim.reset()
        run = sim.run(
            {f"i{k}": d for k, d in enumerate(data)}, {"o": 3 * n}, offer=offer, accept=accept, seed=seed
        )
        word, source = run["o"] & 255, run["o"] >> 8
        for k in range(3):
            assert (word[source == k] == data[k]).all()
        if offer == 1:
            assert (source[: 3 * n - 3] == np.arange(3 * n - 3) % 3).all()


def test_arbiter_offers_without_being_asked() -> None:
    """A consumer may wait for `valid` before it is ready."""
    sim = simulate(Arbiter(8, 3))
    sim.poke("i1__valid", 1)
    sim.poke("i1__payload", 55)
    sim.step(2)
    assert sim.peek("o__valid") == 1
    assert sim.peek("o__payload") == 55 | 1 << 8


@pytest.mark.parametrize(
    "block", [Fifo(9, 5), Fifo(8, 1), HeadFifo(9, 5), Skid(16), Arbiter(8, 3)], ids=lambda b: b.module_name
)
def test_lint(block: Block) -> None:
    assert lint(verilog(block)) == []
