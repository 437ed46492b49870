"""The floorplan is to scale, inside the die, and nothing overlaps; what cannot be laid out is refused."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tapeout.chip import ChipSpec, available, load
from tapeout.chip.spec import MEMORY_KINDS, NODES, Core, Links, MatrixEngine, Memory, Scratchpad, validate
from tapeout.errors import InputError
from tapeout.physical.area import area, outline
from tapeout.physical.floorplan import Floorplan, floorplan, overlapping
from tapeout.physical.floorplan.checks import edges, findings, refuse
from tapeout.physical.floorplan.mesh import mesh
from tapeout.physical.floorplan.package import package
from tapeout.physical.floorplan.picture import scene, svg
from tapeout.physical.floorplan.scene import Box
from tapeout.physical.floorplan.shapes import Item, Rectangle, across, near_square

sys.path.insert(0, str(Path(__file__).parents[1]))
from chip_specs import one_die


@st.composite
def any_chip(draw: st.DrawFn) -> ChipSpec:
    """Legal chips of every memory, package, core and number of dies, from slivers to far over the reticle."""
    kind = draw(st.sampled_from(MEMORY_KINDS))
    dies = draw(st.sampled_from((1, 1, 1, 2, 3, 4, 8)))
    banks, word = 2 ** draw(st.integers(0, 6)), 2 ** draw(st.integers(3, 6))
    return validate(
        ChipSpec(
            "x",
            draw(st.sampled_from(NODES)),
            draw(st.floats(0.2, 3.0)),
            dies * draw(st.one_of(st.integers(1, 150), st.integers(1, 3000))),
            Core(
                MatrixEngine(draw(st.integers(1, 64)), draw(st.integers(1, 64))),
                draw(st.integers(1, 256)),
                Scratchpad(max(1, banks * word * 16 // 1024) * draw(st.integers(1, 64)), banks, word),
            ),
            draw(st.sampled_from((4, 64, 256))),
            Memory(kind, min(64, dies * draw(st.integers(1, 10))), 8),
            Links(draw(st.integers(0, 300)), draw(st.integers(0, 16)), draw(st.sampled_from((112, 224)))),
            draw(st.sampled_from(("cowos-s", "cowos-l")))
            if kind.startswith("hbm")
            else draw(st.sampled_from(("organic", "cowos-s"))),
            dies,
        )
    )


def holds(spec: ChipSpec, plan: Floorplan) -> None:
    a = area(spec)
    assert plan.width * plan.height == pytest.approx(a.total[0])
    assert plan.used == pytest.approx((a.total - a.whitespace)[0])
    blocks = (*plan.blocks, *plan.tiles)
    assert not overlapping(blocks)
    for r in blocks:
        assert r.width > 0 and r.height > 0
        assert r.x >= -1e-9 and r.x + r.width <= plan.width + 1e-9, r
        assert r.y >= -1e-9 and r.y + r.height <= plan.height + 1e-9, r
    t = plan.tile
    assert not overlapping((t.router, *t.parts)) and not overlapping((t.router, t.core))
    assert sum(r.area for r in (t.router, *t.parts)) == pytest.approx(t.width * t.height)
    for r in (t.router, *t.parts):
        assert r.x >= -1e-9 and r.x + r.width <= t.width * (1 + 1e-9)
        assert r.y >= -1e-9 and r.y + r.height <= t.height * (1 + 1e-9)
    found = plan.areas()
    assert sum(found.values()) == pytest.approx(plan.used)
    for kind, mm2 in {
        "memory_phy": a.memory_phy,
        "serdes": a.serdes,
        "die_to_die": a.die_to_die,
        "sequencer": a.sequencer,
    }.items():
        share = found.get(kind, 0.0) / mm2[0] if mm2[0] else 1.0  # test logic is with what it tests
        assert 0.999 < share < 1.2, kind
    pads = found["scratchpad"] + found.get("crossbar", 0.0)
    assert pads == pytest.approx(a.scratchpad[0])
    assert len(plan.tiles) == spec.cores // spec.dies
    e = spec.core.matrix
    grids = {r.kind: r.grid for r in t.parts}
    assert sorted(grids["matrix"]) == sorted((e.rows, e.columns))
    assert sum(r.grid[0] * r.grid[1] for r in t.parts if r.kind == "scratchpad") == spec.core.scratchpad.banks


@pytest.mark.parametrize("name", available())
def test_presets(name: str) -> None:
    spec = load(name)
    plan = floorplan(spec)
    holds(spec, plan)
    refuse(spec, name, plan)
    assert not findings(plan)["overlaps"]


@settings(max_examples=120, deadline=None)
@given(any_chip())
def test_any_chip(spec: ChipSpec) -> None:
    assume(outline(spec).width[0] > 0)
    plan = floorplan(spec)
    holds(spec, plan)
    p = package(plan)
    standing = [*p.dies, *p.stacks]
    assert not overlapping([Rectangle("tile", s.name, s.x, s.y, s.width, s.height) for s in standing], 1e-6)
    if spec.memory.kind.startswith("hbm"):
        assert len(p.stacks) == spec.memory.stacks
    for s in standing:
        assert s.x >= -1e-9 and s.x + s.width <= p.width + 1e-9
    found = findings(plan)
    for e in edges(plan).values():
        assert e["has_mm"] > 0 and e["share"] > 0
    assert found["network"]["links"] >= len(plan.tiles) - 1  # every core is reached


def test_stacks_at_the_ends_of_two_dies_stand_apart() -> None:
    """Memory interfaces at the very ends of the dies, whose stacks are longer than they are."""
    core = Core(
        MatrixEngine(rows=57, columns=64), 73, Scratchpad(kibibytes=64, banks=1, word_bytes=8), 32, 16
    )
    spec = ChipSpec(
        name="x", node="N7", clock_ghz=1.0, cores=3070, core=core, noc_bytes_per_cycle=4, dies=2, package="cowos-s",
        memory=Memory("hbm2e", stacks=18, gibibytes_per_stack=8), links=Links(0, 0, 112, 64),
    )  # fmt: skip
    p = package(floorplan(spec))
    stacks = [Rectangle("tile", s.name, s.x, s.y, s.width, s.height) for s in p.stacks]
    assert len(stacks) == 18 and not overlapping(stacks, 1e-6)


@settings(max_examples=15, deadline=None)
@given(any_chip())
def test_any_chip_has_a_picture(spec: ChipSpec) -> None:
    assume(spec.cores <= 2000)
    plan = floorplan(spec)
    ET.fromstring(svg(plan))
    s = scene(plan)
    for shape in s.expanded():
        if isinstance(shape, Box):
            assert shape.x >= -0.01 and shape.x + shape.width <= s.width + 0.01
            assert shape.y >= -0.01 and shape.y + shape.height <= s.height + 0.01


def test_the_picture_is_to_scale() -> None:
    plan = floorplan(load("flagship"))
    boxes = [b for b in scene(plan).expanded() if isinstance(b, Box)]
    (die,) = [b for b in boxes if b.mark == "outline"]
    k = die.width / plan.width
    assert die.height / plan.height == pytest.approx(k)
    phys = [b for b in boxes if b.fill == "r4" and b.width > 20 and die.x <= b.x < die.x + die.width]
    areas = sorted(b.area for b in plan.blocks if b.kind == "memory_phy")
    assert sorted(b.width * b.height / k**2 for b in phys) == pytest.approx(areas)


def test_the_mesh_is_measured() -> None:
    for side in (1, 3, 8):
        plan = floorplan(replace(one_die(), cores=side * side))
        m = mesh(plan)
        px, py = plan.pitch
        columns, _ = plan.grid
        full, rest = divmod(side * side, columns)
        flat = full * (columns - 1) + max(rest - 1, 0)
        upright = (full - 1) * columns + rest
        assert len(m.links) == flat + upright
        want = flat * px + upright * py
        assert sum(h.length for h in m.links) == pytest.approx(want)
        assert m.wires == 8 * plan.spec.noc_bytes_per_cycle * 2
        assert m.link_mm == pytest.approx(want + sum(h.length for h in m.entries))


def test_a_faster_clock_needs_registers_on_the_longest_hop() -> None:
    spec = one_die()
    assert mesh(floorplan(spec)).registers == 0
    plan = floorplan(replace(spec, cores=4, clock_ghz=4.0))
    m = mesh(plan)
    assert m.registers == -(-m.delay_ps // m.budget_ps) - 1 > 0
    assert any("pipeline registers" in w for w in findings(plan)["warnings"])


@pytest.mark.parametrize(
    "change, field",
    [
        ({"cores": 1200}, "cores"),
        ({"cores": 40, "memory": Memory("hbm3e", 12, 36)}, "memory.stacks"),
        ({"cores": 40, "links": Links(280, 8)}, "links"),
        (
            {"dies": 8, "cores": 480, "memory": Memory("hbm3e", 32, 36), "links": Links(0, 0)},
            "package",
        ),
    ],
)
def test_what_cannot_be_laid_out_is_told_by_field(change: dict[str, object], field: str) -> None:
    spec = replace(one_die(), **change)  # type: ignore[arg-type]
    with pytest.raises(InputError) as e:
        refuse(spec, "chip.toml", floorplan(spec))
    assert e.value.field == field and "\n" not in str(e.value)


def test_memory_phys_squeezed_too_far_are_refused() -> None:
    """The perimeter holds them end to end, but not once corners and their depth are taken."""
    spec = load("edge")
    spec = replace(spec, cores=5, memory=replace(spec.memory, stacks=8), links=Links(0, 0))
    plan = floorplan(spec)
    with pytest.raises(InputError, match=r"memory\.stacks"):
        refuse(spec, "chip.toml", plan)


def test_cutting_fills_the_region() -> None:
    items = [Item("io", "a", 1.0), Item("host", "b", 0.0), Item("management", "c", 3.0)]
    a, c = across(items, 1.0, 2.0, 8.0, 2.0)
    assert (a.x, a.width, c.x, c.width, c.height) == (1.0, 2.0, 3.0, 6.0, 2.0)
    low, high = across(items, 1.0, 2.0, 8.0, 2.0, vertical=True)
    assert (low.height, high.y, high.height) == (0.5, 2.5, 1.5)
    assert near_square(12, 4.0, 3.0) == (4, 3)
    assert near_square(7, 1.0, 7.0) == (1, 7)
