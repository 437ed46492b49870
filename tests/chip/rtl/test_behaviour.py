"""Blocks with a form of their own for simulators show, cycle by cycle, what their elaboration shows; blocks whose
clock a simulator leaves out while they rest compute what they compute with it."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("amaranth", reason="RTL needs the `rtl` extra")

from tapeout.chip.rtl import secded
from tapeout.chip.rtl.block import Block, verilog
from tapeout.chip.rtl.parity import ParityCheck, ParitySend
from tapeout.chip.rtl.population import Population
from tapeout.chip.rtl.secded import SecdedDecode, SecdedEncode
from tapeout.chip.rtl.vector_unit import VectorUnit
from tapeout.simulator.rtl.simulation import pack, simulate

pytestmark = pytest.mark.verilator
CYCLES = 4000


def _words(rng: np.random.Generator, width: int) -> list[int]:
    """Random words, among them codewords with up to two wrong bits."""
    words = [int.from_bytes(rng.bytes(-(-width // 8)), "little") & ((1 << width) - 1) for _ in range(CYCLES)]
    if width == secded.WORD:
        for k in range(0, CYCLES, 2):
            words[k] = secded.encode(words[k] & ((1 << 64) - 1))
            for bit in rng.integers(0, width, k // 2 % 3):
                words[k] ^= 1 << int(bit)
    return words


@pytest.mark.parametrize(
    "block",
    [
        SecdedEncode(), SecdedDecode(), Population(16), ParitySend(7), ParitySend(64), ParitySend(200),
        ParityCheck(130, late=True), ParityCheck(1024, late=False),
    ],
    ids=lambda b: b.module_name,
)  # fmt: skip
def test_behaviour_is_the_elaboration(block: Block) -> None:
    rng = np.random.default_rng(5)
    assert block.behaviour() is not None
    inputs = {}
    forms = [simulate(verilog(block, simulation)) for simulation in (False, True)]
    for name, (_, width) in forms[0].ports.items():
        if next(p for p in forms[0].design.ports if p.name == name).is_input:
            inputs[name] = pack(_words(rng, width), width).copy()
    if "parity" in inputs:  # mostly right
        parity = inputs["parity"][:, 0].copy()
        word = [int.from_bytes(w.tobytes(), "little") for w in inputs["word"]]
        width = forms[0].ports["word"][1]
        right = [
            sum(
                (w >> i & ((1 << min(64, width - i)) - 1)).bit_count() % 2 << i // 64
                for i in range(0, width, 64)
            )
            for w in word
        ]
        kept = rng.random(CYCLES) < 0.5
        late = 1 if getattr(block, "late", False) else 0
        inputs["parity"][:, 0] = np.where(kept, np.roll(np.array(right, np.uint32), late), parity)
    outputs = [p.name for p in forms[0].design.ports if not p.is_input]
    plain, fast = (form.table(inputs, outputs) for form in forms)
    first = 3  # registers start at random
    for name in outputs:
        np.testing.assert_array_equal(fast[name][first:], plain[name][first:], err_msg=name)
        assert len(np.unique(plain[name], axis=0)) > 1


@pytest.mark.parametrize("offer", [1.0, 0.05])
def test_a_unit_at_rest_keeps_its_results(offer: float) -> None:
    """With beats far apart its lanes' clocks stand still in between; results and cycles stay the same."""
    rng = np.random.default_rng(7)
    runs = []
    unit = VectorUnit(4)
    n = 400
    for simulation in (False, True):
        sim = simulate(verilog(unit, simulation))
        width = sim.ports["x__payload"][1]
        rng = np.random.default_rng(8)
        beats = [
            int(rng.integers(0, 4)) | int.from_bytes(rng.bytes(48), "little") << 6 for _ in range(n)
        ]  # functions: the longest
        sim.poke("tap", 1 << 4)
        runs.append(sim.run({"x": pack(beats, width)}, {"y": n}, offer=offer, seed=3))
    np.testing.assert_array_equal(runs[0]["y"], runs[1]["y"])
    np.testing.assert_array_equal(runs[0].stamps["y"], runs[1].stamps["y"])
