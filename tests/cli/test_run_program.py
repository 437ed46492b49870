"""`tapeout run --on isa|cycle|rtl`: the functional simulator's text, times, JSON, and one line for bad input."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tapeout.cli.app import app
from tapeout.cli.progress import Progress
from tapeout.model import demo

pytest.importorskip("tokenizers")
pytestmark = pytest.mark.skipif(
    not (Path(demo.FOLDER) / "model.safetensors").is_file(), reason="the demo model is not there"
)


def tapeout_run(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["run", "demo", *map(str, words)])
    assert result.exit_code == code, result.output
    if code:
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("tapeout: "), result.stderr
    return result


@pytest.mark.parametrize(
    "sampling", [("--temperature", 0), ("--temperature", 0.9, "--seed", 3, "--top-k", 20)]
)
def test_the_text_of_the_functional_simulator(sampling: tuple[object, ...]) -> None:
    """At temperature 0 the chip chooses; else the host, from the logits that leave it."""
    words = ("And God", "--max-tokens", 4, "--json", *sampling)
    functional = json.loads(tapeout_run(*words).stdout)
    executed = json.loads(tapeout_run(*words, "--on", "isa", "--chip", "tiny").stdout)
    assert executed["tokens"] == functional["tokens"] and executed["text"] == functional["text"]
    assert executed["on"] == "isa" and executed["prompt_cycles"] is None and not executed["cycles"]


def test_time_alone() -> None:
    result = tapeout_run("In", "--on", "cycle", "--max-tokens", 5, "--json", "--temperature", 0)
    found = json.loads(result.stdout)
    assert found["text"] == "" and not found["tokens"] and len(found["cycles"]) == 4
    assert 10_000 < found["cycles_per_token"] <= 20_000  # the demo's target
    said = tapeout_run("In", "--on", "cycle", "--max-tokens", 5)
    assert re.search(r"cycles a token: [\d,]+ tokens/s at 1\.0 GHz", said.stderr)


@pytest.mark.parametrize(
    "words",
    [
        ("In", "--on", "silicon"),
        ("In", "--on", "isa", "--chat"),
        ("In", "--on", "isa", "--waveform", "a.vcd"),
        ("In", "--waveform", "a.vcd"),
        ("In", "--on", "rtl", "--waveform", "a.png"),
        ("In", "--on", "rtl", "--waveform", "a.vcd", "--window", "9"),
        ("In", "--on", "rtl", "--waveform", "nowhere/a.vcd"),
        ("In", "--on", "cycle", "--max-tokens", 0),
        ("In", "--on", "cycle", "--chip", "nothing"),
        ("In", "--on", "cycle", "--plan", "widest"),
        ("In", "--on", "cycle", "--temperature", -1),
        ("In " * 1100, "--on", "cycle"),
    ],
)
def test_bad_input_is_told_in_one_line(words: tuple[object, ...]) -> None:
    tapeout_run(*words, code=2)


def test_progress_is_silent_for_what_is_quick(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("tapeout") as progress:
        progress("quick")
    assert capsys.readouterr().err == ""


def test_progress_tells_each_stage_once(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tapeout.cli.progress.PATIENCE", 0.01)
    with Progress("tapeout") as progress:
        for stage in ("one", "two", ""):
            progress(stage)
            time.sleep(0.3)
    assert re.fullmatch(r"tapeout: one, after \d s\ntapeout: two, after \d s\n", capsys.readouterr().err)
