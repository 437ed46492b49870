"""The catalog of accelerators: whole, sourced, consistent; bad entries are told in one line."""

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from tapeout.errors import InputError
from tapeout.estimate.accelerators import (
    REFERENCE_RATE,
    REFERENCE_TDP,
    accelerator,
    catalog,
    dense_watts,
    machine,
    names,
)
from tapeout.estimate.fitted import fitted
from tapeout.estimate.parameters import ALL, Parameters
from tapeout.estimate.step import padded_macs
from tapeout.workload.operators import Operator

EXPECTED = {
    "a100", "h100", "h200", "b200", "gb200", "b300", "gb300", "mi300x", "mi325x", "mi355x", "tpu-v6e", "tpu7x",
    "trainium2", "trainium3", "groq-lpu",
}  # fmt: skip


def test_the_accelerators_people_compare_with_are_there() -> None:
    assert set(names()) >= EXPECTED


@pytest.mark.parametrize("key", names())
def test_every_number_has_a_source_and_is_sane(key: str) -> None:
    a = catalog()[key]
    assert all(q.source and q.confidence for q in a.quantities.values())
    peaks = a.peaks
    assert peaks.get("fp8", 1e99) >= peaks["bf16"]
    assert peaks.get("fp4", 1e99) >= peaks.get("fp8", 0)
    assert 5e13 < peaks["bf16"] < 5e15
    balance = peaks["bf16"] / (a.need("memory.bandwidth", "GB/s") * 1e9)
    assert 0.5 < balance < 600, "multiply-accumulates per byte"
    m = machine(a, Parameters.priors())
    assert m.peak_of("mxfp4") > 0
    assert m.memory_capacity == pytest.approx(a.memory_gigabytes * 1e9)


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("NVIDIA H200", "h200"),
        ("h200_sxm", "h200"),
        ("H100", "h100"),
        ("Ironwood", "tpu7x"),
        ("NVIDIA H100-SXM5-80GB", "h100"),
        ("mi300x_oam", "mi300x"),
        ("AMD Instinct MI355X", "mi355x"),
        ("GB200-NVL72", "gb200"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("B300_SXM", "b300"),
    ],
)
def test_names_that_tables_use(name: str, key: str) -> None:
    assert accelerator(name).key == key


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="h200"):
        accelerator("h2000")


def test_a_new_accelerator_is_a_file(tmp_path: Path) -> None:
    text = files("tapeout.estimate.catalog").joinpath("h100.toml").read_text()
    path = tmp_path / "mine.toml"
    path.write_text(text.replace("value = 3350", "value = 6700"))
    mine = accelerator(path)
    assert mine.key == "mine"
    assert mine.need("memory.bandwidth", "GB/s") == 6700


@pytest.mark.parametrize(
    ("find", "put", "field"),
    [
        ("[memory]\ncapacity = {", "[memory]\ncapacitor = {", "memory.capacity"),
        ("value = 80,", "value = -80,", "memory.capacity"),
        ("value = 80,", "value = nan,", "capacity"),
        ('unit = "GB"', 'unit = "W"', "memory.capacity"),
        ('name = "H100 SXM 80GB"\n', "", "name"),
    ],
)
def test_a_bad_entry_names_its_field(tmp_path: Path, find: str, put: str, field: str) -> None:
    text = files("tapeout.estimate.catalog").joinpath("h100.toml").read_text()
    assert find in text
    path = tmp_path / "bad.toml"
    path.write_text(text.replace(find, put))
    with pytest.raises(InputError, match=field):
        accelerator(path)


def test_a_bare_number_is_refused(tmp_path: Path) -> None:
    table = files("tapeout.estimate.catalog").joinpath("h100.toml").read_text()
    line = next(x for x in table.splitlines() if x.startswith("tdp"))
    path = tmp_path / "bare.toml"
    path.write_text(table.replace(line, "tdp = 700"))
    with pytest.raises(InputError, match="tdp"):
        accelerator(path)


def test_parameters_have_priors_meanings_and_sources() -> None:
    for p in ALL.values():
        assert p.prior > 0 and p.spread > 0 and p.meaning and p.source and p.unit, p.name


def test_the_shipped_fit_is_complete_and_near_its_priors() -> None:
    table = tomllib.loads(files("tapeout.estimate.fits").joinpath("fitted.toml").read_text())
    assert set(table["parameters"]) == set(ALL)
    for name, entry in table["parameters"].items():
        assert 0.1 < entry["value"] / ALL[name].prior < 12, name
        if entry["unit"] == "ratio" and "factor" not in name:
            assert entry["value"] <= 1.0, f"{name}: no more than the peak"


@pytest.mark.parametrize("key", names())
def test_a_dense_product_keeps_within_the_power_limit(key: str) -> None:
    """At the sustained rate of its large products, in every arithmetic it has, as shipped."""
    sheet, parameters = catalog()[key], fitted()
    m = machine(sheet, parameters)
    assert isinstance(m.sustained.matrix, dict)
    for c, peak in m.peak_macs.items():
        watts = m.power.idle_w + m.power.active_w + peak * m.sustained.matrix[c] * m.power.mac_pj[c] * 1e-12
        assert watts <= sheet.tdp_watts * 1.001, c


def test_the_fit_knows_what_a_dense_product_draws() -> None:
    for c in REFERENCE_RATE:
        assert dense_watts(fitted().values, c) <= 1.03 * REFERENCE_TDP
    # 45 nm FP16 multiply and FP32 add scaled to 5 nm are 0.1-0.2 pJ; operands and control come on top.
    assert 0.3 < fitted().values["power.mac_pj"] < 1.0


def test_padded_rows_take_energy() -> None:
    m = machine(catalog()["h100"], fitted())
    one, many = (
        Operator("x", "matmul", "dense", m=r, n=4096, k=4096, weight_format="bf16", macs=r * 4096**2)
        for r in (1.0, 8.0)
    )
    half = m.sustained.rows_half
    assert padded_macs(m, one) == pytest.approx((1 + half) * 4096**2)
    assert padded_macs(m, many) / padded_macs(m, one) == pytest.approx((8 + half) / (1 + half))
