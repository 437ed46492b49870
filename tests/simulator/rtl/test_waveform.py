"""Waveforms: a window of cycles as VCD, with the signals' names and values, and nothing before or after."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("amaranth")
from test_simulation import DESIGN

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.errors import InputError
from tapeout.simulator.rtl.simulation import simulate
from tapeout.simulator.rtl.waveform import Waveform

pytestmark = pytest.mark.verilator


def read(path: Path) -> tuple[set[str], dict[str, dict[int, int]]]:
    """(scopes, for each signal its value at each time of a change, in ps)."""
    header, body = path.read_text().split("$enddefinitions $end")
    assert "$timescale 1ps $end" in header
    scopes, names, at = [], {}, []
    for line in header.splitlines():
        words = line.split()
        if words[:1] == ["$scope"]:
            at.append(words[2])
            scopes.append(".".join(at))
        elif words[:1] == ["$upscope"]:
            at.pop()
        elif words[:1] == ["$var"]:
            names.setdefault(words[3], []).append(".".join([*at, words[4]]))
    values: dict[str, dict[int, int]] = {}
    time = -1
    for line in body.split("\n"):
        if line.startswith("#"):
            time = int(line[1:])
        elif line:
            found = re.fullmatch(r"b(\S+) (\S+)|([01])(\S+)", line)
            assert found, line
            value, code = (found[1], found[2]) if found[1] else (found[3], found[4])
            for name in names[code]:
                values.setdefault(name, {})[time] = int(value, 2)
    return set(scopes), values


def test_a_window_of_a_block(tmp_path: Path) -> None:
    sim = simulate(DESIGN, trace=True)
    sim.poke("o__ready", 1)
    sim.step(10)
    path, begun = tmp_path / "a.vcd", sim.cycle
    sim.waveform(path, begun)
    for value in range(8):
        sim.poke("i__payload", value)
        sim.poke("i__valid", 1)
        sim.step()
        assert sim.peek("o__payload") == 3 * value  # peeking within a cycle leaves no mark
    sim.waveform(None)
    sim.step(5)
    scopes, values = read(path)
    assert scopes == {"top", "top.stage"}
    clock = values["top.stage.clk"]
    assert [t for t, v in clock.items() if v] == [1000 * c + 500 for c in range(8)]
    changes = values["top.stage.o__payload"]
    assert changes.pop(0) >= 0  # what it held before
    assert changes == {1000 * c + 500: 3 * c for c in range(8)}
    assert max(t for changes in values.values() for t in changes) <= 8000
    again = tmp_path / "b.vcd"
    sim.waveform(again)
    sim.step(2)
    sim.waveform(None)
    assert min(read(again)[1]["top.clk"]) == 1000 * (sim.cycle - 2)
    with pytest.raises(InputError, match="cannot be written"):
        sim.waveform(tmp_path / "nowhere" / "c.vcd")


@pytest.mark.parametrize(
    ("path", "window"), [("a.vcd", "5:5"), ("a.vcd", "7"), ("a.vcd", "-1:4"), ("a.fst", "0:9")]
)
def test_windows_that_cannot_be(tmp_path: Path, path: str, window: str) -> None:
    with pytest.raises(InputError, match=r"--window|\.vcd"):
        Waveform.of(tmp_path / path, window)
    with pytest.raises(InputError, match="folder"):
        Waveform.of(tmp_path / "nowhere" / "a.vcd", "0:9")


class _Recorded:
    """Stands for a simulation: which cycles of it were written, and where."""

    def __init__(self) -> None:
        self.cycle, self.path = 100, None
        self.written: list[int] = []

    def step(self, cycles: int = 1) -> None:
        self.written += range(self.cycle, self.cycle + cycles) if self.path else []
        self.cycle += cycles

    def waveform(self, path: Path | None, origin: int = 0) -> None:
        assert origin == 100
        if path is not None:
            path.write_text("")
        self.path = path


@pytest.mark.parametrize(("first", "stop"), [(0, 1), (0, 200), (13, 614), (399, 401), (950, 5000)])
def test_the_window_is_cut_to_the_cycle(tmp_path: Path, first: int, stop: int) -> None:
    from tapeout.simulator.rtl.core import CoreSimulation

    one = CoreSimulation.__new__(CoreSimulation)
    one.sim, one.start, one.waveform = _Recorded(), 100, Waveform(tmp_path / "a.vcd", first, stop)  # type: ignore[assignment]
    one.edges = [first, stop]
    for _ in range(5):
        one.step(200)
        one.sim.step(3)  # the host's own
    assert one.finish() == 1015
    assert (tmp_path / "a.vcd").exists() and not (tmp_path / "a.vcd.part").exists()
    assert one.sim.written == list(range(100 + first, min(100 + stop, 1115)))  # type: ignore[attr-defined]


def test_a_window_that_never_came(tmp_path: Path) -> None:
    from tapeout.simulator.rtl.core import CoreSimulation

    one = CoreSimulation.__new__(CoreSimulation)
    one.sim, one.start, one.waveform = _Recorded(), 100, Waveform(tmp_path / "a.vcd", 500, 600)  # type: ignore[assignment]
    one.edges = [500, 600]
    one.step(200)
    with pytest.raises(InputError, match="before cycle 200"):
        one.finish()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_window_of_the_core(tmp_path: Path) -> None:
    """A build of its own, of minutes: the sequencer's program counter in a program. The core clears its scratchpad
    first, 256 rows."""
    from tapeout.chip.rtl.core import Core
    from tapeout.simulator.rtl.core import CoreSimulation

    memory = np.zeros(1 << 16, np.uint8)
    path = tmp_path / "core.vcd"
    core = CoreSimulation(Core(load("tiny").core), memory, waveform=Waveform(path, 300, 390))
    outcome = core.run(assemble("\n".join(["add rd=r1 a=r1 imm=1"] * 60 + ["halt"])), 0x8000)
    assert outcome.cause is None
    core.finish()
    scopes, values = read(path)
    times = [t for changes in values.values() for t in changes]
    assert min(times) == 300_000 and max(times) <= 390_000
    assert any(s.endswith("sequencer") for s in scopes)
    counters = [v for name, v in values.items() if name.endswith("sequencer.pc")]
    assert counters and max(len(v) for v in counters) > 10
