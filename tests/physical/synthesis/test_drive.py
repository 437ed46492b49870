"""Drivers of nets between modules: fast enough for what they drive, and the function stays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out
from libraries_for_tests import kit
from small_library import LIBRARY

from tapeout.chip.rtl.block import Block, place
from tapeout.physical.synthesis import drive, flow, netlist, pdk
from tapeout.physical.synthesis.activity import Simulator, pack, unpack
from tapeout.physical.synthesis.flow import SynthesisResult, synthesise


class Leaf(Block):
    """A registered product, worth keeping apart."""

    module_name = "leaf"

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "y": Out(16)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.sync += self.y.eq(self.a * self.b + 1)
        return m


class Spread(Block):
    """One leaf whose product goes to many more, and what those make, folded."""

    def __init__(self, leaves: int) -> None:
        self.leaves = leaves
        super().__init__({"a": In(8), "b": In(8), "y": Out(16)})

    @property
    def module_name(self) -> str:
        return f"spread_{self.leaves}"

    def placed(self) -> Iterable[Block]:
        return (Leaf(),)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        first = place(m, "first", Leaf())
        m.d.comb += [first.a.eq(self.a), first.b.eq(self.b)]
        for i in range(self.leaves):
            leaf = place(m, f"leaf{i}", Leaf())
            m.d.comb += [leaf.a.eq(first.y[:8]), leaf.b.eq(first.y[8:] ^ i)]
            with m.If(self.a[:7] == i):
                m.d.sync += self.y.eq(leaf.y)
        return m


def answers(result: SynthesisResult) -> list[np.ndarray]:
    """Outputs for random inputs, after a reset."""
    sim, rng, found = Simulator(result.flat), np.random.default_rng(3), []
    for t in range(24):
        sim.set_all("rst", int(t < 3))
        for port in "ab":
            sim.set(port, pack(rng.integers(0, 256, (64, 1), dtype=np.uint8), 8))
        sim.settle()
        found.append(unpack(sim.get("y")))
        sim.clock()
    return found[5:]


@pytest.mark.parametrize("library", ["asap7", "gt2n", "sky130"])
@pytest.mark.parametrize("leaves", [3, 24])
def test_nets_between_modules_are_driven(library: str, leaves: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = kit(library)
    flat = synthesise(Spread(leaves), one, flat=True)
    monkeypatch.setattr(flow, "KEEP_REPEATED", 100)
    sized = synthesise(Spread(leaves), one)
    assert [m.count for m in sized.modules] == [leaves + 1, 1]
    monkeypatch.setattr(flow.drive, "sized", lambda modules, *_: dict(modules))
    bare = synthesise(Spread(leaves), one)
    for a, b, c in zip(answers(sized), answers(bare), answers(flat), strict=True):
        np.testing.assert_array_equal(a, c)
        np.testing.assert_array_equal(b, c)
    worst = [_slowest_between(r) for r in (sized, bare)]
    limit = drive.Drivers(one).most_ps
    # the input's slew is assumed when a driver is chosen; a single cell may be too weak for 24 loads
    assert worst[0] <= (1.25 if leaves == 3 else 4) * limit
    assert sized.flip_flops == bare.flip_flops
    assert bare.area_um2 < sized.area_um2 < 1.2 * bare.area_um2
    if leaves == 24:
        assert worst[1] > 2 * worst[0] and sized.critical_path_ns < bare.critical_path_ns
        assert sized.cells > bare.cells  # a buffer, where no strength of the driver will do


def _slowest_between(result: SynthesisResult) -> float:
    """The slowest transition of a net that leaves a module, ps."""
    slew = result.timing.slew.reshape(-1, 2).max(axis=1)
    found = 0.0
    for module in result.mapped.values():
        ports = [n for v in module.outputs.values() for n in v] if module.name == "leaf" else []
        nets = {*ports, *(n for p in module.placed for v in p.ports.values() for n in v)} - {0, 1}
        driven = {int(n) for k, pins in module.pins.items() for n in _outputs(result, k, pins)}
        for to in result.flat.copies_of(module):
            found = max([found, *(float(slew[to[n]]) for n in nets & driven)])
    return found


def _outputs(result: SynthesisResult, kind: str, pins: netlist.Nets) -> netlist.Nets:
    columns = [k for k, p in enumerate(result.kit.library.cells[kind].pins.values()) if p.output]
    return pins[:, columns].reshape(-1)


def test_strength_then_a_buffer_then_what_there_is(tmp_path: Any) -> None:
    """An inverter in two strengths and no buffer: kept, doubled, and doubled where even that is slow."""
    path = tmp_path / "small.lib"
    path.write_text(LIBRARY)
    one = pdk.find(path)
    leaf = netlist.Module("leaf", {"a": (2,)}, {"y": (3,)}, {"INV": np.array([[2, 3]])}, [], {}, 4)
    ports = {"a": (2,), "y": (3,)}
    top = netlist.Module("top", {"a": (2,)}, {"y": (3,)}, {}, [netlist.Placed("one", "leaf", ports)], {}, 4)
    modules = {"leaf": leaf, "top": top}
    flat = netlist.flatten(modules, "top", one.library)
    drivers = drive.Drivers(one)
    small, large = one.library.cells["INV"], one.library.cells["INVX2"]
    loads = np.arange(1.0, 2000.0)
    fits = [next((x for x in loads[::-1] if drivers.holds(c, x)), 0.0) for c in (small, large)]
    assert 0 < fits[0] < fits[1]
    for load, kind in ((fits[0], "INV"), (fits[0] + 1, "INVX2"), (10 * fits[1], "INVX2")):
        after = drive.sized(modules, flat, one, np.full((flat.nets, 2), load))
        assert list(after["leaf"].pins) == [kind] and after["top"] is top
        assert (after["leaf"] is leaf) == (kind == "INV")
