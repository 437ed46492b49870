"""`tapeout simulate` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli.app import app

SMALL = ["--model", "gpt-oss-20b", "--chip", "flagship", "--requests", "300"]


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["simulate", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_json_is_one_object_and_repeats_by_seed(tmp_path: Path) -> None:
    code, out, _ = run(*SMALL, "--rate", "20", "--json", "--out", str(tmp_path), "--seed", "4")
    assert code == 0
    figures = json.loads(out)
    assert figures["finished"] == 300 and figures["joules_per_output_token"] > 0
    assert {p.name for p in tmp_path.iterdir()} == {
        "report.html",
        "requests.parquet",
        "summary.json",
        "trace.json",
    }
    assert json.loads((tmp_path / "summary.json").read_text()) == figures
    trace = json.loads((tmp_path / "trace.json").read_text())
    assert sum(e["ph"] == "b" for e in trace["traceEvents"]) == 600
    assert json.loads(run(*SMALL, "--rate", "20", "--json", "--seed", "4")[1]) == figures
    assert json.loads(run(*SMALL, "--rate", "20", "--json", "--seed", "5")[1]) != figures


def test_a_missed_objective_is_exit_1() -> None:
    code, out, err = run(*SMALL, "--rate", "20", "--slo", "tpot p99 < 1us")
    assert code == 1 and "misses tpot p99" in err and "missed" in out


def test_disaggregated_speculative_and_fragile() -> None:
    code, out, _ = run(
        *SMALL, "--clients", "8", "--split", "1:2", "--speculation", "3:0.7", "--mtbf", "0.001", "--json"
    )  # fmt: skip
    figures = json.loads(out)
    assert code == 0 and figures["finished"] + figures["failed"] == 300 and figures["replicas"] == 3


def test_find_says_how_many_chips() -> None:
    code, out, _ = run(*SMALL, "--rate", "20", "--find", "--slo", "tpot p99 < 20ms", "--json")
    answer = json.loads(out)
    assert code == 0 and answer["chips"] >= 1 and answer["chips_per_million_daily_users"] > 0
    best = answer["candidates"][0]
    assert best["chips"] == answer["chips"] and best["tpot_p99_ms"] < 20


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ([], "one of the two"),
        (["--chip", "flagship", "--accelerator", "h200"], "one of the two"),
        (["--chip", "nonesuch", "--rate", "1"], "nonesuch"),
        (["--chip", "flagship"], "exactly one of"),
        (["--chip", "flagship", "--rate", "-1"], "above 0"),
        (["--chip", "flagship", "--rate", "nan"], "above 0"),
        (["--chip", "flagship", "--rate", "1", "--slo", "latency < 3"], "--slo"),
        (["--chip", "flagship", "--rate", "1", "--slo", "ttft p99 < 3 parsecs"], "--slo"),
        (["--chip", "flagship", "--rate", "1", "--prompt", "zipf:3"], "--prompt"),
        (["--chip", "flagship", "--rate", "1", "--split", "2"], "--split"),
        (["--chip", "flagship", "--rate", "1", "--speculation", "3:2"], "--speculation"),
        (["--chip", "flagship", "--rate", "1", "--chips", "0"], "--chips"),
        (["--chip", "flagship", "--rate", "1", "--routing", "best"], "--routing"),
        (["--chip", "flagship", "--rate", "1", "--tp", "3"], "tp"),
        (["--chip", "flagship", "--rate", "1", "--max-step-tokens", "10"], "max_step_tokens"),
        (["--chip", "flagship", "--trace", "absent.csv"], "absent.csv"),
        (["--model", "gpt-oss-120b", "--chip", "tiny", "--rate", "1"], "memory"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(arguments: list[str], complaint: str) -> None:
    code, out, err = run("--model", "gpt-oss-20b", "--requests", "10", *arguments)
    assert code == 2 and out == ""
    assert len(err.strip().splitlines()) == 1 and complaint in err
