"""plan.html: whole, self-contained, and saying what the plan says."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("highspy", reason="planning needs the `plan` extra")

from tapeout.fleet import risk, stress
from tapeout.fleet.plan import Plan, build
from tapeout.fleet.scenario import load_scenario
from tapeout.report.plan import page, summary
from tapeout.report.plan_words import words


@pytest.fixture(scope="module")
def plan() -> Plan:
    return build(load_scenario("ten-gigawatts"))


@pytest.fixture(scope="module")
def html(plan: Plan) -> str:
    samples = risk.sample(plan, 128, workers=1)
    groups = risk.group_indices(plan, ["npv"], 16, workers=1)
    conditions = {"npv": stress.conditions(plan, "npv", stress.deciding(plan, "npv", samples, 3))}
    return page(plan, samples, groups, stress.run(plan), conditions, "tapeout plan --scenario <b>x</b>")


def test_it_is_one_file_that_refers_to_nothing(html: str) -> None:
    assert html.startswith("<!DOCTYPE html>")
    assert not re.search(r'(src|href)="(https?:|//)', html)
    assert "<b>x</b>" not in html and "&lt;b&gt;x" in html


def test_it_says_what_must_be_true_and_when_the_chip_loses(html: str, plan: Plan) -> None:
    for heading in (
        "What must be true",
        "When the own chip loses",
        "Supply: what binds",
        "Checked against published",
    ):
        assert heading in html
    for case in stress.run(plan):
        assert case.name in html
    assert "equal interactivity" in html
    assert "nan" not in re.sub(r"<script.*?</script>", "", html, flags=re.S).lower().split()


def test_every_section_has_content(html: str) -> None:
    for section in re.findall(r'<section id="[^"]+">(.*?)</section>', html, flags=re.S):
        assert len(re.sub(r"<[^>]+>", "", section)) > 80


def test_summary_and_words(plan: Plan) -> None:
    rows = summary(plan)
    assert any("GW" in v for v in rows.values())
    assert words("gpu.gb300.progress").startswith("GB300")
    assert words("some.odd_name") == "some: odd name"


def test_without_samples_it_still_stands(plan: Plan) -> None:
    html = page(plan, None, {}, stress.run(plan), {}, "tapeout plan --samples 0")
    assert "No samples were asked for" in html
