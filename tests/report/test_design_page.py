"""The page and the files of a design run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

import tapeout
from tapeout.chip.toml import load as load_chip
from tapeout.errors import InputError, TapeoutError
from tapeout.report import design as design_module
from tapeout.report.design import FILES, prepared, write
from tapeout.report.design_page import design_page
from tapeout.report.die import die_picture
from tapeout.report.summary import summary
from tapeout.search.result import DesignResult
from tapeout.search.scenario import Scenario
from tapeout.search.store import from_parquet


@pytest.fixture(scope="module")
def result() -> DesignResult:
    found = tapeout.design(
        "gpt-oss-20b",
        effort="quick",
        accelerators=("h200", "b200"),
        scenario=Scenario(batches=(1, 64), contexts=(1024,)),
    )
    assert isinstance(found, DesignResult)
    return found


def test_the_page_says_what_the_summary_says(result: DesignResult) -> None:
    page, data = design_page(result), summary(result)
    for section in (
        "model",
        "chip",
        "step",
        "simulated",
        "accelerators",
        "why",
        "cases",
        "search",
        "certainty",
        "sources",
    ):
        assert f'<section id="{section}">' in page
    assert f"{result.silicon.die_mm2.value:.0f} mm²" in page
    for c in result.confirmations:
        assert c.work in page and data["simulated"][c.step]["work"] == c.work
        assert c.compared is not None, c.missing
        assert data["simulated"][c.step]["simulated_s"] == c.compared.simulated_s
        assert abs(c.compared.difference) < 0.3
    assert data["operation"]["tokens_per_joule"] == result.operation.tokens_per_joule
    assert f"{data['search']['evaluations']:,} evaluations" in page
    json.dumps(data, allow_nan=False)


def test_every_chart_has_data_and_a_name(result: DesignResult) -> None:
    page = design_page(result)
    ids = re.findall(r'<div id="([a-z]+)" class="chart"', page)
    assert len(ids) == len(set(ids)) >= 8
    for body in re.findall(r'<script type="application/json">(.*?)</script>', page, re.DOTALL):
        for option in json.loads(body):
            assert option["series"]


def test_a_hostile_name_stays_text(result: DesignResult) -> None:
    evil = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"
    model = replace(result.model, name=evil, approximations=(evil,))
    page = design_page(replace(result, model=model, reasons_from=evil))
    assert "<script>alert" not in page and "<img src=x" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_die_is_that_of_the_floorplan(result: DesignResult) -> None:
    for dies in (1, 2):
        chip = replace(result.chip, dies=dies, cores=64, memory=replace(result.chip.memory, stacks=4))
        picture = die_picture(chip)
        assert picture.count('class="outline"') == 1
        assert picture.count(">HBM") == 4
        assert picture.count("<use") == 64 // dies
        assert "<style" not in picture  # the page's colours, and its dark setting
    assert die_picture(result.chip).split()[0] == "<svg"


def test_files_and_what_they_hold(result: DesignResult, tmp_path: Path) -> None:
    write(result, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(FILES)
    assert load_chip(tmp_path / "chip.toml") == result.chip
    table = from_parquet(tmp_path / "results.parquet")
    assert len(table["cores"]) == len(result.exploration.indices)
    assert table["on_front"].sum() == result.exploration.table["on_front"].sum()
    assert json.loads((tmp_path / "summary.json").read_text())["model"]["name"] == "gpt-oss-20b"


def test_a_failing_write_leaves_earlier_results(
    result: DesignResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(result, tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    calls = 0

    def full(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(design_module.os, "fsync", full)
    with pytest.raises(TapeoutError, match="No space left on device; earlier results are intact") as told:
        write(replace(result, seed=99), tmp_path)
    assert "\n" not in str(told.value) and told.value.exit_code == 2
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_a_folder_that_cannot_be_is_told_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError):
            prepared(folder)


@pytest.mark.parametrize("field", ["context", "batch", "tpot_ms", "ttft_ms"])
def test_arguments_out_of_bounds_are_told(field: str) -> None:
    with pytest.raises(InputError):
        tapeout.design("gpt-oss-20b", **{field: 0})


@pytest.mark.browser
def test_the_page_draws_without_errors(result: DesignResult, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        pytest.skip("no Chromium on PATH")
    write(result, tmp_path)
    command = [
        browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=6000",
        f"--user-data-dir={tmp_path / 'profile'}", "--enable-logging=stderr", "--dump-dom",
        f"file://{tmp_path / 'report.html'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    charts = len(re.findall(r'class="chart"', design_page(result)))
    assert done.stdout.count("_echarts_instance_=") == charts
    assert "CONSOLE" not in done.stderr, [x for x in done.stderr.splitlines() if "CONSOLE" in x]
    shown = re.sub(r"<script.*?</script>|aria-label=\"[^\"]*\"", "", done.stdout, flags=re.DOTALL)
    assert not re.search(r"NaN|undefined|Infinity", shown)


@pytest.mark.parametrize(
    "scenario",
    [
        Scenario(tpot_ms=None, ttft_ms=None, batches=(1,), contexts=(1024,)),
        Scenario(serving="disaggregated", batch=8, skew=0.0, batches=(3,), contexts=(700,)),
        Scenario(tpot_ms=1.0, batches=(1,), contexts=(10**6,)),
    ],
)
def test_pages_of_other_questions(scenario: Scenario) -> None:
    for accelerators in ((), ("h200", "groq-lpu")):
        found = tapeout.design(
            "qwen3-8b", effort="quick", objective="latency", scenario=scenario, accelerators=accelerators
        )
        page = design_page(found)
        assert '<section id="why">' in page
        words = re.sub(r"<(style|script).*?</\1>", "", page, flags=re.DOTALL)
        assert not re.search(r"\b(nan|inf|None)\b", words)
        json.dumps(summary(found), allow_nan=False)
