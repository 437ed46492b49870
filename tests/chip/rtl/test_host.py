"""The host's registers by themselves: faults, injection, and a doorbell that waits for the scratchpad."""

from __future__ import annotations

import pytest

from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.host import Host, csr_map
from tapeout.chip.rtl.parity import PATHS, number
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import Simulation, simulate

pytestmark = pytest.mark.verilator
AT = {r.name: r.address for r in csr_map()}


def write(sim: Simulation, name: str, value: int) -> int:
    """Writes a register; whether `start` was up in the cycle of the write."""
    for port, v in (
        ("s_awaddr", AT[name]),
        ("s_wdata", value),
        ("s_wstrb", 15),
        ("s_awvalid", 1),
        ("s_wvalid", 1),
    ):
        sim.poke(port, v)
    sim.poke("s_bready", 1)
    sim.eval()
    started = sim.peek("start")
    sim.step()
    sim.poke("s_awvalid", 0)
    sim.poke("s_wvalid", 0)
    sim.step()
    return started


def read(sim: Simulation, name: str) -> int:
    sim.poke("s_araddr", AT[name])
    sim.poke("s_arvalid", 1)
    sim.step()
    sim.poke("s_arvalid", 0)
    sim.eval()
    value = sim.peek("s_rdata")
    sim.poke("s_rready", 1)
    sim.step()
    sim.poke("s_rready", 0)
    return value


def test_registers_have_addresses_of_their_own() -> None:
    assert len(set(AT.values())) == len(AT)
    assert all(a % 4 == 0 for a in AT.values())
    assert all(sum(w for _, w in r.bits) <= 32 for r in csr_map())


def test_the_first_fault_is_kept_until_the_next_start() -> None:
    sim = simulate(Host())
    assert write(sim, "doorbell", 1) == 1
    for path, at in ((number("vector_answer"), 0), (number("scratchpad"), 4096)):
        sim.poke("fault", path)
        sim.poke("fault_at", at)
        sim.step()
        sim.poke("fault", 0)
        sim.step()
        assert (read(sim, "fault"), read(sim, "fault_at")) == (number("vector_answer"), 0)
        assert read(sim, "status") >> 4 & 1
    write(sim, "doorbell", 1)
    assert (read(sim, "fault"), read(sim, "status") >> 4 & 1) == (0, 0)
    sim.poke("fault", number("scratchpad"))
    sim.poke("fault_at", 0x12340)
    sim.step()
    sim.poke("fault", 0)
    sim.step()
    assert (read(sim, "fault"), read(sim, "fault_at")) == (number("scratchpad"), 0x12340)


def test_the_doorbell_waits_until_the_scratchpad_is_cleared() -> None:
    sim = simulate(Host())
    sim.poke("clearing", 1)
    assert write(sim, "doorbell", 1) == 0
    for _ in range(5):
        sim.step()
        assert not sim.peek("start")
    assert read(sim, "status") & 1 and read(sim, "status") >> 5 & 1
    sim.poke("clearing", 0)
    sim.eval()
    assert sim.peek("start")
    sim.step()
    sim.eval()
    assert not sim.peek("start")
    sim.step(3)
    assert not sim.peek("start")
    assert write(sim, "doorbell", 1) == 1


def test_injection_is_what_was_written() -> None:
    sim = simulate(Host())
    assert sim.peek("inject") == 0
    for value in (1, 2, number("store_answer") << 2, len(PATHS) << 2 | 1):
        write(sim, "inject", value)
        assert sim.peek("inject") == read(sim, "inject") == value


def test_lint() -> None:
    assert lint(verilog(Host())) == []
