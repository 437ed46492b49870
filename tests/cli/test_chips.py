"""`tapeout chips`: presets and accelerators, as a table and as JSON; bad input in one line."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from tapeout.chip import available, load, to_toml
from tapeout.cli.app import app


def test_json_lists_presets_and_accelerators() -> None:
    found = CliRunner().invoke(app, ["chips", "--json"])
    assert found.exit_code == 0
    table = json.loads(found.stdout)
    assert tuple(c["name"] for c in table["chips"]) == available()
    h100 = next(a for a in table["accelerators"] if a["name"] == "h100")
    assert 900 < h100["peak_tflops"]["bf16"] < 1000 and h100["watts"] == 700
    assert all(a["sources"] for a in table["accelerators"])


def test_one_chip(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(load("flagship")))
    found = CliRunner().invoke(app, ["chips", str(path), "--json"])
    (chip,) = json.loads(found.stdout)["chips"]
    assert chip["peak_tflops"]["mxfp4"] == 2 * chip["peak_tflops"]["mxint8"]
    assert abs(sum(chip["area_mm2"].values()) - chip["die_mm2"]) < 1e-3
    assert "matrix" in CliRunner().invoke(app, ["chips", "flagship"]).stdout


def test_bad_chip_is_one_line() -> None:
    found = CliRunner().invoke(app, ["chips", "no-such-chip"])
    assert found.exit_code == 2
    assert found.stderr.count("\n") == 1 and "flagship" in found.stderr


def test_tables() -> None:
    found = CliRunner().invoke(app, ["chips"])
    assert found.exit_code == 0
    assert all(name in found.stdout for name in (*available(), "h200", "mi300x"))


def test_an_accelerator_is_its_datasheet() -> None:
    found = CliRunner().invoke(app, ["chips", "h200", "--json"])
    (sheet,) = json.loads(found.stdout)["accelerators"]
    assert sheet["name"] == "h200" and 4700 < sheet["memory_gb_per_s"] < 4900
    shown = CliRunner().invoke(app, ["chips", "h200"]).stdout
    assert "source" in shown and "TFLOP/s" in shown


def test_version() -> None:
    found = CliRunner().invoke(app, ["--version"])
    assert found.exit_code == 0 and found.stdout.startswith("tapeout 0.")
