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


def small(text: str) -> str:
    """`tiny` with fewer units and lanes: what a package holds does not depend on how many there are."""
    for name, value in (("rows", 2), ("columns", 1), ("vector_lanes", 4), ("kibibytes", 16)):
        text = re.sub(rf"(?m)^{name} = \d+", f"{name} = {value}", text)
    return text


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a small core."""
    folder = tmp_path_factory.mktemp("handoff")
    (folder / "chip.toml").write_text(small(to_toml(load("tiny"))))
    code, out, err = run(str(folder / "chip.toml"), "-o", str(folder / "out"), "--json")
    assert code == 0, err
    files = json.loads(out)["files"]
    there = {p.relative_to(folder / "out").as_posix() for p in (folder / "out").rglob("*") if p.is_file()}
    assert there == set(files)
    return folder / "out"


@pytest.mark.slow
def test_the_same_chip_gives_the_same_bytes(package: Path, tmp_path: Path) -> None:
    code, _, err = run(str(package / "chip.toml"), "-o", str(tmp_path / "again"))
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
    "vectors/copy.s": ("imm=44", "imm=45", "is not the program"),
    "filelist.f": ("rtl/host.v\n", "", "rtl/host.v: not in filelist.f"),
    "floorplan/cells.json": ('"placed": 1', '"placed": 2', "cells differ"),
}


def test_every_tampered_file_is_named(package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "p"
    shutil.copytree(package, copy)
    for name, (old, new, _) in TAMPERED.items():
        text = (copy / name).read_text()
        assert old in text, name
        (copy / name).write_text(text.replace(old, new, 1))
    data = (copy / "floorplan/floorplan.png").read_bytes()
    (copy / "floorplan/floorplan.png").write_bytes(data[: len(data) // 2])
    code, out, err = run("--check", str(copy), "--json")
    assert code == 1
    found = json.loads(out)
    for name, (_, _, more) in TAMPERED.items():
        assert f"{name}: differs from the manifest" in found["problems"]
        assert not more or any(more in p for p in found["problems"]), (name, err)
    assert "floorplan/floorplan.png: differs from the manifest" in found["problems"]
    assert any("testbench" in s for s in found["skipped"])  # nothing of it is run


def test_a_gds_that_is_cut_is_no_gds(package: Path, tmp_path: Path) -> None:
    from tapeout.errors import InputError
    from tapeout.physical.floorplan.gds import cells

    data = (package / "floorplan/floorplan.gds").read_bytes()
    with pytest.raises(InputError):
        cells(data[: len(data) // 2])


def test_what_is_no_package_is_told(tmp_path: Path) -> None:
    for arguments in (["--check", str(tmp_path)], ["--check", str(tmp_path / "no")], ["tiny", "--quick"]):
        code, _, err = run(*arguments)
        assert code == 2 and err.count("\n") == 1


@pytest.mark.parametrize(
    "old, new, said",
    [
        ("cores = 1518 ", "cores = 2400 ", "reticle"),
        ('formats = ["mxfp4", "mxint8"]', 'formats = ["mxfp8"]', "core.matrix.formats"),
    ],
)
def test_bad_chips_leave_nothing(old: str, new: str, said: str, tmp_path: Path) -> None:
    text = to_toml(load("flagship")).replace("double_rate_fp4 = true", "double_rate_fp4 = false")
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
