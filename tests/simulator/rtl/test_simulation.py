"""The harness: streams from arrays, random pressure, the cache."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tapeout.chip.rtl.block import Port, Verilog
from tapeout.errors import DoesNotHold
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import Simulation, pack, simulate, unpack

pytestmark = pytest.mark.verilator

# An elastic register stage that multiplies by three, of a width that needs several C++ types.
STAGE = """
module stage(input clk, input rst, input [39:0] i__payload, input i__valid, output i__ready,
             output reg [99:0] o__payload, output reg o__valid, input o__ready, output reg [6:0] count);
  assign i__ready = !o__valid || o__ready;
  always @(posedge clk) begin
    if (i__ready) o__valid <= i__valid;
    if (i__valid && i__ready) begin o__payload <= {60'd0, i__payload} * 100'd3; count <= count + 7'd1; end
    if (rst) begin o__valid <= 0; count <= 0; end
  end
endmodule
"""
PORTS = (
    Port("i__payload", 40, True), Port("i__valid", 1, True), Port("i__ready", 1, False),
    Port("o__payload", 100, False), Port("o__valid", 1, False), Port("o__ready", 1, True),
    Port("count", 7, False),
)  # fmt: skip
DESIGN = Verilog("stage", PORTS, STAGE)


@pytest.fixture(scope="module")
def sim() -> Simulation:
    return simulate(DESIGN)


@pytest.mark.parametrize(("offer", "accept"), [(1.0, 1.0), (0.3, 0.9), (0.9, 0.3)])
def test_streams_arrive_whole_and_in_order_whatever_the_pressure(
    sim: Simulation, offer: float, accept: float
) -> None:
    sim.reset()
    values = [int(v) for v in np.random.default_rng(0).integers(0, 2**40, 3000)]
    run = sim.run({"i": values}, {"o": len(values)}, offer=offer, accept=accept, seed=7)
    assert unpack(run["o"]) == [3 * v for v in values]
    assert sim.peek("count") == 3000 % 128
    assert (np.diff(run.stamps["o"]) > 0).all()
    expected = 3000 / min(offer, accept)
    assert 0.9 * expected < run.cycles < 1.25 * expected + 10
    assert (run.waited["o"] > 0) == (accept < 1)


def test_the_same_seed_gives_the_same_cycles(sim: Simulation) -> None:
    runs = []
    for seed in (1, 1, 2):
        sim.reset()
        run = sim.run({"i": range(500)}, {"o": 500}, offer=0.5, accept=0.5, seed=seed)
        runs.append(run.stamps["o"] - run.stamps["o"][0])
    assert (runs[0] == runs[1]).all()
    assert (runs[0] != runs[2]).any()


def test_a_stream_that_stalls_is_told_not_waited_for(sim: Simulation) -> None:
    sim.reset()
    with pytest.raises(DoesNotHold, match="o 3/4"):
        sim.run({"i": [1, 2, 3]}, {"o": 4}, limit=1000)
    sim.reset()
    assert list(sim.run({"i": [1, 2, 3]}, {"o": 4}, limit=1000, partial=True)["o"][:, 0]) == [3, 6, 9]


def test_poke_peek_step(sim: Simulation) -> None:
    sim.reset()
    sim.poke("i__payload", (1 << 40) - 1)
    sim.poke("i__valid", 1)
    sim.step()
    assert sim.peek("o__payload") == 3 * ((1 << 40) - 1)
    assert sim.peek("o__valid") == 1
    with pytest.raises(KeyError, match="no port nothing"):
        sim.peek("nothing")


def test_pack_and_unpack_are_inverse() -> None:
    values = [0, 1, (1 << 99) + 5, (1 << 100) - 1]
    assert unpack(pack(values, 100)) == values


def test_cache_is_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tapeout.simulator.rtl import build

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(build, "run", lambda command, where, what: _pretend(command, where))
    first = build.library(DESIGN)
    assert build.library(DESIGN) == first
    changed = Verilog("stage", PORTS, STAGE.replace("100'd3", "100'd5"))
    assert build.library(changed) != first
    assert build.library(DESIGN, optimise="-O2") != first
    assert not [p for p in (tmp_path / "tapeout" / "rtl").iterdir() if p.name.startswith("tmp")]


def _pretend(command: list[str], where: Path) -> str:
    if "--Mdir" in command:
        (where / "o").mkdir()
        (where / "o" / "VT.cpp").write_text("")
    elif "-o" in command:
        (where / command[command.index("-o") + 1]).write_text("")
    return ""


def test_broken_verilog_is_told_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    from tapeout.simulator.rtl import build

    monkeypatch.setattr(build, "_runtime", lambda trace: [])
    with pytest.raises(DoesNotHold, match="Verilator failed"):
        build.library(Verilog("stage", PORTS, STAGE.replace("endmodule", "")))
    assert not list((tmp_path / "tapeout" / "rtl").iterdir())


def test_lint_finds_a_latch_and_passes_the_clean() -> None:
    assert lint(DESIGN) == []
    latch = "module m(input a, input b, output reg c); always @* if (a) c = b; endmodule"
    assert any("LATCH" in line for line in lint(Verilog("m", (), latch)))
