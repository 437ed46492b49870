"""The event-stepped engine equals the token-by-token one, request by request; nothing leaks on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.serving import reference
from tapeout.serving.cluster import Cluster, Deployment, Failures, Pool, Transfer
from tapeout.serving.costs import StepCosts, affine, tabulate
from tapeout.serving.policy import ROUTINGS, EnginePolicy, Speculation
from tapeout.serving.requests import Requests
from tapeout.workload.operators import Step


def curved() -> StepCosts:
    """Costs with kinks in every axis: a roofline of sorts."""

    def evaluate(step: Step) -> tuple[np.ndarray, np.ndarray]:
        b, k = np.asarray(step.decode_sequences), np.asarray(step.decode_context)
        p = np.asarray(step.prefill_sequences) * np.asarray(step.prefill_tokens)
        pairs = p * (np.asarray(step.prefill_context) + np.asarray(step.prefill_tokens) / 2)
        seconds = (
            1e-3 + np.maximum(3e-5 * (b + p), 2e-3 * (1 - np.exp(-(b + p) / 20))) + 1e-8 * (b * k + pairs)
        )
        return seconds, 300 * seconds + 1e-4 * (b + p)

    return tabulate(evaluate, 64, 4096, 512)


@st.composite
def loads(draw: st.DrawFn) -> Requests:
    """A few dozen requests, bursts and ties included, some sharing prefixes of 32 tokens."""
    n = draw(st.integers(1, 40))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    gaps = rng.exponential(draw(st.sampled_from([1e-4, 3e-3, 0.05, 1.0])), n)
    gaps[rng.random(n) < 0.3] = 0.0
    prompt = rng.integers(1, draw(st.sampled_from([2, 40, 400])) + 1, n)
    output = rng.integers(1, draw(st.sampled_from([1, 5, 120])) + 1, n)
    priority = rng.integers(0, 3, n) if draw(st.booleans()) else None
    prefixes = None
    if draw(st.booleans()):
        prefixes = []
        for length in prompt:
            family = int(rng.integers(0, 3))
            depth = int(length) // 32
            own = int(rng.integers(0, depth + 1))
            chain = [family * 1000 + i for i in range(depth - own)]
            prefixes.append(tuple(chain + [int(rng.integers(1e6, 2e6)) for _ in range(own)]))
    return Requests(np.cumsum(gaps), prompt, output, priority, prefixes, prefix_block=32)


@st.composite
def policies(draw: st.DrawFn) -> EnginePolicy:
    """Engines from roomy to cramped: any single request of `loads` fits, several may not."""
    return EnginePolicy(
        kv_blocks=draw(st.sampled_from([70, 90, 150, 10_000])),
        max_sequences=draw(st.sampled_from([1, 3, 8, 30])),
        max_step_tokens=draw(st.sampled_from([31, 64, 256, 4096])),
        block_tokens=draw(st.sampled_from([8, 16])),
        sequence_blocks=draw(st.sampled_from([0, 2])),
        chunked_prefill=draw(st.booleans()),
        prefix_caching=draw(st.booleans()),
    )


@settings(max_examples=250, deadline=None)
@given(loads(), policies(), st.sampled_from([affine(1e-3, 1e-5, 1e-8, 1e-5, watts=100), curved()]))
def test_equals_the_engine_that_takes_one_step_at_a_time(
    load: Requests, policy: EnginePolicy, costs: StepCosts
) -> None:
    slow = reference.Engine(costs, policy, prefix_tokens=32)
    jobs = slow.run(load)
    fast = Cluster(Deployment((Pool(costs, policy),)), audit=True, prefix_tokens=32).run(load)
    rows = fast.records.rows()
    assert rows["request"].tolist() == list(range(len(load)))
    for name, expected in (
        ("first_token_s", [j.first_token for j in jobs]),
        ("finish_s", [j.finish for j in jobs]),
    ):
        np.testing.assert_allclose(rows[name], expected, rtol=1e-9, atol=1e-12)
    assert fast.replicas[0].preemptions == slow.preemptions
    assert fast.joules == pytest.approx(slow.joules, rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(loads(), policies(), st.sampled_from(ROUTINGS), st.integers(0, 3), st.booleans(), st.booleans())
def test_nothing_is_lost_in_any_deployment(
    load: Requests, policy: EnginePolicy, routing: str, drafts: int, split: bool, fragile: bool
) -> None:
    costs = affine(1e-3, 1e-5, 1e-8, 1e-5, watts=100)
    policy = EnginePolicy(
        **{**policy.__dict__, "speculation": Speculation(drafts, 0.6), "max_step_tokens": 4096}
    )
    pools = (Pool(costs, policy, 3),)
    if split:
        pools = (Pool(costs, policy, 2, role="prefill"), Pool(costs, policy, 2, role="decode"))
    deployment = Deployment(
        pools, routing, Transfer(1000.0), failures=Failures(0.2, 0.05, 50) if fragile else Failures()
    )  # fmt: skip
    runs = [Cluster(deployment, seed=3, audit=True, prefix_tokens=32).run(load) for _ in range(2)]
    first, second = (run.records.rows() for run in runs)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name])
    assert runs[0].records.finished + runs[0].failed + runs[0].refused == len(load)
