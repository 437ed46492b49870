"""`tapeout floorplan`: files, findings, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.chip import load, to_toml
from tapeout.cli.app import app

pytest.importorskip("klayout.db")


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["floorplan", *arguments])
    return done.exit_code, done.stdout, done.stderr


def test_files_and_findings(tmp_path: Path) -> None:
    code, out, err = run("edge", "--out", str(tmp_path / "a"), "--json")
    assert code == 0
    found = json.loads(out)
    assert sorted(p.name for p in (tmp_path / "a").iterdir()) == found["files"]
    assert found["array"]["cores"] == 16 and "note: memory phy" in err
    code, out, _ = run("edge", "-o", str(tmp_path / "b"))
    assert code == 0 and out.startswith("edge: die of ") and out.count("\n") == 1
    for name in found["files"]:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name


@pytest.mark.parametrize(
    "old, new, said",
    [
        (r"cores = \d+ ", "cores = 2400 ", "cores"),
        (r"stacks = \d+ ", "stacks = 9 ", "memory.stacks"),
        (r"scale_up_lanes = \d+ ", "scale_up_lanes = 280 ", "links"),
    ],
)
def test_what_cannot_be_laid_out_leaves_nothing(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = to_toml(load("flagship"))
    assert re.search(old, text)
    text = re.sub(old, new, re.sub(r"cores = \d+ ", "cores = 40 ", text))  # within the reticle otherwise
    (tmp_path / "chip.toml").write_text(text)
    code, out, err = run(str(tmp_path / "chip.toml"), "--out", str(tmp_path / "c"))
    assert code == 2 and not out
    assert said in err and err.count("\n") == 1
    assert not (tmp_path / "c").exists()


def test_without_the_extra_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "klayout.db", None)
    code, _, err = run("tiny", "--out", str(tmp_path / "d"))
    assert code == 2 and "tapeout[silicon]" in err and err.count("\n") == 1
    assert not (tmp_path / "d").exists()
