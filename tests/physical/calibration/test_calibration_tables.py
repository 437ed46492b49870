"""The committed synthesis results: the fit to them is the committed table, and predicts what it was not fitted to."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import nnls

from tapeout.chip import load
from tapeout.chip.designs import Designs
from tapeout.errors import InputError
from tapeout.physical import shipped
from tapeout.physical.area import area, logic_factor
from tapeout.physical.calibration.fit import design, fit_blocks, nonnegative, overall
from tapeout.physical.calibration.tables import AREA, area_toml, read_rows, shipped_rows, write_rows
from tapeout.physical.terms import TERMS, cell_area

ROWS = shipped_rows()
ASAP7 = [r for r in ROWS if r.library == "asap7"]


def test_the_committed_table_is_the_fit_to_the_committed_rows() -> None:
    text = resources.files("tapeout.physical.tables").joinpath(AREA).read_text()
    assert area_toml(fit_blocks(ASAP7), "asap7") == text


def test_errors_of_the_fit() -> None:
    found = overall(fit_blocks(ASAP7))
    assert found["configurations"] >= 100
    assert found["median"] < 0.02 and found["largest"] < 0.20
    assert found["left_out_median"] < 0.03 and found["left_out_p90"] < 0.20


def test_every_block_has_terms_and_measurements() -> None:
    assert {r.block for r in ASAP7} == set(TERMS)


@pytest.mark.parametrize("block", sorted({r.block for r in ASAP7}))
def test_the_area_model_gives_what_synthesis_gave(block: str) -> None:
    view = shipped().nominal()
    for r in (r for r in ASAP7 if r.block == block):
        assert float(cell_area(view, block, **r.values)) * 1e6 == pytest.approx(r.area_um2, rel=0.2)


def test_nonnegative_least_squares_against_scipy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        a, y = rng.normal(size=(12, 5)), rng.normal(size=12)
        assert nonnegative(a, y) == pytest.approx(nnls(a, y)[0], abs=1e-8)


def test_rows_survive_the_file(tmp_path: Path) -> None:
    write_rows(tmp_path / "x.csv", ROWS)
    assert read_rows(tmp_path / "x.csv") == ROWS
    (tmp_path / "x.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="header"):
        read_rows(tmp_path / "x.csv")


def test_areas_of_a_chip_add_up() -> None:
    """The units of tiny, worked out by hand from the row of its dot unit."""
    spec, view = load("tiny"), shipped().nominal()
    d = Designs.from_specs([spec])
    unit = next(
        r.area_um2
        for r in ASAP7
        if r.block == "dot_unit" and r.parameters == "mxfp4=1 mxint8=1 ways=2 lanes=32"
    )
    units = 16 * unit * 1e-6 * float(np.ravel(logic_factor(d, view))[0])
    matrix = float(np.ravel(area(spec).matrix)[0])
    assert units < matrix < 2.5 * units
    _, amounts = design([r for r in ASAP7 if r.block == "scratchpad"])
    assert (amounts >= 0).all()


def test_other_libraries_scale_blocks_alike() -> None:
    """GT2N (2 nm class) and SKY130 (130 nm) against ASAP7, configuration by configuration."""
    basis = {(r.block, r.parameters): r.area_um2 for r in ASAP7}
    for library, low, high in (("gt2n", 0.25, 0.75), ("sky130", 35.0, 110.0)):
        rows = [r for r in ROWS if r.library == library]
        ratios = [r.area_um2 / basis[r.block, r.parameters] for r in rows]
        assert len(ratios) >= 6
        assert all(low < x < high for x in ratios), (library, ratios)
