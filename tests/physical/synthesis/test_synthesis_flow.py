"""Blocks through Yosys: what the gates compute, what is counted, that it is the same every time."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Module
from amaranth.lib.wiring import In, Out
from libraries_for_tests import kit
from small_library import LIBRARY

from tapeout.chip.rtl import fp32_add
from tapeout.chip.rtl.block import Block, place, register, verilog
from tapeout.chip.rtl.fp32_add import Fp32Add
from tapeout.chip.rtl.scratchpad import ScratchpadBank
from tapeout.errors import DoesNotHold, InputError
from tapeout.physical.synthesis import blocks, flow, netlist, operations, pdk
from tapeout.physical.synthesis.activity import Simulator, pack, unpack
from tapeout.physical.synthesis.energy import energy
from tapeout.physical.synthesis.flow import SynthesisResult, synthesise
from tapeout.physical.synthesis.mapping import Mapper


class Leaf(Block):
    """A registered product of bytes, one added if `rst` was not: enough to be worth keeping apart."""

    module_name = "leaf"

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "y": Out(16)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += self.y.eq(self.a * self.b + 1)
        return m


class Pair(Block):
    """Two leaves, one after the other."""

    module_name = "pair"

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "y": Out(16)})

    def placed(self) -> Iterable[Block]:
        return (Leaf(),)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        one, two = place(m, "one", Leaf()), place(m, "two", Leaf())
        m.d.comb += [one.a.eq(self.a), one.b.eq(self.b), two.a.eq(one.y[:8]), two.b.eq(one.y[8:])]
        m.d.comb += self.y.eq(register(m, Cat(two.y[8:], two.y[:8]), "swapped"))
        return m


def answers(result: SynthesisResult, cycles: int = 12, seed: int = 5) -> list[np.ndarray]:
    """Outputs of Pair or Leaf for random inputs, after a reset."""
    sim, rng, found = Simulator(result.flat), np.random.default_rng(seed), []
    for t in range(cycles):
        sim.set_all("rst", int(t < 3))
        for port in "ab":
            sim.set(port, pack(rng.integers(0, 256, (64, 1), dtype=np.uint8), 8))
        sim.settle()
        found.append(unpack(sim.get("y")))
        sim.clock()
    return found[4:]


@pytest.mark.parametrize("library", ["asap7", "gt2n", "sky130"])
def test_gates_are_the_adder(library: str) -> None:
    """All the libraries' flip-flops (inverting, with asynchronous pins, plain) and cells, on random bits."""
    one = kit(library)
    result = synthesise(Fp32Add(registered=False), one)
    rng = np.random.default_rng(1)
    words = rng.integers(0, 2**32, (2, 40 * operations.STREAMS), dtype=np.uint64).astype(np.uint32)
    words[:, ::2] = (words[:, ::2] & 0x83FF_FFFF) | 0x3C00_0000  # exponents close to each other
    sim = Simulator(result.flat, operations.STREAMS)
    sim.set_all("rst", 0)
    checked = operations._stream(
        sim, list(words), ["a", "b"], "y", fp32_add.LATENCY - 1, lambda g: fp32_add.twin(g[0], g[1]), 40
    )
    assert checked > 4000
    assert result.flip_flops == result.flat.cells - sum(
        len(p) for c, p in zip(result.flat.types, result.flat.pins, strict=True) if not c.flip_flop
    )
    assert result.critical_path_ns > 0 and 0 < result.sequential_um2 < result.area_um2


def test_a_broken_gate_is_found() -> None:
    """One input of one exclusive or tied high: the comparison with the twin sees it."""
    result = synthesise(Fp32Add(registered=False), kit("asap7"))
    t = next(i for i, c in enumerate(result.flat.types) if c.name.startswith("XOR2"))
    column = list(result.flat.types[t].pins).index("A")
    before = result.flat.pins[t][0, column]
    try:
        result.flat.pins[t][0, column] = 1
        with pytest.raises(DoesNotHold, match="twin"):
            operations.energies(Fp32Add(registered=False), result)
    finally:
        result.flat.pins[t][0, column] = before


