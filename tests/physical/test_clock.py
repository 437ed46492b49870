"""The clock that a node makes, and what running faster costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tapeout.chip import load
from tapeout.chip.designs import Designs
from tapeout.chip.spec import NODES
from tapeout.errors import InputError
from tapeout.physical import check, problems, shipped
from tapeout.physical.clock import base_clock, clock_limit, logic_energy


def test_a_clock_that_the_node_cannot_make_is_refused() -> None:
    spec = load("edge")
    check(spec)
    with pytest.raises(InputError, match=r"clock_ghz: found 2\.5, expected at most 1\.\d\d in N5"):
        check(replace(spec, clock_ghz=2.5))
    assert any("the pipelines reach" in p for p in problems(replace(spec, clock_ghz=2.5)))


def test_newer_nodes_are_faster_and_need_less_energy() -> None:
    view = shipped().nominal()
    d = Designs.of(load("flagship"), node=np.array(NODES), clock_ghz=1.0)
    assert (np.diff(clock_limit(d, view)) > 0).all()
    assert (np.diff(logic_energy(d, view)) < 0).all()
    assert float(base_clock(view)) == pytest.approx(float(clock_limit(d, view)[0]))


def test_speed_costs_energy_up_to_what_the_same_power_gives() -> None:
    view = shipped().nominal()
    limit = float(clock_limit(Designs.of(load("flagship")), view)[0])
    clocks = np.linspace(0.3, limit, 50)
    e = logic_energy(Designs.of(load("flagship"), clock_ghz=clocks), view)
    assert (np.diff(e) >= -1e-12).all()
    assert e[0] == pytest.approx(view.get("nodes.N3E.energy_scale", "1"))
    assert e[-1] == pytest.approx(1 / view.get("nodes.N3E.speed", "1"))
