"""A whole design run in the library: choice, comparison, reasons, ranges, and the words for what cannot be."""

from dataclasses import replace
from itertools import pairwise
from math import prod

import numpy as np
import pytest
from search_problems import TINY, small

from tapeout.errors import DoesNotHold, InputError
from tapeout.model import load
from tapeout.model.catalog import names
from tapeout.physical.limits import problems
from tapeout.search.design import Options, design_chip, fitting, no_chip
from tapeout.search.explore import explore
from tapeout.search.owning import Owning
from tapeout.search.points import points
from tapeout.search.result import DesignResult
from tapeout.search.scenario import Scenario, Traffic
from tapeout.search.space import Space

QUICK = Options(
    effort="quick",
    accelerators=("h200", "b200"),
    scenario=Scenario(batches=(1, 64), contexts=(1024, 8192)),
)


@pytest.fixture(scope="module")
def result() -> DesignResult:
    return design_chip(load("gpt-oss-120b"), QUICK)


def test_the_chip_can_be_built_and_meets_the_targets(result: DesignResult) -> None:
    assert problems(result.chip, max_watts=result.max_watts) == []
    o = result.operation
    assert o.meets and o.tpot_ms <= 20 and o.ttft_ms <= 2000
    assert o.tokens_per_s * o.joules_per_token == pytest.approx(o.watts)
    assert o.tokens_per_dollar == pytest.approx(o.tokens_per_s * 3600 / o.dollars_per_hour)
    assert o.watts <= result.silicon.design_watts.value


def test_the_chosen_point_is_on_the_curve(result: DesignResult) -> None:
    assert any(c == replace(result.operation, meets=True) for c in result.curve)
    joules = [c.joules_per_token for c in result.curve]
    tpot = [c.tpot_ms for c in result.curve]
    assert tpot == sorted(tpot) and joules == sorted(joules, reverse=True)


def test_it_beats_h200_for_reasons_that_multiply_to_the_whole(result: DesignResult) -> None:
    h200 = result.rival("h200")
    assert h200 is not None and h200.operation is not None and h200.operation.meets
    gain = result.advantage(h200)
    assert gain is not None and gain > 1
    steps = result.reasons
    assert steps[0].change == h200.name and len(steps) > 8
    assert steps[0].tokens_per_joule == pytest.approx(h200.operation.tokens_per_joule)
    assert steps[-1].tokens_per_joule == pytest.approx(result.operation.tokens_per_joule)
    assert prod(s.factor for s in steps) == pytest.approx(gain)
    for before, after in pairwise(steps):
        assert after.factor == pytest.approx(after.tokens_per_joule / before.tokens_per_joule)
    # Our model of cores with its peaks, memory and power is another than the accelerator's: they agree.
    (cores,) = [s for s in steps if s.family == "architecture"]
    assert 0.5 < cores.factor < 2


@pytest.mark.parametrize("name", ["b200", "tpu7x", "mi355x"])
def test_reasons_start_from_the_best_there_is(name: str) -> None:
    r = design_chip(load("gpt-oss-20b"), replace(QUICK, accelerators=(name,)))
    (rival,) = r.rivals
    assert r.reasons_from == rival.name
    assert prod(s.factor for s in r.reasons) == pytest.approx(r.advantage(rival))


def test_nothing_to_start_from_is_no_reasons() -> None:
    r = design_chip(load("gpt-oss-20b"), replace(QUICK, accelerators=()))
    assert r.rivals == () and r.reasons == () and r.reasons_from == ""


def test_cases_hold_every_batch_and_context(result: DesignResult) -> None:
    assert [(c.context, c.batch) for c in result.cases] == [(1024, 1), (1024, 64), (8192, 1), (8192, 64)]
    for c in result.cases:
        assert set(c.operations) == {result.chip.name, "H200 SXM 141GB", "B200 SXM 180GB"}
        assert all(o is not None and o.batch == c.batch for o in c.operations.values())


