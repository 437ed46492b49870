"""A number without unit, source and confidence does not load; ranges reach every later stage."""

from __future__ import annotations

import string
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.chip import load as load_chip
from tapeout.chip.designs import Designs
from tapeout.errors import InputError
from tapeout.files import read_toml
from tapeout.physical import load, shipped
from tapeout.physical.area import area
from tapeout.physical.cost import unit_cost
from tapeout.physical.limits import limits
from tapeout.physical.power import thermal_design_power
from tapeout.physical.quantity import UNITS, factor, read_quantities
from tapeout.physical.views import triangular

GOOD = {
    "value": 2.0, "low": 1.0, "high": 4.0, "unit": "pJ", "source": "a paper", "confidence": "low",
    "origin": "literature",
}  # fmt: skip


def test_bare_number_names_file_and_field(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text("[nodes.N5]\nwafer_price = 16000\n")
    with pytest.raises(InputError, match=r"t\.toml: nodes\.N5\.wafer_price: found 16000, expected a table"):
        load(path)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"unit": "furlong"}, "q.unit"),
        ({"low": 3.0}, "q.low"),
        ({"high": 1.0}, "q.high"),
        ({"value": float("nan")}, "q.value"),
        ({"value": True}, "q.value"),
        ({"source": " "}, "q.source"),
        ({"confidence": "certain"}, "q.confidence"),
        ({"origin": None}, "q.origin"),
        ({"note": "x"}, "q.note"),
    ],
)
def test_bad_quantity_names_the_entry(change: dict[str, object], field: str) -> None:
    entry = {k: v for k, v in {**GOOD, **change}.items() if v is not None}
    with pytest.raises(InputError) as e:
        read_quantities({"q": entry}, "t.toml")
    assert e.value.field == field


JSONLIKE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda x: st.lists(x, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "a", "b"]), x, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=4), JSONLIKE, max_size=3))
def test_any_table_loads_or_is_refused_in_one_line(table: dict[str, object]) -> None:
    try:
        read_quantities(table, "t.toml")
    except InputError as e:
        assert "\n" not in str(e)


def test_shipped_numbers_are_all_sourced() -> None:
    tables = shipped()
    assert len(tables) > 150
    assert all(q.source and q.unit in UNITS and q.low <= q.value <= q.high for q in tables.values())
    assert {"synthesised", "scaled", "literature", "assumption"} <= {q.origin for q in tables.values()}


@given(st.sampled_from(sorted(UNITS)), st.sampled_from(sorted(UNITS)))
def test_units_convert_within_a_dimension_only(a: str, b: str) -> None:
    if UNITS[a][0] == UNITS[b][0]:
        assert factor(a, b) * factor(b, a) == pytest.approx(1.0)
    else:
        with pytest.raises(ValueError, match="is"):
            factor(a, b)


def test_known_conversions() -> None:
    assert factor("pJ/bit", "pJ/byte") == pytest.approx(8.0)
    assert factor("mm2", "um2") == pytest.approx(1e6)
    assert factor("TB/s", "GB/s") == pytest.approx(1000.0)


def test_override_replaces_and_refuses(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    line = 'wafer_price = { value = 1.0, unit = "%s", source = "quote", confidence = "high", origin = "datasheet" }'
    path.write_text("[nodes.N5]\n" + line % "USD")
    assert load(str(path)).nominal().get("nodes.N5.wafer_price", "USD") == 1.0
    path.write_text("[nodes.N5]\n" + line % "W")
    with pytest.raises(InputError, match=r"nodes\.N5\.wafer_price\.unit"):
        load(path)
    path.write_text("[nodes.N6]\n" + line % "USD")
    with pytest.raises(InputError, match="unknown quantity"):
        load(path)


@given(st.floats(0, 1))
def test_triangular_stays_in_range(u: float) -> None:
    for name in ("nodes.N3E.wafer_price", "nodes.N5.wafer_price", "memories.hbm3e.price"):
        q = shipped()[name]
        assert q.low * (1 - 1e-12) <= triangular(q, np.array(u)) <= q.high * (1 + 1e-12)


def test_triangular_matches_its_moments() -> None:
    q = shipped()["nodes.N3E.wafer_price"]
    x = triangular(q, (np.arange(100_000) + 0.5) / 100_000)
    assert x.mean() == pytest.approx((q.low + q.value + q.high) / 3, rel=1e-4)


def test_samples_propagate_through_every_model() -> None:
    designs = Designs.from_specs([load_chip(n) for n in ("tiny", "edge", "flagship")])
    tables = shipped()
    u = np.random.default_rng(0).random((7, len(tables.uncertain)))
    view = tables.sampled(u)
    for found in (
        area(designs, view).total,
        thermal_design_power(designs, view),
        unit_cost(designs, view).total,
    ):
        assert found.shape == (7, 3)
        assert np.all(np.isfinite(found)) and np.all(found.std(axis=0) > 0)
    assert all(np.shape(np.broadcast_to(x.broken, (7, 3))) == (7, 3) for x in limits(designs, view).values())


def test_a_sample_equals_the_scalar_model_at_the_same_numbers() -> None:
    tables, spec = shipped(), load_chip("flagship")
    u = np.random.default_rng(1).random((3, len(tables.uncertain)))
    many = unit_cost(spec, tables.sampled(u)).total
    for i in range(3):
        values = {
            n: float(np.ravel(v)[i if np.size(v) > 1 else 0]) for n, v in tables.sampled(u).values.items()
        }
        one = unit_cost(spec, tables.nominal().changed(values)).total
        assert one[0] == pytest.approx(many[i, 0], rel=1e-12)


def test_hostile_toml(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    for text in (
        "a" * 10,
        "[a\n",
        "a = " + "[" * 5000,
        'a = "\\q"',
        "a = {b = {c = {d = {e = {f = {g = {h = {i = 1}}}}}}}}",
    ):
        path.write_text(text)
        with pytest.raises(InputError):
            read_quantities(read_toml(path), path)


@settings(max_examples=30)
@given(st.binary(max_size=60))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, blob: bytes) -> None:
    path = tmp_path_factory.mktemp("q") / "t.toml"
    path.write_bytes(blob)
    try:
        load(path)
    except InputError as e:
        assert "\n" not in str(e)
