"""`tapeout compile`, `tapeout trace`, `tapeout run --on`: files, reports, and one line for every kind of bad input."""

from __future__ import annotations

import json
import shutil
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tapeout
from tapeout.chip.toml import load as load_chip
from tapeout.chip.toml import to_toml
from tapeout.cli.app import app
from tapeout.model import demo, load
from tapeout.report.execute import Executed, execute

pytest.importorskip("tokenizers")


def call(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, [*map(str, words)])
    assert result.exit_code == code, result.output
    if code:
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("tapeout: "), result.stderr
    return result


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compiled") / "demo.program"
    call("compile", "demo", "--chip", "tiny", "-o", path)
    return path


def test_the_report_adds_up(program: Path) -> None:
    out = call("compile", "demo", "--chip", "tiny", "-o", program, "--position", 40, "--json")
    report = json.loads(out.stdout)
    assert sum(u["cycles"] for u in report["operators"]) == report["cycles"] == report["total"]["cycles"]
    assert sum(u["cycles"] for u in report["layers"]) == report["cycles"]
    for use in report["operators"]:
        assert sum(use["kinds"].values()) == use["cycles"]
        assert 0 <= use["matrix"] <= 1 and 0 <= use["memory"] <= 1
    assert 0.2 < report["total"]["memory"] <= 1


def test_the_trace_is_a_trace(program: Path, tmp_path: Path) -> None:
    out = call("trace", program, "-o", tmp_path / "t.json", "--position", 40, "--json")
    said, trace = json.loads(out.stdout), json.loads((tmp_path / "t.json").read_text())
    assert len(trace["traceEvents"]) == said["events"] and trace["otherData"]["cycles"] == said["cycles"]
    names = {e["name"] for e in trace["traceEvents"] if e["ph"] == "X"}
    assert {"0: qkv", "lm_head"} <= names


def test_time_alone_is_that_of_the_steps() -> None:
    run = execute("demo", "In the beginning", on="cycle", max_tokens=5)
    assert len(run.cycles) == 4 and run.prompt_cycles > 0 and not run.tokens
    assert run.tokens_per_second == pytest.approx(1e9 / (sum(run.cycles) / 4))
    out = call(
        "run", "demo", "In the beginning", "--chip", "tiny", "--on", "cycle", "--max-tokens", 5, "--json"
    )
    assert json.loads(out.stdout)["cycles"] == list(run.cycles)


def test_the_executable_isa_says_what_the_functional_simulator_says() -> None:
    run = execute("demo", "In the", on="isa", max_tokens=2)
    want = tapeout.run("demo", "In the", temperature=0, max_tokens=2)
    assert (run.tokens, run.text) == (want.tokens, want.text)


def test_bad_input_is_one_line(program: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.program"
    raw = bytearray(program.read_bytes())
    raw[-100] ^= 1
    damaged.write_bytes(bytes(raw))
    for words in (
        ("trace", damaged),
        ("trace", tmp_path / "none.program"),
        ("trace", program, "--position", 100_000),
        ("trace", program, "--entry", 99),
        ("compile", "demo", "--chip", "none"),
        ("compile", "demo", "--plan", "none", "-o", tmp_path / "x"),
        ("compile", "demo", "--prefill", 1, "-o", tmp_path / "x"),
        ("run", "demo", "x", "--on", "none"),
        ("run", "demo", "x", "--on", "cycle", "--max-tokens", 0),
        ("run", "demo", "x " * 3000, "--on", "cycle"),
    ):
        call(*words, code=2)
    assert not (tmp_path / "x").exists()


def test_a_chip_that_cannot_run_the_model_is_one_line(tmp_path: Path) -> None:
    text = to_toml(load_chip("tiny")).replace('formats = ["mxfp4", "mxint8"]', 'formats = ["mxint8"]')
    chip = tmp_path / "int8.toml"
    chip.write_text(text.replace("double_rate_fp4 = true", "double_rate_fp4 = false"))
    assert load_chip(chip).core.matrix.formats == ("mxint8",)
    for words, says in (
        (("run", "demo", "x", "--on", "isa", "--chip", "none"), "none"),
        (("run", "demo", "x", "--on", "cycle", "--chip", chip), "mxfp4"),
        (("run", "demo", "x", "--on", "isa", "--chip", chip), "mxfp4"),
        (("run", "demo", "x", "--on", "isa", "--top-p", 0), "--top-p"),
        (("run", "demo", "x", "--on", "isa", "--chat"), "--chat"),
        (("compile", "demo", "--chip", chip, "-o", tmp_path / "x"), "mxfp4"),
        (("compile", "gpt-oss-120b", "--chip", "tiny", "-o", tmp_path / "x"), "GiB of tiny"),
        (("trace", chip), "int8.toml"),
        (("trace", tmp_path), str(tmp_path)),
        (("compile", "deepseek-v3", "--chip", "flagship", "-o", tmp_path / "x"), "GiB of flagship"),
    ):
        assert says in call(*words, code=2).stderr, words
    assert not (tmp_path / "x").exists()


def test_json_is_complete() -> None:
    out = json.loads(call("run", "demo", "In the", "--on", "cycle", "--max-tokens", 2, "--json").stdout)
    assert {f.name for f in fields(Executed)} <= set(out)
    assert out["on"] == "cycle" and out["chip"] == "tiny" and out["stopped"] == "length"
    assert out["tokens_per_second"] == pytest.approx(out["clock_ghz"] * 1e9 / out["cycles_per_token"])


def test_a_program_of_another_model_is_refused(program: Path) -> None:
    from dataclasses import replace

    from tapeout.compiler.program import Program
    from tapeout.errors import InputError

    other = replace(Program.load(program), identity="another", model="another")
    assert load("demo").name != other.model
    with pytest.raises(InputError, match="another"):
        execute("demo", "x", on="cycle", program=other)


def test_a_program_is_run_on_the_chip_that_it_is_for(program: Path, tmp_path: Path) -> None:
    words = ("run", "demo", "In the", "--max-tokens", 2, "--on", "isa", "--json")
    now, then = (json.loads(call(*words, *more).stdout) for more in ((), ("--program", program)))
    assert now["tokens"] == then["tokens"] and then["chip"] == "tiny"


def test_a_program_that_does_not_match_is_one_line(program: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.program"
    damaged.write_bytes(program.read_bytes()[:-64])
    other, short = tmp_path / "other", tmp_path / "short"
    for folder in (other, short):
        shutil.copytree(demo.FOLDER, folder)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"rope_theta": 1234.0}))
    weights = short / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4096])
    for model, more, says in (
        ("demo", ("--on", "isa", "--program", damaged), "damaged.program"),
        ("demo", ("--program", program), "--program"),
        ("demo", ("--on", "isa", "--program", program, "--chip", "edge"), "--chip"),
        (other, ("--on", "isa", "--program", program), "config.json"),
        (short, ("--on", "isa", "--program", program), "model.safetensors"),
    ):
        assert says in call("run", model, "x", *more, code=2).stderr, more
