"""Expected numbers of experts against simulation, and their bounds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.workload.routing import distinct_groups, pick_probabilities, routed, touched

POPULATIONS = [(32, 4), (128, 4), (128, 8), (256, 8), (8, 2), (16, 1)]


def picks(rng: np.random.Generator, tokens: int, experts: int, per_token: int, skew: float) -> np.ndarray:
    """Experts of each token, drawn one after another in proportion to popularity: Gumbel top-k."""
    weights = np.arange(1, experts + 1) ** -skew
    keys = np.log(weights) + rng.gumbel(size=(tokens, experts))
    return np.argpartition(-keys, per_token - 1, axis=1)[:, :per_token]


@pytest.mark.parametrize("experts, per_token", POPULATIONS)
@pytest.mark.parametrize("skew", [0.0, 0.5, 1.0])
def test_touched_against_simulation(experts: int, per_token: int, skew: float) -> None:
    rng = np.random.default_rng(experts + per_token)
    for tokens, trials in ((1, 400), (3, 400), (10, 200), (60, 150)):
        found = np.mean([np.unique(picks(rng, tokens, experts, per_token, skew)).size for _ in range(trials)])
        assert touched(tokens, experts, per_token, skew) == pytest.approx(found, rel=0.02, abs=0.15)


@pytest.mark.parametrize("experts, per_token", [(128, 4), (256, 8)])
@pytest.mark.parametrize("groups", [2, 8, 32])
@pytest.mark.parametrize("tokens", [1, 4, 16, 64])
def test_busiest_group_against_simulation(experts: int, per_token: int, groups: int, tokens: int) -> None:
    rng = np.random.default_rng(tokens * groups)
    most_experts, most_pairs = [], []
    for _ in range(250):
        chosen = picks(rng, tokens, experts, per_token, 0.0)
        most_pairs.append(np.bincount(chosen.ravel() % groups, minlength=groups).max())
        most_experts.append(np.bincount(np.unique(chosen) % groups, minlength=groups).max())
    r = routed(tokens, experts, per_token, groups)
    # Normal deviations of counts that are small: 15 % is what the approximation is good for.
    assert r.experts == pytest.approx(np.mean(most_experts), rel=0.15)
    assert r.assignments == pytest.approx(np.mean(most_pairs), rel=0.15)


@given(
    st.sampled_from(POPULATIONS),
    st.floats(0, 1e5),
    st.sampled_from([1, 2, 4, 8]),
    st.sampled_from([0.0, 0.3, 1.2]),
)
def test_bounds(population: tuple[int, int], tokens: float, groups: int, skew: float) -> None:
    experts, per_token = population
    total = touched(tokens, experts, per_token, skew)
    assert 0 <= total <= min(experts, tokens * per_token) * (1 + 1e-9)
    assert touched(tokens + 1, experts, per_token, skew) >= total
    assert touched(tokens, experts, per_token, 0.0) >= total * (1 - 1e-9) - 1e-12  # skew gathers tokens
    r = routed(tokens, experts, per_token, groups, skew)
    assert r.mean_experts * groups == pytest.approx(total)
    assert r.mean_assignments * groups == pytest.approx(tokens * per_token)
    assert r.mean_experts * (1 - 1e-9) <= r.experts <= min(experts / groups, total) * (1 + 1e-9)
    assert r.mean_assignments * (1 - 1e-9) <= r.assignments <= tokens * per_token * (1 + 1e-9)


def test_exact_where_it_can_be_counted() -> None:
    assert touched(1, 128, 4) == pytest.approx(4)
    assert touched(2, 128, 4) == pytest.approx(8 - 4 * 4 / 128)  # inclusion and exclusion
    assert touched(1e9, 128, 4) == pytest.approx(128)
    assert touched(5, 8, 8) == pytest.approx(8)
    assert distinct_groups(4, 1) == 1
    assert distinct_groups(2, 2) == pytest.approx(1.5)


@pytest.mark.parametrize("skew", [0.0, 0.7, 2.0])
def test_probabilities_sum_to_the_picks(skew: float) -> None:
    p = pick_probabilities(64, 6, skew)
    assert p.sum() == pytest.approx(6)
    assert ((p > 0) & (p <= 1)).all() and (np.diff(p) <= 0).all()


def test_arrays_equal_scalars() -> None:
    tokens, groups = np.array([1.0, 7, 300]), np.array([[1.0], [4], [8]])
    for skew in (0.0, 0.8):
        whole = routed(tokens, 128, 4, groups, skew)
        for i, g in enumerate(groups[:, 0]):
            for j, t in enumerate(tokens):
                one = routed(t, 128, 4, g, skew)
                assert whole.experts[i, j] == pytest.approx(one.experts)
                assert whole.assignments[i, j] == pytest.approx(one.assignments)
