"""Choosing tokens: log-probabilities, penalties, and what leaves the simulator's own sampling as it is."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tapeout.serving.endpoint.choosing import Chooser, log_softmax, token_logprobs
from tapeout.serving.endpoint.parameters import Sampling
from tapeout.simulator.functional import Sampler

LOGITS = arrays(np.float32, 50, elements=st.floats(-30, 30, width=32))
NONE: frozenset[int] = frozenset()


@given(LOGITS, st.integers(0, 49), st.integers(0, 60))
def test_the_most_likely_come_first_and_ties_by_number(logits: np.ndarray, token: int, count: int) -> None:
    values = log_softmax(logits)
    assert np.isclose(np.exp(values).sum(), 1)
    found = token_logprobs(logits, token, count)
    assert found.logprob == values[token]
    expected = sorted(range(50), key=lambda i: (-values[i], i))[:count]
    assert [t for t, _ in found.top] == expected and [v for _, v in found.top] == [
        values[i] for i in expected
    ]


@given(LOGITS, st.floats(0, 2), st.integers(0, 50), st.floats(0.01, 1), st.integers(0, 2**64 - 1))
def test_without_adjustments_it_is_the_simulator_s_sampler(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float, seed: int
) -> None:
    chooser = Chooser(Sampling(temperature, top_k, top_p, seed=seed), 0, [], NONE)
    sampler = Sampler(temperature, top_k, top_p, seed)
    assert [chooser(logits) for _ in range(5)] == [sampler(logits) for _ in range(5)]
    assert chooser.greedy == (temperature == 0)


def test_penalties_are_those_of_the_definition() -> None:
    logits = np.linspace(-2, 2, 10).astype(np.float32)
    sampling = Sampling(
        frequency_penalty=0.5, presence_penalty=0.25, repetition_penalty=2.0, logit_bias=((3, 1.5),)
    )
    chooser = Chooser(sampling, 0, [9, 0], NONE)
    for token in (8, 8, 3):
        chooser.took(token)
    expected = logits.astype(np.float64)
    expected[9] /= 2  # in the prompt, positive
    expected[0] *= 2  # in the prompt, negative
    expected[8] = expected[8] / 2 - 2 * 0.5 - 0.25
    expected[3] = expected[3] * 2 + 1.5 - 0.5 - 0.25
    np.testing.assert_array_equal(chooser._adjusted(logits), expected.astype(np.float32))


@given(LOGITS, st.floats(0.01, 1), st.floats(0.1, 2))
def test_min_p_keeps_what_is_likely_enough(logits: np.ndarray, share: float, temperature: float) -> None:
    chooser = Chooser(Sampling(temperature, min_p=share), 0, [], NONE)
    kept = chooser._adjusted(logits) > -np.inf
    p = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    clear = np.abs(p - share) > 1e-9  # at the edge either is right
    np.testing.assert_array_equal(kept[clear], (p >= share)[clear])


def test_an_end_is_not_chosen_before_its_time() -> None:
    logits = np.zeros(10, np.float32)
    logits[4] = 50
    chooser = Chooser(Sampling(min_tokens=2, stop_tokens=frozenset({5})), 0, [], frozenset({4}))
    for _ in range(2):
        assert chooser(logits) == 0
        chooser.took(0)
    assert chooser(logits) == 4 and chooser.ends == {4, 5}


def test_choices_of_a_request_draw_apart() -> None:
    logits = np.zeros(1000, np.float32)
    draws = {i: Chooser(Sampling(1.0, seed=5), i, [], NONE)(logits) for i in range(20)}
    assert len(set(draws.values())) > 15
    assert draws[1] != Chooser(Sampling(1.0, seed=6), 0, [], NONE)(logits)
