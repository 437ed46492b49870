"""The fluid model against the event simulation of the same replica under the same load.

Tolerances are what separates a stationary average from one finite run, plus the model's own error, which
docs/serving.md tabulates: 5 % for goodput, energy, batch and the quantiles up to p90, 10 % for the p99
quantiles, whose statistical error alone is about 3 % in these runs.
"""

from __future__ import annotations

import numpy as np
import pytest

from tapeout.serving import slo
from tapeout.serving.cluster import Cluster, Deployment, Pool
from tapeout.serving.costs import StepCosts, affine
from tapeout.serving.day import serve
from tapeout.serving.fluid import Shape, steady
from tapeout.serving.policy import EnginePolicy
from tapeout.serving.synthetic import Diurnal, Lengths, poisson

POLICY = EnginePolicy(kv_blocks=40_000, max_sequences=128)
OBJECTIVES = slo.parse("ttft p99 < 0.3s, tpot p99 < 15ms")
PROMPT, OUTPUT = Lengths(600, "lognormal", cv=0.8), Lengths(211, "lognormal", cv=1.0)


def machine() -> StepCosts:
    costs = affine(5e-3, 2e-5, 2e-9, 2e-5, watts=700)
    costs.idle_watts = 200
    return costs


@pytest.mark.parametrize("rate", [0.3, 3.0, 8.0, 14.0])
def test_agrees_with_the_event_simulation(rate: float) -> None:
    load = poisson(40_000, rate, PROMPT, OUTPUT, seed=5)
    events = Cluster(Deployment((Pool(machine(), POLICY),)), OBJECTIVES).run(load).figures
    fluid = steady(machine(), POLICY, Shape.of(load), rate)
    assert fluid.watts == pytest.approx(events["mean_watts_per_chip"], rel=0.05)
    assert fluid.goodput(OBJECTIVES) == pytest.approx(events["goodput_requests_per_second"], rel=0.05)
    assert fluid.busy == pytest.approx(events["utilisation"], rel=0.05)
    quantiles = fluid.quantiles()
    for metric in ("ttft", "tpot", "e2e"):
        for level, tolerance in (("p50", 0.05), ("p90", 0.05), ("p99", 0.10)):
            assert 1e3 * quantiles[metric][level] == pytest.approx(events[f"{metric}_ms"][level], rel=tolerance), (
                metric, level)  # fmt: skip


def test_overload_is_told_and_served_at_capacity() -> None:
    load = poisson(20_000, 60.0, PROMPT, OUTPUT, seed=5)
    events = Cluster(Deployment((Pool(machine(), POLICY),))).run(load).figures
    fluid = steady(machine(), POLICY, Shape.of(load), 60.0)
    assert fluid.overloaded
    assert fluid.served == pytest.approx(events["requests_per_second"], rel=0.05)
    assert np.isinf(fluid.quantiles()["ttft"]["p50"])


def test_a_day_of_a_fleet() -> None:
    replicas, mean = 3, 24.0
    load = poisson(int(mean * 43_200), mean, PROMPT, OUTPUT, seed=2, diurnal=Diurnal(0.6, 6.0, 43_200.0))
    load = load.take(400_000)
    edges = np.arange(0, load.arrival[-1], 600.0)
    demand = np.histogram(load.arrival, edges)[0] / 600.0
    load = load.take(int(np.searchsorted(load.arrival, edges[-1])))
    day = serve(machine(), POLICY, Shape.of(load), demand, replicas, 600.0, OBJECTIVES)
    pools = (Pool(machine(), POLICY, replicas),)
    events = Cluster(Deployment(pools, "random"), OBJECTIVES, keep=False).run(load)
    figures = events.figures
    assert day.joules == pytest.approx(figures["joules"], rel=0.05)
    assert day.goodput.mean() == pytest.approx(figures["goodput_requests_per_second"], rel=0.05)
    assert float((day.served * 600).sum()) == pytest.approx(len(load), rel=1e-3)
    for metric in ("ttft", "tpot"):
        for level in ("p50", "p90"):
            assert 1e3 * day.quantiles[metric][level] == pytest.approx(
                figures[f"{metric}_ms"][level], rel=0.05
            )


def test_backlog_is_carried_and_conserved() -> None:
    load = poisson(5000, 10.0, PROMPT, OUTPUT, seed=2)
    demand = np.array([5.0, 100.0, 100.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    day = serve(machine(), POLICY, Shape.of(load), demand, 2, 300.0)
    np.testing.assert_allclose(np.cumsum((day.arrived - day.served) * 300), day.queued, rtol=1e-9, atol=1e-6)
    assert day.queued[2] > 0 and day.queued[-1] == pytest.approx(0.0, abs=1e-6)
