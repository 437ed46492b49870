"""Random programs on RTL and on the executable ISA; campaigns that stop and go on; failures that are kept small."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.rtl.core import Core
from tapeout.chip.verification.programs.cover import Coverage
from tapeout.chip.verification.programs.tree import Command, Tree, walk
from tapeout.simulator.rtl import random_programs
from tapeout.simulator.rtl.random_programs import Ran, Timing, campaign, design_key, recorded, run, tree_of

pytestmark = pytest.mark.verilator


@lru_cache(maxsize=1)
def core() -> Core:
    return Core(load("tiny").core)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 1 << 16), nodes=st.integers(1, 24))
def test_rtl_equals_the_executable_isa(seed: int, nodes: int) -> None:
    ran = run(core(), tree_of(core(), seed, nodes), seed)
    assert not ran.wrong, (seed, nodes, ran.wrong, ran.text)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10_000, 10_300))
def test_many(seed: int) -> None:
    ran = run(core(), tree_of(core(), seed), seed)
    assert not ran.wrong, (seed, ran.wrong, ran.text)


def test_timings_of_memory_differ() -> None:
    seen = {(t.spread, t.stall) for t in map(Timing.of, range(12))}
    assert len(seen) == 9 and len({Timing.of(s).latency for s in range(90)}) == 90


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """Programs with `vtopk` in them fail; the seeds that were run."""
    calls: list[int] = []

    def one(core: Core, tree: Tree, seed: int) -> Ran:
        calls.append(seed)
        bad = any(isinstance(n, Command) and n.name == "vtopk" for n in walk(tree.nodes))
        lowered = random_programs.Lowering(tree, random_programs.Geometry.of(core.core))
        empty = Coverage(random_programs.Geometry.of(core.core), core.names).counts()
        return Ran("1 byte differs" if bad else "", 10, empty, lowered.text)

    monkeypatch.setattr(random_programs, "run", one)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return calls


def test_a_campaign_goes_on_where_it_was_and_keeps_small_failures(fake: list[int], tmp_path: Path) -> None:
    said: list[str] = []
    first = campaign(core(), "tiny", 6, 1, tmp_path / "out", said.append)
    assert set(fake) == {1, 2, 3, 4, 5, 6} and first["cycles"] == 60
    ran = len(fake)
    assert campaign(core(), "tiny", 6, 1, tmp_path / "out", said.append) == first
    assert len(fake) == ran
    more = campaign(core(), "tiny", 30, 1, tmp_path / "out", said.append)
    assert set(fake[ran:]) == set(range(7, 31))
    failed = [s for s in range(1, 31) if any(line.startswith(f"program {s}:") for line in more["failed"])]
    assert failed and len(failed) < 30
    for seed in failed:
        text = (tmp_path / "out" / f"failure-{seed}.s").read_text()
        assert text.count("vtopk") == 1 and "1 nodes" in text.splitlines()[0]
        assemble(text)
    assert json.loads((tmp_path / "out" / "coverage.json").read_text()) == more
    assert recorded(design_key(core())) == more
    kept: Any = (tmp_path / "out" / "coverage.md").read_text()
    assert kept.startswith("# tiny: what 30 random programs exercised")


def test_a_handoff_reports_the_campaign_over_most_programs(fake: list[int], tmp_path: Path) -> None:
    for programs in (3, 2):
        campaign(core(), "tiny", programs, 1, tmp_path / str(programs), lambda text: None)
    found = recorded(design_key(core()))
    assert found is not None and found["programs"] == 3
