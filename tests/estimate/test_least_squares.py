"""The fit, against SciPy and against the truth it should find in spite of bad rows."""

import numpy as np
import pytest
from scipy.optimize import least_squares as reference

from tapeout.estimate.least_squares import least_squares, robust_cost


def curve(x: np.ndarray, t: np.ndarray) -> np.ndarray:
    return np.exp(x[0]) + np.exp(x[1]) * t + np.exp(x[2]) * np.maximum(t - 5, 0) ** 2


@pytest.mark.parametrize("seed", range(6))
def test_same_minimum_as_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    t = rng.uniform(0, 10, 80)
    truth = rng.normal(0, 0.5, 3)
    data = curve(truth, t) * np.exp(rng.normal(0, 0.05, len(t)))
    data[:8] *= 3
    prior, spread = np.zeros(3), np.full(3, 0.7)

    def residuals(x: np.ndarray) -> np.ndarray:
        return np.log(curve(x, t) / data) / 0.05

    def joined(x: np.ndarray) -> np.ndarray:
        r = residuals(x)
        return np.concatenate([np.sqrt(2 * (np.sqrt(1 + r * r) - 1)), (x - prior) / spread])

    ours = least_squares(residuals, prior, spread)
    theirs = reference(joined, prior, xtol=1e-12, ftol=1e-12, gtol=1e-12)
    assert ours.converged
    assert ours.cost == pytest.approx(2 * theirs.cost, rel=1e-4)
    assert ours.x == pytest.approx(theirs.x, abs=3e-3)


def test_bad_rows_do_not_carry_it_off() -> None:
    rng = np.random.default_rng(1)
    t = rng.uniform(0, 10, 200)
    truth = np.array([0.3, -0.4, -1.0])
    data = curve(truth, t) * np.exp(rng.normal(0, 0.03, len(t)))
    data[rng.permutation(200)[:30]] *= 4
    fit = least_squares(lambda x: np.log(curve(x, t) / data) / 0.05, np.zeros(3), np.full(3, 2.0))
    assert np.abs(fit.x - truth).max() < 0.1
    assert np.all(fit.deviation > 0)


def test_without_data_the_prior_stands() -> None:
    prior = np.array([1.0, -2.0])
    fit = least_squares(lambda x: np.zeros(0), prior, np.array([0.3, 0.5]))
    assert fit.x == pytest.approx(prior)
    assert fit.deviation == pytest.approx([0.3, 0.5])


def test_cost_is_quadratic_then_linear() -> None:
    assert robust_cost(np.array([1e-3])) == pytest.approx(1e-6, rel=1e-4)
    assert robust_cost(np.array([1e3])) == pytest.approx(2e3, rel=2e-3)