def test_ranges_hold_their_values(result: DesignResult) -> None:
    for r in result.ranges.values():
        assert 0 < r.low <= r.value <= r.high
    assert result.ranges["tokens_per_joule"].value == pytest.approx(
        result.operation.tokens_per_joule, rel=1e-6
    )
    assert result.ranges["tokens_per_dollar"].value == pytest.approx(
        result.operation.tokens_per_dollar, rel=1e-6
    )
    assert result.ranges["unit_dollars"].low < result.ranges["unit_dollars"].high


def test_influences_are_sorted_and_real(result: DesignResult) -> None:
    swing = [abs(i.at_high - i.at_low) for i in result.influences]
    assert swing == sorted(swing, reverse=True) and swing[0] > 0
    assert all(i.source for i in result.influences)


def test_silicon_adds_up(result: DesignResult) -> None:
    s = result.silicon
    assert sum(s.area.values()) == pytest.approx(s.die_mm2.value)
    assert sum(s.cost.values()) == pytest.approx(s.unit_dollars.value)
    assert s.die_width_mm * s.die_height_mm == pytest.approx(s.die_mm2.value)
    assert all(needs <= has * (1 + 1e-9) for needs, has, _ in s.limits.values())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(effort="quick", max_watts=2.0), "power"),
        (Options(effort="quick", scenario=Scenario(tpot_ms=0.01)), "TPOT of 0.01 ms"),
        (Options(effort="quick", scenario=Scenario(ttft_ms=0.01)), "TTFT of 0.01 ms"),
    ],
)
def test_what_binds_is_named(options: Options, words: str) -> None:
    with pytest.raises(DoesNotHold) as told:
        design_chip(load("gpt-oss-20b"), options)
    assert words in str(told.value) and "times" in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    "options",
    [
        Options(objective="beauty"),  # type: ignore[arg-type]
        Options(effort="endless"),
        Options(nodes=("N1",)),
        Options(nodes=()),
        Options(memories=("sram",)),
        Options(max_watts=float("nan")),
        Options(seed=-1),
        Options(accelerators=("abacus",)),
        Options(scenario=Scenario(traffic=(Traffic(10**6, 1),))),
    ],
)
def test_bad_options_are_told(options: Options) -> None:
    with pytest.raises(InputError):
        design_chip(load("gpt-oss-20b"), options)


def test_owning_agrees_with_published_totals() -> None:
    # (purchase price with its system, watts of the accelerator, published dollars per hour of owning)
    own = Owning()
    for capital, watts, published in ((34_000, 700, 1.41), (46_000, 1000, 1.95)):
        assert float(own.dollars_per_hour(capital, watts, 0.7 * watts)) == pytest.approx(published, rel=0.25)
    assert own.annuity * sum(1 / (1 + own.interest) ** k for k in range(1, 6)) == pytest.approx(1.0)
    assert Owning(interest=0.0).annuity == pytest.approx(1 / own.years)
    for _, value, low, high, _, source, _ in own.rows():
        assert low <= value <= high and source


def test_a_model_of_short_context_has_a_scenario_that_fits() -> None:
    for name in names():
        model = load(name)
        assert fitting(model).longest <= model.context
        Options(scenario=fitting(model)).check(model)


def test_a_faster_target_costs_efficiency() -> None:
    slow, fast = (
        design_chip(
            load("gpt-oss-20b"), replace(QUICK, scenario=Scenario(tpot_ms=t, batches=(1,), contexts=(1024,)))
        )
        for t in (50.0, 2.0)
    )
    assert fast.operation.tpot_ms <= 2 < 50
    assert slow.operation.tokens_per_joule >= fast.operation.tokens_per_joule * 0.999
    assert np.isfinite(fast.operation.tokens_per_dollar)


def test_a_model_that_no_replica_holds_is_told() -> None:
    model = load("deepseek-v3")
    problem = small(
        "deepseek-v3",
        points=points(model, largest=1, batches=(1,)),
        space=Space(stack=(("hbm3", 16),), stacks=(1, 2)),
    )
    found = explore(problem, effort=TINY)
    assert found.chosen is None and not found.table["fits"].any()
    told = no_chip(problem, found)
    assert "no chip can hold the model" in told and "deepseek-v3" in told
