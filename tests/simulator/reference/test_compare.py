"""The statistics of two runs, on runs whose differences are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tapeout.simulator.reference.compare import Statistics, log_softmax
from tapeout.simulator.reference.trace import Trace, chunks

RNG = np.random.default_rng(0)


def random_trace(tokens: int = 50, vocabulary: int = 64) -> Trace:
    return Trace(
        RNG.normal(0, 4, (tokens, vocabulary)).astype(np.float32),
        RNG.normal(0, 1, (3, tokens, 32)).astype(np.float32),
        {1: RNG.permuted(np.tile(np.arange(8), (tokens, 1)), axis=1)[:, :2]},
    )


def compare(a: Trace, b: Trace, tokens: list[int] | None = None):  # type: ignore[no-untyped-def]
    statistics = Statistics()
    statistics.add(tokens or [3] * len(a.logits), a, b)
    return statistics.result()


def test_a_run_agrees_with_itself() -> None:
    trace = random_trace()
    same = compare(trace, trace)
    assert same.agreement == 1 and same.disagreements == () and same.largest_margin == 0
    assert same.perplexity_change == 0 and same.kl == 0 and same.logit_error == 0
    assert same.layer_error == (0, 0, 0) and same.expert_agreement == 1


def test_a_constant_on_all_logits_changes_nothing() -> None:
    trace = random_trace()
    shifted = compare(trace, Trace(trace.logits + np.float32(16), trace.hidden, trace.experts))
    assert shifted.agreement == 1
    assert shifted.logit_error < 1e-6 and abs(shifted.perplexity_change) < 1e-5


def test_margins_are_in_standard_deviations_of_the_reference() -> None:
    a = random_trace(4)
    second = np.argsort(a.logits[2])[-2]
    other = a.logits.copy()
    other[2, second] = other[2].max() + 1
    found = compare(a, Trace(other, a.hidden, a.experts))
    assert found.agreement == 3 / 4
    (only,) = found.disagreements
    assert (only.position, only.reference, only.other) == (2, a.logits[2].argmax(), second)
    expected = (a.logits[2].max() - a.logits[2, second]) / a.logits[2].astype(np.float64).std()
    assert only.margin == pytest.approx(expected)
    assert not only.experts_differ
    assert found.largest_margin == only.margin


def test_experts_are_sets() -> None:
    a = random_trace()
    reversed_order = Trace(a.logits, a.hidden, {1: a.experts[1][:, ::-1]})
    assert compare(a, reversed_order).expert_agreement == 1
    changed = a.experts[1].copy()
    changed[:5, 0] = 99
    assert compare(a, Trace(a.logits, a.hidden, {1: changed})).expert_agreement == 0.9


def test_the_margin_of_a_flip_is_the_routers() -> None:
    scores = np.array([[4, 3, 2.5, 0], [4, 3, 2.5, 0]], np.float32)
    a = Trace(
        np.eye(2, dtype=np.float32), np.ones((1, 2, 2), np.float32), {0: np.array([[0, 1]] * 2)}, {0: scores}
    )
    swapped = Trace(a.logits, a.hidden, {0: np.array([[0, 2], [1, 0]])})
    found = compare(a, swapped, [1, 1])
    assert found.largest_flip_margin == pytest.approx(0.5 / scores[0].astype(np.float64).std())
    assert found.expert_agreement == 0.5
    assert compare(a, a, [1, 1]).largest_flip_margin == 0


def test_perplexity_is_that_of_the_next_token() -> None:
    logits = np.zeros((3, 4), np.float32)
    logits[0, 2] = math.log(5)  # p = 5/8
    trace = Trace(logits, np.ones((1, 3, 2), np.float32), {})
    found = compare(trace, trace, [0, 2, 1])
    assert found.perplexity == pytest.approx(math.exp(-(math.log(5 / 8) + math.log(1 / 4)) / 2))
    assert found.expert_agreement is None


def test_the_error_of_a_layer_is_relative() -> None:
    a = random_trace()
    hidden = a.hidden.copy()
    hidden[1] *= np.float32(1.01)
    assert compare(a, Trace(a.logits, hidden, a.experts)).layer_error == pytest.approx((0, 0.01, 0), abs=1e-5)


def test_texts_add_up() -> None:
    a, b = random_trace(10), random_trace(30)
    noisy = Trace(b.logits + RNG.normal(0, 2, b.logits.shape).astype(np.float32), b.hidden, b.experts)
    statistics = Statistics()
    statistics.add([1] * 10, a, a)
    statistics.add([1] * 30, b, noisy)
    both, alone = statistics.result(), compare(b, noisy)
    assert both.positions == 40
    assert len(both.disagreements) == len(alone.disagreements) > 0
    assert both.agreement == pytest.approx((10 + 30 * alone.agreement) / 40)
    assert {d.text for d in both.disagreements} == {1}
    margins = [d.margin for d in both.disagreements]
    assert margins == sorted(margins, reverse=True)


def test_log_softmax_of_large_logits() -> None:
    values = log_softmax(np.array([[1e4, 0, -1e4]], np.float32))
    assert np.allclose(np.exp(values).sum(), 1) and np.isfinite(values).all()


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="logits"):
        compare(random_trace(5), random_trace(6))


def test_chunks_leave_no_token_alone() -> None:
    assert chunks(list(range(9)), 4) == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert chunks([1], 4) == []
