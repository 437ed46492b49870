"""GDSII and PNG: what is read back is what was laid out, and the same plan gives the same bytes."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest

pytest.importorskip("klayout.db")
pytest.importorskip("PIL")

import klayout.db as db
from PIL import Image

from tapeout.chip import load
from tapeout.errors import InputError
from tapeout.physical.floorplan import Floorplan, floorplan
from tapeout.physical.floorplan.files import files
from tapeout.physical.floorplan.gds import LAYERS, NM, cells, gds, lyp
from tapeout.physical.floorplan.picture import png


@pytest.fixture(scope="module", params=["tiny", "edge", "flagship", "two dies"])
def plan(request: pytest.FixtureRequest) -> Floorplan:
    if request.param == "two dies":
        spec = load("flagship")
        return floorplan(
            replace(spec, dies=2, package="cowos-l", memory=replace(spec.memory, stacks=8), cores=118)
        )
    return floorplan(load(request.param))


def test_cells_are_placed_as_often_as_they_are_there(plan: Floorplan) -> None:
    found = cells(gds(plan))["cells"]
    spec = plan.spec
    assert found["PACKAGE"]["placed"] == 1
    assert found["DIE"]["placed"] == spec.dies
    for name in ("TILE", "CORE", "ROUTER", "MATRIX", "VECTOR", "SEQUENCER"):
        assert found[name]["placed"] == spec.cores
    banks = sum(v["placed"] for n, v in found.items() if n.startswith("BANK"))
    assert banks == spec.cores * spec.core.scratchpad.banks
    assert found["UNIT"]["placed"] == spec.cores * spec.core.matrix.rows * spec.core.matrix.columns
    phys = sum(v["placed"] for n, v in found.items() if n.startswith("MEMORY_PHY"))
    assert phys == spec.dies * sum(b.kind == "memory_phy" for b in plan.blocks)
    if spec.memory.kind.startswith("hbm"):
        assert found["MEMORY_STACK"]["placed"] == spec.memory.stacks
    assert found["TILE"]["width_nm"] == pytest.approx(plan.tile.width * NM, abs=2)


def test_no_shapes_overlap_and_areas_are_those_of_the_plan(plan: Floorplan) -> None:
    layout = db.Layout()
    layout.read_bytes(gds(plan))
    die = layout.cell("DIE")
    regions = {}
    for name, (number, _) in LAYERS.items():
        index = layout.find_layer(db.LayerInfo(number, 0))
        if index is not None and 11 <= number <= 25 and name != "NOC_WIRES":
            regions[name] = db.Region(die.begin_shapes_rec(index)).merged()
    mm2 = {name: r.area() / NM**2 for name, r in regions.items()}
    for kind, want in plan.areas().items():
        if want:
            assert mm2[kind.upper()] == pytest.approx(want, rel=2e-3, abs=2e-5), kind
    names = sorted(regions)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            # rounding to the nanometre may let neighbours touch by one
            assert (regions[a] & regions[b]).sized(-1).area() == 0, (a, b)
    outline = db.Region(die.begin_shapes_rec(layout.find_layer(db.LayerInfo(LAYERS["DIE"][0], 0))))
    for name, region in regions.items():
        assert (region - outline).is_empty(), name


def test_the_same_bytes_every_time(plan: Floorplan) -> None:
    again = floorplan(plan.spec)
    assert files(plan) == files(again)


def test_layer_properties_name_every_layer() -> None:
    text = lyp()
    for name, (number, _) in LAYERS.items():
        assert f"<name>{name}</name>\n  <source>{number}/0@1</source>" in text


def test_klayout_shows_it(plan: Floorplan, tmp_path: object) -> None:
    lay = pytest.importorskip("klayout.lay")
    from pathlib import Path

    folder = Path(str(tmp_path))
    for name, data in files(plan).items():
        (folder / name).write_bytes(data if isinstance(data, bytes) else data.encode())
    view = lay.LayoutView()
    view.load_layout(str(folder / "floorplan.gds"))
    view.load_layer_props(str(folder / "floorplan.lyp"))
    assert {p.name for p in view.each_layer()} >= set(LAYERS)


def test_the_png_is_a_picture(plan: Floorplan) -> None:
    image = Image.open(io.BytesIO(png(plan)))
    assert image.width == 2320 and image.height > 1500
    colours = {colour for _, colour in image.getcolors(1 << 24) or []}
    assert len(colours) > 20


def test_what_is_no_gds_is_refused() -> None:
    with pytest.raises(InputError):
        cells(b"not a layout")
