"""The floorplan is to scale, inside the die, and nothing overlaps."""

from __future__ import annotations

import pytest
from chip_specs import specs
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tapeout.chip import ChipSpec, available, load
from tapeout.physical.area import area, outline
from tapeout.physical.floorplan import Floorplan, floorplan, overlapping


def holds(spec: ChipSpec, plan: Floorplan) -> None:
    a = area(spec)
    assert plan.width * plan.height == pytest.approx(a.total[0])
    assert plan.used == pytest.approx((a.total - a.whitespace)[0])
    assert not overlapping(plan.blocks) and not overlapping(plan.parts)
    for r in (*plan.blocks, *plan.parts):
        assert r.width > 0 and r.height > 0
        assert r.x >= -1e-9 and r.x + r.width <= plan.width + 1e-9, r
        assert r.y >= -1e-9 and r.y + r.height <= plan.height + 1e-9, r
    kinds = {"memory_phy": a.memory_phy, "serdes": a.serdes, "misc": a.misc, "die_to_die": a.die_to_die}
    for kind, mm2 in kinds.items():
        assert sum(b.area for b in plan.blocks if b.kind == kind) == pytest.approx(mm2[0]), kind
    assert sum(b.kind == "core" for b in plan.blocks) == spec.cores // spec.dies
    assert sum(p.area for p in plan.parts if p.kind == "scratchpad") == pytest.approx(a.scratchpad[0])
    assert sum(p.area for p in plan.parts if p.kind == "matrix") == pytest.approx(
        (a.matrix + a.accumulators)[0]
    )


@pytest.mark.parametrize("name", available())
def test_presets(name: str) -> None:
    holds(load(name), floorplan(load(name)))


@settings(max_examples=80, deadline=None)
@given(specs())
def test_any_chip(spec: ChipSpec) -> None:
    assume(outline(spec).width[0] > 0)
    holds(spec, floorplan(spec))


@given(st.integers(1, 12))
@settings(deadline=None)
def test_mesh_length_of_a_square_array(side: int) -> None:
    spec = load("flagship")
    from dataclasses import replace

    square = replace(spec, cores=side * side)
    plan = floorplan(square)
    px, py = plan.noc_pitch_mm
    assert plan.noc_length_mm <= 2 * side * side * max(px, py)
