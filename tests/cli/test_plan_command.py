"""`tapeout plan` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

pytest.importorskip("highspy", reason="planning needs the `plan` extra")

from tapeout.cli.app import app

POWER = '{{ value = {}, unit = "GW", source = "a test", confidence = "low", origin = "assumption" }}'


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["plan", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_json_is_one_object_and_the_files_are_there(tmp_path: Path) -> None:
    code, out, err = run("--samples", "32", "--json", "--out", str(tmp_path), "--seed", "2")
    assert code == 0, err
    found = json.loads(out)
    assert found["samples"] == 32 and found["shortfall"] is None
    assert found["years"]["fleet.own"]["2029"] > 1e6
    assert {p.name for p in tmp_path.iterdir()} == {
        "plan.html",
        "plan.json",
        "months.parquet",
        "samples.parquet",
    }
    assert json.loads((tmp_path / "plan.json").read_text()) == found
    _tables(tmp_path)


def _tables(folder: Path) -> None:
    """Months and samples are Parquet, their columns named with units."""
    from arro3.io import read_parquet

    months = read_parquet(folder / "months.parquet").read_all()
    assert months.num_rows == 108 and "capex [USD]" in months.column_names
    samples = read_parquet(folder / "samples.parquet").read_all()
    assert samples.num_rows == 32 and "npv [USD]" in samples.column_names


def test_why_ends_in_sources() -> None:
    code, out, _ = run("--why", "capex.2028")
    assert code == 0
    first = out.splitlines()[0]
    assert first.startswith("capex = ") and "in 2028" in first and "capex.own" in first
    assert "own.wafer_price" in out and "confidence" in out


def test_a_model_and_a_chip_of_ones_own(tmp_path: Path) -> None:
    from tapeout.chip import toml

    chip = tmp_path / "chip.toml"
    chip.write_text(toml.to_toml(toml.load("flagship")).replace("clock_ghz = 1.6", "clock_ghz = 1.4"))
    code, out, err = run(
        "--model", "gpt-oss-120b", "--chip", str(chip), "--samples", "0", "--json", "--out", str(tmp_path)
    )
    assert code in (0, 1), err
    assert json.loads(out)["service"]["own"]["chat"]["requests_per_s_per_chip"] > 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ("[target]\ny2029 = " + POWER.format(60), "target.y2029"),
        ("[target]\ny2029 = 10", "target.y2029"),
        ('[own]\nchip = "edge"', "memory.kind"),
        ('[kind.chat]\nmodel = "gpt-9"', "gpt-9"),
    ],
)
def test_bad_input_is_one_line(tmp_path: Path, body: str, field: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(f'base = "ten-gigawatts"\n{body}\n')
    code, out, err = run("--scenario", str(path), "--out", str(tmp_path / "out"))
    lines = [x for x in err.splitlines() if not x.startswith("…")]
    assert code == 2 and out == "" and len(lines) == 1 and field in lines[0], err
    assert not (tmp_path / "out").exists()


def test_a_plan_that_cannot_be_met_says_what_binds_and_by_how_much(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    few = (
        '{ value = 500, unit = "wafer/month", source = "a test", confidence = "low", origin = "assumption" }'
    )
    years = "\n".join(f"capacity_{y} = {few}" for y in (2027, 2028, 2029))
    path.write_text(f'base = "ten-gigawatts"\n[wafers]\n{years}\n')
    code, _, err = run("--scenario", str(path), "--samples", "0", "--out", str(tmp_path / "out"))
    last = err.splitlines()[-1]
    assert code == 1 and "target.y2029" in last and "wafers" in last and "GW" in last
    assert (tmp_path / "out" / "plan.html").exists()
