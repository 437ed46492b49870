"""`tapeout build`: what is written, that it is the same every time, that --check runs it, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tapeout.chip import load, to_toml
from tapeout.cli.app import app

pytestmark = pytest.mark.verilator


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["build", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_tiny_is_written_and_checks(tmp_path: Path) -> None:
    code, out, _ = run("tiny", "--check", "--json", "--out", str(tmp_path / "a"))
    assert code == 0
    result = json.loads(out)
    assert set(result["vectors"]) == {"copy", "chosen"}
    folder = tmp_path / "a"
    for name in result["files"]:
        assert (folder / name).stat().st_size
    assert "module core(" in (folder / "rtl/core.v").read_text()
    assert all((folder / line).exists() for line in (folder / "filelist.f").read_text().split())
    assert "create_clock -name clk -period 1.0000" in (folder / "constraints/core.sdc").read_text()
    before, after = (np.fromfile(folder / f"vectors/copy.{x}.bin", np.uint8) for x in ("before", "after"))
    assert (before != after).any()
    again = run("tiny", "--json", "--out", str(tmp_path / "b"))
    assert again[0] == 0
    for name in result["files"]:
        assert (tmp_path / "b" / name).read_bytes() == (folder / name).read_bytes(), name


def test_what_the_rtl_does_not_cover_is_told(tmp_path: Path) -> None:
    text = to_toml(load("tiny"))
    for old, new, said in (
        ('formats = ["mxfp4", "mxint8"]', 'formats = ["mxfp8"]', "core.matrix.formats"),
        ("kibibytes = 128", "kibibytes = 96", "power of two"),
    ):
        assert old in text
        path = tmp_path / "chip.toml"
        path.write_text(text.replace(old, new).replace("double_rate_fp4 = true", "double_rate_fp4 = false"))
        code, _, err = run(str(path), "--out", str(tmp_path / "c"))
        assert code == 2
        assert said in err and err.count("\n") == 1
        assert not (tmp_path / "c").exists()
