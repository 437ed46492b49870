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


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the blocks and proofs; all of them in the slow test below."""
    from tapeout.physical.handoff import evidence
    from tapeout.simulator.rtl import block_checks

    checks, proofs = block_checks.checks, evidence.proofs
    quick = ("FP32 adder", "top-k")
    monkeypatch.setattr(
        block_checks, "checks", lambda core: {k: v for k, v in checks(core).items() if k in quick}
    )
    monkeypatch.setattr(evidence, "proofs", lambda *a: {k: v for k, v in proofs(*a).items() if "tokens" in k})


def test_tiny_is_written_and_checks(tmp_path: Path, few: None) -> None:
    code, out, err = run("tiny", "--check", "--programs", "3", "--json", "--out", str(tmp_path / "a"))
    assert code == 0, err
    result = json.loads(out)
    assert set(result["vectors"]) == {"copy", "chosen"}
    assert set(result["blocks"]) == {"FP32 adder", "top-k"} and result["proofs"] == 1
    assert result["coverage"]["instructions"]["covered"] > 20
    assert "lint: core" in err and "program 3 of 3" in err and "FAIL" not in err
    told = json.loads((tmp_path / "a/verification/check.json").read_text())
    assert told["failures"] == [] and told["coverage"] == result["coverage"]
    assert (tmp_path / "a/verification/coverage.md").exists()
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


@pytest.mark.slow
def test_everything_of_tiny_checks(tmp_path: Path) -> None:
    code, out, err = run("tiny", "--check", "--json", "--out", str(tmp_path / "a"))
    assert code == 0, err
    result = json.loads(out)
    assert len(result["blocks"]) >= 9 and result["proofs"] >= 8


def test_each_failure_is_a_line_and_the_exit_code_is_1(
    tmp_path: Path, few: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tapeout.chip.rtl import fp32_add
    from tapeout.physical.handoff import evidence
    from tapeout.report import build_check
    from tapeout.simulator.rtl import lint

    right = fp32_add.twin
    monkeypatch.setattr(fp32_add, "twin", lambda a, b: right(a, b) ^ np.uint32(1))
    broken = {"proof": "tokens", "holds": False, "failed_claims": 2}
    monkeypatch.setattr(evidence, "proved", lambda *a: [broken])
    monkeypatch.setattr(
        lint, "lint", lambda top: ["%Warning-X: design.v:1: wrong"] if top.top == "core" else []
    )
    monkeypatch.setattr(build_check, "_vectors", lambda *a: [])
    monkeypatch.setattr(build_check, "_programs", lambda *a: ["program 3: 1 bytes of memory differ"])
    code, _, err = run("tiny", "--check", "--out", str(tmp_path / "a"))
    assert code == 1
    lines = [line for line in err.splitlines() if line.startswith("FAIL ")]
    assert [line.split(":")[0] for line in lines] == [
        "FAIL lint of core", "FAIL block FP32 adder", "FAIL proof tokens", "FAIL program 3",
    ]  # fmt: skip
    assert json.loads((tmp_path / "a/verification/check.json").read_text())["failures"] == [
        x[5:] for x in lines
    ]


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
