"""`tapeout synth`: what it prints and writes, and what it says of bad input."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli.app import app
from tapeout.physical.synthesis import pdk

BESIDE = Path(__file__).parents[3] / "shared" / "pdk"


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """asap7, or a skip."""
    if not pdk.folders()[0].is_dir() and BESIDE.is_dir():
        monkeypatch.setenv(pdk.VARIABLE, str(BESIDE))
    try:
        pdk.find("asap7")
    except Exception as e:
        pytest.skip(f"no asap7: {e}")


def test_a_block(libraries: None, tmp_path: Path) -> None:
    out = tmp_path / "result.json"
    done = CliRunner().invoke(
        app, ["synth", "tiny", "--block", "secded_decode", "--block", "fp32_add", "--json", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert json.loads(out.read_text()) == found
    decode, add, *_ = found["blocks"]
    assert (
        decode["block"] == "secded_decode" and decode["flip_flops"] == 0 and decode["max_clock_ghz"] is None
    )
    assert add["block"] == "fp32_add" and add["max_clock_ghz"] > 0.9 and add["area_um2"] > 100
    assert add["paths"]["register-register"]["end"]


def test_a_table(libraries: None) -> None:
    done = CliRunner().invoke(app, ["synth", "tiny", "--block", "fp32_add", "--energy", "--wire", "0.5"])
    assert done.exit_code == 0, done.output
    assert "fp32_add" in done.stdout and "FP32 accumulate" in done.stdout and "GHz" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["tiny", "--block", "no_such"], "no_such"),
        (["tiny", "--wire", "wet", "--block", "secded_encode"], "wire"),
        (["tiny", "--target", "0", "--block", "secded_encode"], "target"),
        (["no_such_chip"], "no_such_chip"),
    ],
)
def test_bad_input(libraries: None, arguments: list[str], says: str) -> None:
    done = CliRunner().invoke(app, ["synth", *arguments])
    assert done.exit_code == 2 and says in done.stderr and len(done.stderr.strip().splitlines()[-1:]) == 1


def test_bad_libraries(tmp_path: Path) -> None:
    lib = tmp_path / "cut.lib"
    lib.write_text("library (x) {\n cell (INV) { area : 1;\n")
    out = tmp_path / "out.json"
    for name in (str(lib), str(tmp_path / "none.lib"), "asap77"):
        done = CliRunner().invoke(
            app, ["synth", "tiny", "--lib", name, "--block", "fp32_add", "--out", str(out)]
        )
        assert done.exit_code == 2 and done.stderr.count("\n") == 1, done.stderr
    assert not out.exists()
