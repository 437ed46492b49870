"""Sensitivity against functions whose indices are known, and samples that do not depend on how they are cut."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tapeout.fleet import risk, stress
from tapeout.fleet.plan import Plan
from tapeout.fleet.sequence import supercube


def test_first_order_indices_of_ishigami() -> None:
    u = supercube(8192, 3, 0)
    x = np.pi * (2 * u - 1)
    y = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    samples = risk.Samples(("a", "b", "c"), u, {"y": y}, {})
    index = risk.first_order(samples, "y", bins=40)
    assert index["a"] == pytest.approx(0.3139, abs=0.03)
    assert index["b"] == pytest.approx(0.4424, abs=0.03)
    assert index["c"] == pytest.approx(0.0, abs=0.02)


def test_inputs_that_do_nothing_have_no_index() -> None:
    u = supercube(4096, 120, 1)
    samples = risk.Samples(tuple(f"x{i}" for i in range(120)), u, {"y": 3 * u[:, 0] + u[:, 1]}, {})
    index = risk.first_order(samples, "y")
    assert index["x0"] == pytest.approx(0.9, abs=0.03) and index["x1"] == pytest.approx(0.1, abs=0.02)
    assert max(v for k, v in index.items() if k not in ("x0", "x1")) < 0.02


def test_group_indices_sum_to_one_where_groups_add_up(plan: Plan) -> None:
    found = risk.group_indices(plan, ["versus.gb300.npv"], 64, workers=1)["versus.gb300.npv"]
    assert set(found) <= set(risk.GROUPS)
    assert all(-0.3 < i.first < 1.2 and -1e-9 <= i.total < 1.5 for i in found.values())
    assert found["own chip: performance"].total > found["reliability"].total


def test_samples_do_not_depend_on_chunks_or_processes(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = risk.sample(plan, 48, 5, workers=1)
    monkeypatch.setattr(risk, "CHUNK", 7)
    cut = risk.sample(plan, 48, 5, workers=1)
    shared = risk.sample(plan, 48, 5, workers=2)
    for k, v in whole.scalars.items():
        np.testing.assert_allclose(cut.scalars[k], v, rtol=1e-6, err_msg=k)
        np.testing.assert_allclose(shared.scalars[k], cut.scalars[k], rtol=1e-9, err_msg=k)
    assert not np.array_equal(risk.sample(plan, 48, 6, workers=1).scalars["npv"], whole.scalars["npv"])


def test_samples_stay_within_their_ranges(plan: Plan) -> None:
    names = risk.uncertain(plan)
    for name, column in risk.values_of(plan, names, supercube(64, len(names))).items():
        q = plan.graph.nodes[name].quantity
        assert q is not None and q.low <= column.min() and column.max() <= q.high


def test_every_uncertain_input_has_a_group(plan: Plan) -> None:
    assert all(risk.group_of(n) != "other" for n in risk.uncertain(plan))


def test_stress_cases_do_what_they_say(plan: Plan) -> None:
    found = {c.name: c for c in stress.run(plan)}
    base = found["As planned"]
    rivals = plan.scenario.gpus
    assert found["HBM price doubles"].npv < base.npv
    assert found["Grid is late"].power < base.power
    assert found["Software lags"].served < base.served
    assert all(found["Next GPU generation arrives"].saving[a] < base.saving[a] for a in rivals)
    # a chip that comes later gains or loses for less long: less of what it saves, or of what it costs more
    assert all(abs(found["Tape-out slips two quarters"].saving[a]) < abs(base.saving[a]) for a in rivals)
    assert found["Prices fall tenfold a year"].npv < base.npv
    assert any(min(c.saving.values()) < 0 for c in found.values()), (
        "the cases in which the own chip loses are shown"
    )


def test_at_its_threshold_a_plan_is_worth_nothing(plan: Plan) -> None:
    for output in ("versus.gb300.npv", "npv"):
        for c in stress.conditions(plan, output, ["service.attained_own", "demand.other_work"]):
            if c.threshold is not None:
                at = plan.graph.evaluate({c.name: c.threshold})[output][0, 0]
                assert abs(at) < 0.2 * abs(plan.nominal[output][0, 0]), c


def test_screening_puts_what_matters_first(plan: Plan) -> None:
    assert "service.attained_own" in risk.uncertain(plan)[:12]
    assert replace(plan).screened == plan.screened


def test_what_only_the_end_depends_on_can_be_swept(plan: Plan) -> None:
    """Sweeping the residual value, no month's cash differs between the samples."""
    found = stress.conditions(plan, "npv", ["finance.residual"])
    assert [c.name for c in found] == ["finance.residual"]
