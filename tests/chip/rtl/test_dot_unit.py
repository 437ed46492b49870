"""The dot-product unit against the definition, all formats and ways, over exponents that matter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Const, Module
from amaranth.lib.wiring import In, Out
from floats import bits
from numpy.typing import NDArray

from tapeout.chip.rtl import dot_unit
from tapeout.chip.rtl.block import Block, delay, place, register, verilog
from tapeout.chip.rtl.digits import recode
from tapeout.chip.rtl.dot_unit import ACCUMULATE, LOOP, DotUnit
from tapeout.numerics.formats import MXFP4, nibbles
from tapeout.simulator.rtl.lint import lint
from tapeout.simulator.rtl.simulation import simulate

pytestmark = pytest.mark.verilator
CONFIGURATIONS = [
    (("mxfp4",), 1),
    (("mxfp4",), 2),
    (("mxint8",), 1),
    (("mxfp4", "mxint8"), 1),
    (("mxfp4", "mxint8"), 2),
]


class Bench(Block):
    """Recoding and a unit with everything put in in one cycle and delayed as the engine would."""

    def __init__(self, unit: DotUnit) -> None:
        self.unit = unit
        self.module_name_ = f"bench_{unit.module_name}"
        ways = unit.ways
        super().__init__(
            {"codes": In(256), "weight_scales": In(8 * ways), "activations": In(256), "scale": In(8), "int8": In(1),
             "accumulator": In(32 * ways), "sums": Out(32 * ways)}
        )  # fmt: skip

    @property
    def module_name(self) -> str:
        return self.module_name_

    def placed(self) -> Iterable[Block]:
        return (self.unit,)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        u = place(m, "unit", self.unit)
        triples = Cat(
            ((lane := self.activations.word_select(i, 8).as_signed()) + Cat(Const(0, 1), lane).as_signed())[
                :10
            ]
            for i in range(32)
        )
        m.d.comb += [
            u.digits_in.eq(Cat(*recode(m, self.codes, self.int8, self.unit.formats, self.unit.halves, 32))),
            u.scales_in.eq(self.weight_scales),
            u.activations.eq(register(m, self.activations)),
            u.triples.eq(register(m, triples)),
            u.scale.eq(register(m, self.scale)),
            u.int8.eq(register(m, self.int8)),
            u.accumulator.eq(delay(m, self.accumulator, 1 + ACCUMULATE)),
        ]
        m.d.sync += self.sums.eq(u.sums)
        return m


def scales(rng: np.random.Generator, n: int) -> NDArray[np.int64]:
    """E8M0 codes: anything, the middle, the ends."""
    kind = rng.integers(0, 4, n)
    return np.select(
        [kind == 0, kind == 1, kind == 2],
        [rng.integers(0, 256, n), rng.integers(110, 140, n), rng.choice([0, 1, 2, 253, 254, 255], n)],
        rng.integers(50, 80, n),
    )


def words(a: NDArray[Any]) -> NDArray[np.uint32]:
    return np.ascontiguousarray(a).view(np.uint32).reshape(len(a), -1)


@pytest.mark.parametrize("simulation", [True, False], ids=["simulated", "synthesised"])
@pytest.mark.parametrize(("formats", "ways"), CONFIGURATIONS)
def test_dot_unit_equals_its_twin(formats: tuple[str, ...], ways: int, simulation: bool) -> None:
    rng = np.random.default_rng(3)
    n = 60_000
    unit = DotUnit(formats, ways)
    sim = simulate(verilog(Bench(unit), simulation))
    codes = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    codes[: n // 8] = rng.choice(np.array([0x00, 0x80, 0x7F, 0xFF, 0x77, 0x88, 0x66], np.uint8), (n // 8, 1))
    codes[n // 8 : n // 4] &= rng.integers(0, 2, (n // 8, 32), dtype=np.uint8) * np.uint8(255)
    activations = rng.integers(-128, 128, (n, 32)).astype(np.int8)
    activations[: n // 16] = rng.choice(np.array([-128, 127, 0, -127], np.int8), (n // 16, 1))
    activations[n // 2 :] //= rng.choice(np.array([1, 8, 64, 127], np.int8), (n // 2, 1))
    scale = scales(rng, n)
    weight_scales = np.stack([scales(rng, n) for _ in range(ways)], axis=1)
    # half of the pairs near the subnormal edge
    edge = rng.random(n) < 0.5
    weight_scales[:, 0] = np.where(
        edge, np.clip(139 - scale + rng.integers(-28, 12, n), 0, 254), weight_scales[:, 0]
    )
    accumulator = np.stack([bits(rng, n) for _ in range(ways)], axis=1)
    # and half of the accumulators near what is added to them
    near = np.clip((scale + weight_scales[:, 0] - 125 + rng.integers(-24, 24, n)), 0, 254)
    beside = (near << 23).astype(np.uint32) | (accumulator[:, 0] & np.uint32(0x807FFFFF))
    accumulator[:, 0] = np.where(rng.random(n) < 0.5, beside, accumulator[:, 0])
    int8 = rng.integers(0, 2, n) if len(formats) == 2 else np.full(n, formats == ("mxint8",))
    got = sim.table(
        {"codes": words(codes), "weight_scales": sum(weight_scales[:, i] << (8 * i) for i in range(ways)),
         "activations": words(activations), "scale": scale, "int8": int8, "accumulator": accumulator},
        ["sums"], 1 + ACCUMULATE + LOOP,
    )["sums"].reshape(n, ways)  # fmt: skip

    for way in range(ways):
        fp4 = MXFP4.table[nibbles(codes)][:, 32 * way : 32 * way + 32]
        as_fp4 = dot_unit.twin(activations, scale, fp4, weight_scales[:, way], 1, accumulator[:, way])
        as_int8 = dot_unit.twin(
            activations, scale, codes.view(np.int8), weight_scales[:, way], 6, accumulator[:, way]
        )
        counts = (int8 == 0) if way else np.ones(n, bool)
        want = np.where(int8 == 1, as_int8, as_fp4)
        wrong = np.flatnonzero((got[:, way] != want) & counts)
        assert not len(wrong), (
            way,
            len(wrong),
            [(hex(got[i, way]), hex(want[i]), int8[i]) for i in wrong[:4]],
        )


@pytest.mark.parametrize(("formats", "ways"), CONFIGURATIONS)
def test_lint(formats: tuple[str, ...], ways: int) -> None:
    assert lint(verilog(DotUnit(formats, ways))) == []
