"""`tapeout handoff`: a package of a small core, its check, and what the check says of tampered files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.chip import load, to_toml
from tapeout.cli.app import app

pytestmark = pytest.mark.verilator
pytest.importorskip("amaranth")
pytest.importorskip("klayout.db")


def run(*arguments: str) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["handoff", *arguments])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the `tiny` preset."""
    folder = tmp_path_factory.mktemp("handoff") / "tiny.handoff"
    code, out, err = run("tiny", "-o", str(folder), "--json")
    assert code == 0, err
    files = json.loads(out)["files"]
    assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(files)
    return folder


@pytest.mark.slow
def test_the_same_chip_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    code, _, err = run("tiny", "-o", str(tmp_path / "again"))
    assert code == 0, err
    for path in package.rglob("*"):
        if path.is_file():
            other = tmp_path / "again" / path.relative_to(package)
            assert path.read_bytes() == other.read_bytes(), path


def test_the_package_holds_without_simulation(package: Path) -> None:
    code, out, err = run("--check", str(package), "--quick", "--json")
    found = json.loads(out)
    assert code == 0, err
    assert found["holds"] and len(found["passed"]) == 7


@pytest.mark.slow
def test_the_testbench_of_the_package_passes_in_verilator(package: Path) -> None:
    code, out, err = run("--check", str(package), "--json")
    assert code == 0, err
    assert any(p.startswith("testbench") for p in json.loads(out)["passed"])


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("iverilog"), reason="Icarus is not installed")
def test_the_testbench_runs_in_icarus(package: Path, tmp_path: Path) -> None:
    import subprocess

    made = [
        "iverilog",
        "-g2012",
        "-s",
        "tb_core",
        "-o",
        str(tmp_path / "tb"),
        "-c",
        "filelist.f",
        "tb/tb_core.sv",
    ]
    subprocess.run(made, cwd=package, check=True)
    for name in ("scalar", "chosen", "reserved"):
        done = subprocess.run(
            ["vvp", str(tmp_path / "tb"), f"+only={name}"], cwd=package, capture_output=True, text=True
        )
        assert "RESULT: PASS: 1 programs" in done.stdout, done.stdout


TAMPERED = {
    "rtl/host.v": ("module host(", "module host (", None),
    "constraints/core.sdc": ("-period", "-periodd", "constraints/core.sdc"),
    "power/core.upf": ("PD_PAD -elements {pad}", "PD_PAD -elements {pads}", "no instance pads"),
    "vectors/scalar.after.hex": ("@1000", "@1010", "differs from the executable instruction set"),
    "vectors/scalar.s": ("imm=3", "imm=4", "is not the program"),
    "filelist.f": ("rtl/host.v\n", "", "not in filelist.f"),
    "floorplan/cells.json": ('"placed": 1', '"placed": 2', "cells differ"),
}


@pytest.mark.parametrize("name", list(TAMPERED))
def test_every_tampered_file_is_named(name: str, package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "p"
    shutil.copytree(package, copy)
    old, new, more = TAMPERED[name]
    text = (copy / name).read_text()
    assert old in text
    (copy / name).write_text(text.replace(old, new, 1))
    code, out, err = run("--check", str(copy), "--json")
    assert code == 1
    found = json.loads(out)
    assert any(p.startswith(f"{name}: differs from the manifest") for p in found["problems"])
    assert any("testbench" in s for s in found["skipped"])  # nothing of it is run
    if more:
        assert any(more in p for p in found["problems"]), err


def test_a_binary_that_is_cut_is_named(package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "p"
    shutil.copytree(package, copy)
    data = (copy / "floorplan/floorplan.gds").read_bytes()
    (copy / "floorplan/floorplan.gds").write_bytes(data[: len(data) // 2])
    code, out, _ = run("--check", str(copy), "--quick", "--json")
    assert code == 1
    assert sum("floorplan/floorplan.gds" in p for p in json.loads(out)["problems"]) == 2


def test_what_is_no_package_is_told(tmp_path: Path) -> None:
    for arguments in (["--check", str(tmp_path)], ["--check", str(tmp_path / "no")], ["tiny", "--quick"]):
        code, _, err = run(*arguments)
        assert code == 2 and err.count("\n") == 1


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("cores = 40 ", "cores = 600 ", "reticle"),
        ('formats = ["mxfp4", "mxint8"]', 'formats = ["mxfp8"]', "core.matrix.formats"),
    ],
)
def test_bad_chips_leave_nothing(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = to_toml(load("flagship")).replace("double_rate_fp4 = true", "double_rate_fp4 = false")
    text = re.sub(r"cores = \d+ ", "cores = 40 ", text)  # within the reticle
    assert old in text
    (tmp_path / "chip.toml").write_text(text.replace(old, new))
    code, _, err = run(str(tmp_path / "chip.toml"), "-o", str(tmp_path / "out"))
    assert code == 2
    assert said in err.splitlines()[-1]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["chip.toml"]


def test_without_the_extra_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "amaranth", None)
    code, _, err = run("tiny", "-o", str(tmp_path / "out"))
    assert code == 2 and "tapeout[rtl]" in err and err.count("\n") == 1
    assert not (tmp_path / "out").exists()
