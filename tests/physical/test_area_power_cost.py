"""Area, power, yield and cost: limits with closed forms, monotonicity, arrays equal to scalars, published chips."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from chip_specs import one_die, specs
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.chip import ChipSpec, available, load
from tapeout.chip.designs import Designs
from tapeout.chip.spec import Core, Links, MatrixEngine, Memory, Scratchpad
from tapeout.errors import DoesNotHold
from tapeout.physical import check, feasible, limits, problems, shipped
from tapeout.physical.area import area, outline
from tapeout.physical.cost import nre, unit_cost
from tapeout.physical.energy import energy
from tapeout.physical.power import Activity, design_activity, power, thermal_design_power
from tapeout.physical.yields import dies_per_wafer, harvested, negative_binomial

# Published configurations in our terms. A streaming multiprocessor is a core; its FP64 lanes count as two FP32
# lanes each; registers, L1 and its share of L2 are the scratchpad. Formats are those of the tensor cores.
H100 = ChipSpec(
    "H100",
    "N5",
    1.755,
    144,
    Core(MatrixEngine(16, 8, 32, ("mxfp8", "bf16")), 256, Scratchpad(960, 32, 32), 64, 64),
    64,
    Memory("hbm3", 6, 16),
    Links(36, 0, 112, 8),
)
A100 = ChipSpec(
    "A100",
    "N7",
    1.41,
    128,
    Core(MatrixEngine(8, 8, 32, ("mxint8", "bf16")), 192, Scratchpad(768, 32, 32), 64, 64),
    64,
    Memory("hbm2e", 6, 16),
    Links(48, 0, 112, 8),
)
B200 = ChipSpec(
    "B200",
    "N5",
    1.85,
    160,
    Core(MatrixEngine(16, 16, 32, ("mxfp4", "mxfp8", "bf16")), 256, Scratchpad(1536, 32, 32), 64, 64),
    64,
    Memory("hbm3e", 8, 24),
    Links(72, 0, 112, 8),
    "cowos-l",
    2,
)


@pytest.mark.parametrize("name", available())
def test_presets_can_be_built(name: str) -> None:
    check(load(name))


def test_errors_are_in_the_fields_words() -> None:
    spec = one_die()
    eight = replace(spec, memory=replace(spec.memory, stacks=8))
    with pytest.raises(DoesNotHold, match=r"8 HBM3E stacks need 88 mm of beachfront; the die has \d\d"):
        check(eight)
    large = replace(spec, cores=1200)
    assert any("a reticle has 858" in p for p in problems(large))
    assert any("the limit is 500" in p for p in problems(spec, max_watts=500.0))
    assert any("the largest has 36" in p for p in problems(replace(spec, memory=Memory("hbm3e", 6, 48))))
    many = replace(spec, links=replace(spec.links, scale_up_lanes=400))
    assert any("400 lanes" in p or "408 lanes of 224G" in p for p in problems(many))


@settings(max_examples=40, deadline=None)
@given(st.lists(specs(), min_size=1, max_size=6))
def test_arrays_equal_scalars(many: list[ChipSpec]) -> None:
    d = Designs.from_specs(many)
    for i, spec in enumerate(many):
        assert area(d).total[i] == pytest.approx(area(spec).total[0], rel=1e-12)
        assert thermal_design_power(d)[i] == pytest.approx(thermal_design_power(spec)[0], rel=1e-12)
        assert unit_cost(d).total[i] == pytest.approx(unit_cost(spec).total[0], rel=1e-12)
        assert bool(feasible(limits(d))[i]) == (not problems(spec))


@settings(max_examples=60, deadline=None)
@given(specs())
def test_parts_are_positive_and_more_costs_more(spec: ChipSpec) -> None:
    a, e, o = area(spec), energy(spec), outline(spec)
    assert all(np.all(v >= 0) for v in a.parts().values())
    assert sum(v for v in a.parts().values()) == pytest.approx(a.total)
    assert (o.width * o.height)[0] == pytest.approx(a.total[0])
    assert e.idle_watts[0] > 0
    wider = replace(spec, core=replace(spec.core, vector_lanes=64))
    bigger = replace(
        spec, core=replace(spec.core, scratchpad=Scratchpad(2 * spec.core.scratchpad.kibibytes, 16, 64))
    )
    for more in (
        wider,
        bigger,
        replace(spec, memory=replace(spec.memory, stacks=spec.memory.stacks + spec.dies)),
    ):
        assert area(more).total[0] > a.total[0]
        assert thermal_design_power(more)[0] > thermal_design_power(spec)[0]


def test_power_is_linear_in_activity() -> None:
    spec = load("flagship")
    none = power(spec, Activity()).total
    one = power(spec, Activity({"mxfp4": 1e15}, memory_bytes=1e12)).total
    two = power(spec, Activity({"mxfp4": 2e15}, memory_bytes=2e12)).total
    assert (two - one)[0] == pytest.approx((one - none)[0])
    view = shipped().nominal()
    loss = view.get("board.power.regulator_efficiency", "1")
    by_hand = (1e15 * energy(spec).mac["mxfp4"] + 1e12 * view.get("memories.hbm3e.energy", "J/byte")) / loss
    assert (one - none)[0] == pytest.approx(by_hand[0])


@given(st.floats(1, 2000), st.floats(0.01, 1.0))
def test_negative_binomial_lies_between_poisson_and_seeds(mm2: float, d0: float) -> None:
    poisson, seeds = math.exp(-mm2 / 100 * d0), 1 / (1 + mm2 / 100 * d0)
    y = float(negative_binomial(mm2, d0, 3.0))
    assert poisson <= y * (1 + 1e-9) and y <= seeds * (1 + 1e-9)
    assert float(negative_binomial(mm2, d0, 1e7)) == pytest.approx(poisson, rel=1e-3)
    assert float(negative_binomial(mm2, d0, 1.0)) == pytest.approx(seeds)


def test_harvesting_against_simulation() -> None:
    core, cores, rest, d0, alpha = 5.0, 64, 150.0, 0.1, 3.0
    rng = np.random.default_rng(3)
    density = rng.gamma(alpha, d0 / alpha, 200_000)
    bad = rng.binomial(cores, 1 - np.exp(-density * core / 100))
    good_rest = rng.random(len(density)) < np.exp(-density * rest / 100)
    for spares in (0, 1, 4, 8):
        simulated = np.mean((bad <= spares) & good_rest)
        assert float(harvested(core, cores, spares, rest, d0, alpha)) == pytest.approx(simulated, abs=0.005)
    assert float(harvested(core, cores, 0, rest, d0, alpha)) == pytest.approx(
        float(negative_binomial(core * cores + rest, d0, alpha))
    )


def test_dies_per_wafer() -> None:
    # 26 × 33 mm on 300 mm: 60 to 66 whole dies, as every die calculator gives.
    assert 58 <= dies_per_wafer(26.0, 33.0) <= 66
    area_ratio = math.pi * 147**2
    for size in (1.0, 5.0, 10.0):
        count = float(dies_per_wafer(size, size))
        pitch = (size + 0.1) ** 2
        assert area_ratio / pitch * (1 - 4 * size / 147) <= count <= area_ratio / pitch
    assert dies_per_wafer(400.0, 10.0) == 0


def test_dies_per_wafer_against_counting_one_by_one() -> None:
    w, h, r = 12.1, 17.1, 147.0
    best = 0
    for dy in (0.0, h / 2):
        total = 0
        for j in range(-20, 20):
            y0, y1 = dy + j * h, dy + (j + 1) * h
            reach = max(abs(y0), abs(y1))
            if reach < r:
                total += int(2 * math.sqrt(r * r - reach * reach) / w)
        best = max(best, total)
    assert dies_per_wafer(12.0, 17.0) == best


@pytest.mark.parametrize(("spec", "watts"), [(H100, 700), (A100, 400), (B200, 1200)])
def test_published_power_within_a_quarter(spec: ChipSpec, watts: float) -> None:
    """A dense product, which is what holds a GPU at its limit: matrix units at the thermal design point's share of
    their peak, memory and links at the 30 % that keep them fed, at the clock that their own pipelines are made for."""
    deep = shipped().nominal().changed({"area.period.matrix": 0.45, "area.period.others": 0.45})
    most = design_activity(spec, deep)
    dense = replace(
        most,
        **{
            k: 0.3 * getattr(most, k) for k in ("memory_bytes", "noc_bytes", "link_bytes", "scratchpad_bytes")
        },
    )
    drawn = power(spec, dense, deep).total * deep.get("board.power.design_margin", "1")
    assert drawn[0] == pytest.approx(watts, rel=0.25)


@pytest.mark.parametrize(
    ("spec", "transistors", "mm2"),
    # NVIDIA whitepapers: 80 billion in 814 mm², 54.2 billion in 826 mm².
    [(H100, 80e9, 814), (A100, 54.2e9, 826)],
)
def test_published_dies_within_a_quarter_by_transistors(
    spec: ChipSpec, transistors: float, mm2: float
) -> None:
    """Densities, utilisation and PHYs of the tables, applied to the published transistor count: what is not SRAM is
    logic. A GPU's schedulers, caches' tags and graphics are no part of our blocks, so blocks alone give less."""
    view, a = shipped().nominal(), area(spec)
    bits = spec.cores * spec.core.scratchpad.kibibytes * 8192
    node = f"nodes.{spec.node}"
    sram = bits / 1e6 / view.get(f"{node}.sram_density", "Mb/mm2")
    density = view.get(f"{node}.logic_density", "MTr/mm2") * view.get(f"{node}.gate_utilisation", "1")
    logic = (transistors - 6 * bits) / 1e6 / density
    modelled = logic + sram + (a.memory_phy + a.serdes)[0]
    assert modelled == pytest.approx(mm2, rel=0.25)
    assert a.total[0] < mm2


def test_published_bill_of_materials() -> None:
    cost = unit_cost(B200, die_area_mm2=np.array([814.0]))
    assert cost.total[0] == pytest.approx(6400, rel=0.25)  # Epoch AI
    assert cost.dies[0] == pytest.approx(900, rel=0.25)
    assert (cost.packaging + cost.substrate)[0] == pytest.approx(1100, rel=0.25)
    assert cost.memory[0] == pytest.approx(2900, rel=0.25)


def test_nre_of_three_nanometres() -> None:
    assert 500e6 <= nre(load("flagship"))[0] <= 1e9
