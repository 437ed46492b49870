"""`tapeout validate` and `tapeout calibrate`, on tables made here."""

from __future__ import annotations

import csv
import json
import re
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tapeout.cli.app import app
from tapeout.estimate.prediction import predict


def run(*arguments: object):
    return CliRunner().invoke(app, [str(a) for a in arguments])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Serving rows near the shipped predictions, and one of a model that nobody knows."""
    rng = np.random.default_rng(0)
    path = tmp_path / "serving.csv"
    with path.open("w", newline="") as f:
        writer = csv.writer(f)
        writer.writerow(
            [
                "model",
                "system",
                "backend",
                "backend_version",
                "precision",
                "isl",
                "osl",
                "concurrency",
                "tp",
                "ttft_ms",
                "tpot_ms",
            ]
        )
        for (model, name), system, tp, c in product(
            (("openai/gpt-oss-120b", "gpt-oss-120b"), ("Qwen/Qwen3-32B", "qwen3-32b")),
            ("h200_sxm", "mi355x"), (2, 8), (4, 64),
        ):  # fmt: skip
            p = predict(name, system, prompt_tokens=921.6, output_tokens=921.6, concurrency=c, tp=tp)
            noise = np.exp(rng.normal(0, 0.05, 2))
            times = [float(p.ttft_s) * 1e3 * noise[0], float(p.tpot_s) * 1e3 * noise[1]]
            writer.writerow([model, system, "vllm", "", "", 1024, 1024, c, tp, *times])
        writer.writerow(["=HYPERLINK(1)<script>", "h200", "vllm", "", "", 1024, 1024, 4, 1, 100, 10])
    return path


def test_without_data_the_held_out_errors_are_shown() -> None:
    result = run("validate")
    assert result.exit_code == 0
    assert "accelerator" in result.stdout and "met" in result.stdout
    found = json.loads(run("validate", "--json").stdout)
    assert {(e["metric"], e["protocol"]) for e in found["table"]} >= {
        ("tpot", "accelerator"),
        ("tpot", "model"),
    }


def test_a_table_is_predicted_row_by_row(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run("validate", "--data", table, "--out", out, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    tpot = next(e for e in found["table"] if e["metric"] == "tpot")
    assert (tpot["rows"], tpot["unpredicted"]) == (17, 1)
    assert tpot["median"] < 0.08 and tpot["mean"] > 1 / 17, "the unknown model counts as 100 %"
    assert any("not known" in reason for reason in found["unpredicted"])
    assert [p["tpot"]["predicted"] is None for p in found["predictions"]] == [False] * 16 + [True]
    assert "not known" in found["predictions"][-1]["reason"]
    rows = list(csv.DictReader((out / "predictions.csv").open()))
    assert len(rows) == 17 and rows[-1]["model"].startswith("'="), "no formula for a spreadsheet"
    assert float(rows[0]["tpot_low"]) < float(rows[0]["tpot_predicted"]) < float(rows[0]["tpot_high"])
    assert {r["protocol"] for r in rows[:-1]} == {"configuration", "model", "accelerator"}


def test_the_page_stands_alone_and_shows_every_point(table: Path, tmp_path: Path) -> None:
    assert run("validate", "--data", table, "--out", tmp_path).exit_code == 0
    html = (tmp_path / "validation.html").read_text()
    assert not re.search(r"(?:src|href)=\"(?:https?:)?//", html)
    assert '<script>"' not in html and "HYPERLINK(1)<script>" not in html
    assert html.count("<svg") == 6, "two metrics by accelerator, model and engine"
    first = html.split("<svg")[1].split("</svg>")[0]
    assert first.count("<title>") == 16


def test_readable_output_names_the_worst_rows(table: Path) -> None:
    result = run("validate", "--data", table)
    assert result.exit_code == 0
    assert "rows not predicted" in result.stdout and "memory" in result.stdout


def test_a_table_of_something_else_is_refused_in_one_line(tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    result = run("validate", "--data", bad)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1 and "bad.csv" in result.stderr
    assert run("validate", "--data", tmp_path / "absent.csv").exit_code == 2
    bad.write_bytes(b"\xff\xfe\x00")
    assert run("validate", "--data", bad).exit_code == 2


def test_calibrate_writes_what_validate_reads(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "fit"
    result = run("calibrate", table, "--quick", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["skipped"] == 1
    text = (out / "fitted.toml").read_text()
    assert "serving.csv" in text and "sha256" in text and "deviation" in text
    again = run("validate", "--data", table, "--parameters", out / "fitted.toml", "--json")
    tpot = next(e for e in json.loads(again.stdout)["table"] if e["metric"] == "tpot")
    assert tpot["median"] < 0.08


def test_calibrate_with_nothing_to_use_says_so(tmp_path: Path) -> None:
    path = tmp_path / "none.csv"
    path.write_text("model,system,isl,osl,concurrency,tpot_ms\nnobody,h200,1,1,1,1\n")
    result = run("calibrate", path, "--quick", "--out", tmp_path / "o")
    assert result.exit_code == 2
    assert not (tmp_path / "o").exists()