def test_kept_apart_is_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module mapped once and placed twice computes what the flattened one does, and its area counts twice."""
    one = kit("asap7")
    whole = synthesise(Pair(), one)
    assert [m.name for m in whole.modules] == ["pair"]
    monkeypatch.setattr(flow, "KEEP_REPEATED", 100)
    apart = synthesise(Pair(), one)
    leaf, pair = apart.modules
    assert (leaf.name, leaf.count, pair.name) == ("leaf", 2, "pair")
    assert apart.cells == 2 * leaf.cells + pair.cells
    assert apart.area_um2 == pytest.approx(2 * leaf.area_um2 + pair.area_um2)
    assert apart.flip_flops == 2 * leaf.flip_flops + pair.flip_flops == whole.flip_flops
    for a, b in zip(answers(apart), answers(whole), strict=True):
        np.testing.assert_array_equal(a, b)
    path = apart.timing.worst()
    assert path and path.start.startswith("one.") and path.end.startswith("two.")


def test_the_same_every_time(tmp_path: Path) -> None:
    one = kit("asap7")
    first = synthesise(Leaf(), one, cache=tmp_path / "a")
    second = synthesise(Leaf(), one, cache=tmp_path / "b")
    assert first.to_json() == second.to_json()
    for a, b in zip(first.flat.pins, second.flat.pins, strict=True):
        np.testing.assert_array_equal(a, b)
    files = sorted(f.name for f in (tmp_path / "a").iterdir())
    assert files == sorted(f.name for f in (tmp_path / "b").iterdir())
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_what_is_kept_is_used_and_a_damaged_copy_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = kit("asap7")
    first = synthesise(Leaf(), one, cache=tmp_path)
    for file in tmp_path.iterdir():
        file.write_bytes(file.read_bytes()[:50])
    assert synthesise(Leaf(), one, cache=tmp_path).to_json() == first.to_json()
    monkeypatch.setattr("subprocess.run", lambda *a, **k: pytest.fail("mapped again"))
    assert synthesise(Leaf(), one, cache=tmp_path).to_json() == first.to_json()


def test_wires_cost_time() -> None:
    one = kit("asap7")
    bare, estimated = synthesise(Leaf(), one), synthesise(Leaf(), one, wire="estimate")
    assert 0.05 < estimated.wire_ff_per_fanout < 2
    assert estimated.period_ns > bare.period_ns > 0
    with pytest.raises(InputError, match="wire"):
        synthesise(Leaf(), one, wire="thick")


def test_energy_is_what_toggles() -> None:
    """Still operands cost clock and leakage and nothing else; random ones cost more than counting ones."""
    result = synthesise(Leaf(), kit("asap7"))
    spent = {}
    for what in ("still", "counting", "random"):
        sim, rng = Simulator(result.flat), np.random.default_rng(2)
        sim.set_all("rst", 0)
        for t in range(20):
            value = {"still": 7, "counting": t}.get(what)
            for port in "ab":
                drawn = pack(rng.integers(0, 256, (64, 1), dtype=np.uint8), 8)
                if value is None:
                    sim.set(port, drawn)
                else:
                    sim.set_all(port, value)
            sim.settle()
            sim.clock(count=t > 3)
        spent[what] = energy(result, sim, 1.0)
    assert spent["still"].logic_fj == 0 and spent["still"].wires_fj == 0 and spent["still"].clock_fj > 0
    assert 0 < spent["counting"].logic_fj < spent["random"].logic_fj
    assert spent["random"].clock_fj == spent["still"].clock_fj
    nominal, low, high = spent["random"].estimate()
    assert spent["random"].counted_fj < low < nominal < high


def test_energy_by_hand(tmp_path: Path) -> None:
    """An inverter that toggles every cycle: its pins' capacitance, and the tables' means."""
    path = tmp_path / "small.lib"
    path.write_text(LIBRARY)
    one = pdk.find(path)
    module = netlist.Module("m", {"a": (2,)}, {"y": (4,)}, {"INV": np.array([[2, 3], [3, 4]])}, [], {}, 5)
    flat = netlist.flatten({"m": module}, "m", one.library)
    timed = flow.timing.analyse(flat, input_slew_ps=100)
    result = SynthesisResult(
        "m", "small", 2, 0, 0, 0, 2, 0, 0.004, 0.0, 0.0, 0.0, {}, (), {}, flat, timed, one, {"m": module}
    )
    sim = Simulator(flat)
    for t in range(11):
        sim.set_all("a", t & 1)
        sim.settle()
        sim.clock()
    got = energy(result, sim, 1.0)
    # two nets of 10 fF at 1 V (the last drives nothing): 5 fJ each; A's internal energy at slew 100: (1 + 2) / 2
    assert got.toggle_rate == 1.0
    assert got.logic_fj == pytest.approx(2 * 5 + 2 * 1.5)


def test_a_bank_keeps_its_words() -> None:
    block = ScratchpadBank(64, 16)
    result = synthesise(block, kit("asap7"))
    assert result.macro_bits == 64 * 2 * 72 and result.macro_um2 == pytest.approx(result.macro_bits * 0.042)
    write, read = operations.energies(block, result)
    assert read.vectors > 1000 and 0 < write.counted_pj < write.pj and read.shares["memory macro"] > 0


def test_latches_and_loops_do_not_pass() -> None:
    text = "module m(input g, input d, output reg q);\n always @* if (g) q = d;\nendmodule\n"
    design = verilog(Leaf())
    with pytest.raises(DoesNotHold):
        synthesise(type(design)("m", (), text), kit("asap7"))
    with pytest.raises(DoesNotHold, match="Yosys"):
        Mapper("module m(input a);\n nothing u(.a(a));\nendmodule\n", kit("asap7")).coarse("m")


def test_names(capsys: pytest.CaptureFixture[str]) -> None:
    kit("asap7")
    assert blocks.main(["--block", "secded_encode"]) == 0
    assert "secded_encode" in capsys.readouterr().out
    assert blocks.main(["--block", "no_such_block"]) == 2
    assert "dot_unit" in capsys.readouterr().err
