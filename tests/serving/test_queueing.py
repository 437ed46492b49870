"""In the limits where queueing theory has exact answers, the simulation gives them.

A step of constant length and a batch of c make a queue with c servers: an answer of n tokens takes n
steps. With one server nothing is rounded to steps, so the Pollaczek–Khinchine formula holds exactly; with
more, a request waits for the step in progress, a thousandth of the service time here.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapeout.serving.cluster import Cluster, Deployment, Outcome, Pool
from tapeout.serving.costs import affine
from tapeout.serving.policy import EnginePolicy
from tapeout.serving.synthetic import ClosedLoop, Lengths, poisson

STEP = 1e-3
TOKENS = 1000  # mean answer
COUNT = 60_000


def serve(servers: int, load: float, family: str) -> tuple[Outcome, float]:
    """A queue of `servers` at utilisation `load`; returns the outcome and the arrival rate."""
    rate = load * servers / (TOKENS * STEP)
    requests = poisson(COUNT, rate, Lengths(1), Lengths(TOKENS, family), seed=7)  # type: ignore[arg-type]
    policy = EnginePolicy(kv_blocks=1 << 40, max_sequences=servers, max_step_tokens=10_000)
    return Cluster(Deployment((Pool(affine(STEP, watts=1.0), policy),))).run(requests), rate


def waits(outcome: Outcome) -> np.ndarray:
    """Seconds each request waited before its first step began."""
    rows = outcome.records.rows()
    return rows["first_token_s"] - rows["arrival_s"] - STEP


def standard_error(values: np.ndarray) -> float:
    """Of the mean of a correlated series, by 100 batch means."""
    batches = values[: len(values) // 100 * 100].reshape(100, -1).mean(axis=1)
    return float(batches.std(ddof=1) / 10)


@pytest.mark.parametrize(
    "family, load", [("fixed", 0.5), ("fixed", 0.9), ("geometric", 0.5), ("geometric", 0.8)]
)
def test_one_server_is_pollaczek_khinchine(family: str, load: float) -> None:
    outcome, rate = serve(1, load, family)
    second_moment = TOKENS**2 if family == "fixed" else (2 - 1 / TOKENS) * TOKENS**2
    expected = rate * second_moment * STEP**2 / (2 * (1 - load))
    waited = waits(outcome)
    assert abs(waited.mean() - expected) < 4 * standard_error(waited)
    assert standard_error(waited) < 0.1 * expected  # the comparison means something
    assert outcome.figures["utilisation"] == pytest.approx(load, rel=0.02)
    # Little's law, exactly: mean number in service is the arrival rate times the time in service
    served = outcome.records.output_tokens * STEP
    assert outcome.replicas[0].batch_seconds + outcome.records.finished * STEP == pytest.approx(
        served, rel=1e-9
    )


def erlang_c(servers: int, offered: float) -> float:
    """Probability of having to wait in M/M/c."""
    tail = offered**servers / math.factorial(servers) / (1 - offered / servers)
    return tail / (sum(offered**k / math.factorial(k) for k in range(servers)) + tail)


@pytest.mark.parametrize("servers, load", [(2, 0.7), (8, 0.85)])
def test_many_servers_are_erlang_c(servers: int, load: float) -> None:
    outcome, _ = serve(servers, load, "geometric")
    offered = servers * load
    expected = erlang_c(servers, offered) * TOKENS * STEP / (servers - offered)
    waited = waits(outcome)
    assert abs(waited.mean() - expected) < 4 * standard_error(waited) + STEP


def test_a_closed_loop_obeys_its_response_time_law() -> None:
    loop = ClosedLoop(16, 4000, Lengths(100, "lognormal"), Lengths(200, "geometric"), think_seconds=0.5)
    policy = EnginePolicy(kv_blocks=1 << 30, max_sequences=8)
    outcome = Cluster(Deployment((Pool(affine(2e-3, 1e-4, 1e-9, 1e-6), policy),)), audit=True).run(loop)
    rows = outcome.records.rows()
    assert len(rows["request"]) == 4000
    response = (rows["finish_s"] - rows["arrival_s"]).mean()
    throughput = 4000 / outcome.seconds
    # N = X (R + Z), but for the ramp at either end
    assert throughput * (response + 0.5) == pytest.approx(16, rel=0.02)
    in_flight = np.searchsorted(np.sort(rows["arrival_s"]), rows["arrival_s"], "right") - np.searchsorted(
        np.sort(rows["finish_s"]), rows["arrival_s"], "right"
    )
    assert in_flight.max() <= 16


def test_energy_is_idle_power_times_idle_time_plus_the_steps() -> None:
    outcome, _ = serve(1, 0.5, "fixed")
    assert outcome.joules == pytest.approx(outcome.replicas[0].busy_seconds * 1.0, rel=1e-6)
