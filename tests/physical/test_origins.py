"""Every figure of a chip says where it comes from."""

from __future__ import annotations

import pytest

from tapeout.chip import available, load
from tapeout.physical.area import area
from tapeout.physical.origins import AREA, POWER, basis
from tapeout.physical.power import design_activity, power


@pytest.mark.parametrize("name", available())
def test_every_part_of_area_and_power_has_a_basis(name: str) -> None:
    spec = load(name)
    assert set(area(spec).parts()) == set(AREA)
    assert set(power(spec, design_activity(spec)).parts()) == set(POWER)
    for table in (AREA, POWER):
        for part in table:
            found = basis(spec, part, table)
            assert found.how and found.quantities, part


def test_words() -> None:
    flagship, tiny = load("flagship"), load("tiny")
    assert basis(flagship, "matrix", AREA).how == "synthesised, scaled, literature"
    assert basis(flagship, "matrix", POWER).how.startswith("synthesised, scaled")
    assert basis(tiny, "sequencer", AREA).how.startswith("synthesised")
    assert "synthesised" not in basis(flagship, "memory_phy", AREA).how
    assert basis(flagship, "whitespace", AREA).how == "derived"
