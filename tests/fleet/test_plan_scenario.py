"""Scenarios: bad input is told in one line that names the field."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from tapeout.errors import InputError
from tapeout.fleet.scenario import TABLES, Scenario, load_scenario, shipped, tables
from tapeout.fleet.units import unit


def quantity(value: float, text: str, **more: object) -> str:
    extra = "".join(f", {k} = {v}" for k, v in more.items())
    rest = f'confidence = "low", origin = "assumption"{extra}'
    return f'{{ value = {value}, unit = "{text}", source = "a test", {rest} }}'


def write(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(f'base = "ten-gigawatts"\n{body}\n')
    return path


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("[target]\ny2027 = 2.0", "target.y2027"),  # a bare number
        (f"[target]\ny2028 = {quantity(1.0, 'GW')}", "target.y2028"),  # less than the year before
        (f"[target]\ny2029 = {quantity(40, 'GW')}", "target.y2029"),  # more than the connections give
        (f"[target]\ny2027 = {quantity(2, 'USD')}", "target.y2027.unit"),
        (f"[target]\ny2027 = {quantity(2, 'gigawhat')}", "target.y2027.unit"),
        (f"[system.gb300]\nchip_price = {quantity(-40000, 'USD/chip')}", "system.gb300.chip_price.value"),
        (f"[system.gb300]\nchip_price = {quantity(40000, 'USD/rack')}", "system.gb300.chip_price.unit"),
        (f"[system.gb300]\nchip_price = {quantity(4, 'USD/chip', low=5)}", "system.gb300.chip_price.low"),
        (f"[hbm]\nallocation = {quantity(0.1, '1', hihg=0.2)}", "hbm.allocation.hihg"),
        (f"[nonsense]\nx = {quantity(1, '1')}", "nonsense.x"),
        ('[own]\nchip = "flagship"\ntape_out = "2026-06"\nfirst_wafers = "2026-03"', "own.first_wafers"),
        ('[own]\nchip = "flagship"\ntape_out = "soon"', "own.tape_out"),
        ('[site.texas.connection.first]\ndate = "2020-01"', "site.texas.connection.first.date"),
        (
            f"[site.straits.connection.first]\npower = {quantity(9, 'GW')}",
            "site.straits.connection.first.power",
        ),
        ('[site.texas]\nzone = "atlantis"', "site.texas.zone"),
        (f"[region.asia]\nshare = {quantity(0.9, '1')}", "region"),
        (f"[region.asia]\nswing = {quantity(1.5, '1')}", "region.asia.swing"),
        (f"[kind.agents]\ncached = {quantity(1.0, '1')}", "kind.agents.cached"),
        (f"[kind.agents]\nprompt = {quantity(100, 's')}", "kind.agents.prompt.unit"),
        (f'[kind.new]\nmodel = "gpt-oss-20b"\nprompt = {quantity(100, "token/request")}', "kind.new.growth"),
        (f"[site.texas.build]\nnuclear = {quantity(1, 'GW')}", "site.texas.build.nuclear"),
        (f"[finance]\naccelerator_life = {quantity(0, 'year')}", "finance.accelerator_life"),
        (f"[finance]\naccelerator_life = {quantity(5, 'year', low=0)}", "finance.accelerator_life.low"),
        (f"[system.own]\nchips_per_tray = {quantity(0, 'chip/tray')}", "system.own.chips_per_tray"),
        (f"[kind.chat]\ngrowth = {quantity(50, '1/year')}", "kind.chat.growth"),
        ("months = 3", "months"),
        ('start = "2026-00"', "start"),
    ],
)
def test_bad_input_names_its_field(tmp_path: Path, body: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        load_scenario(write(tmp_path, body))
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_shipped_ones() -> None:
    with pytest.raises(InputError, match="ten-gigawatts"):
        load_scenario("five-gigawatts")


def test_one_field_is_changed_and_the_rest_kept(tmp_path: Path) -> None:
    s = load_scenario(write(tmp_path, f"[target]\ny2029 = {quantity(9, 'GW')}"))
    base = load_scenario("ten-gigawatts")
    assert s.value("target.y2029", "MW") == 9000
    assert s.sites == base.sites
    changed = [k for k in s.quantities if s.quantities[k] != base.quantities[k]]
    assert changed == ["target.y2029"]


@pytest.mark.parametrize("name", shipped())
def test_every_shipped_scenario_loads(name: str) -> None:
    s: Scenario = load_scenario(name)
    assert s.sites and s.classes and s.targets


def test_every_number_has_unit_source_range_and_confidence() -> None:
    found = dict(load_scenario("ten-gigawatts").quantities)
    assert len(found) > 300
    for name, q in found.items():
        unit(q.unit)
        assert len(q.source) > 3, name
        assert q.low <= q.value <= q.high, name


def test_no_bare_number_hides_in_the_tables() -> None:
    def look(table: dict[str, object], where: str) -> None:
        for key, value in table.items():
            assert isinstance(value, dict | str), f"{where}.{key}"
            if isinstance(value, dict) and "value" not in value:
                look(value, f"{where}.{key}")

    for name in TABLES:
        look(tomllib.loads(files("tapeout.fleet.tables").joinpath(f"{name}.toml").read_text()), name)
    assert len(tables()) > 200


def test_what_physical_says_of_the_chip_can_be_set(tmp_path: Path) -> None:
    pytest.importorskip("highspy", reason="planning needs the `plan` extra")
    from tapeout.fleet.plan import plan

    made = plan(write(tmp_path, f"[own]\nstack_price = {quantity(900, 'USD/stack')}"))
    assert made.nominal["own.stack_price"][0, 0] == 900
    with pytest.raises(InputError):
        load_scenario(write(tmp_path, f"[own]\nstack_price = {quantity(900, 'USD/chip')}"))
