"""Units: parsing, conversion, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.fleet.units import ONE, unit

NAMES = ["USD", "kW", "MWh", "chip", "token", "rack", "year", "h", "mm2", "GB", "%", "wafer", "s"]


@pytest.mark.parametrize(
    ("a", "b", "ratio"),
    [
        ("kWh", "J", 3.6e6),
        ("USD/(MW·year)", "USD/(kW*h)", 1 / (1000 * 8766)),
        ("Gb/s", "MB/s", 125.0),
        ("1/cm2", "1/mm2", 0.01),
        ("BUSD", "USD", 1e9),
        ("%", "1", 0.01),
        ("t", "kg", 1000.0),
        ("Mtokens", "token", 1e6),
        ("year", "month", 12.0),
        ("MMBtu", "kWh", 293.071),
    ],
)
def test_conversion(a: str, b: str, ratio: float) -> None:
    assert unit(a).like(unit(b))
    assert unit(a).factor / unit(b).factor == pytest.approx(ratio, rel=1e-5)


@pytest.mark.parametrize("text", ["furlong", "", "USD//chip", "USD/(chip", "kchips/!", "kkW", "$"])
def test_unknown_units_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        unit(text)


@given(st.lists(st.sampled_from(NAMES), min_size=1, max_size=4), st.lists(st.sampled_from(NAMES), max_size=3))
def test_a_unit_over_itself_is_a_pure_number(up: list[str], down: list[str]) -> None:
    text = "·".join(up) + "".join(f"/{d}" for d in down)
    ratio = unit(text) / unit(text)
    assert ratio.like(ONE) and ratio.factor == pytest.approx(1.0)


def test_what_is_counted_does_not_mix() -> None:
    assert not unit("chip").like(unit("rack"))
    assert not unit("USD/chip").like(unit("USD/rack"))
