"""Intervals cover what they say they cover."""

import numpy as np
import pytest

from tapeout.estimate.intervals import (
    GRID,
    Intervals,
    conformal,
    coverage,
    effective_level,
    quantiles_of,
    shipped,
)


@pytest.mark.parametrize("level", [0.5, 0.8, 0.95])
def test_conformal_intervals_cover_new_draws(level: float) -> None:
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(400):
        low, high = conformal(rng.standard_t(2, 99), level)
        inside.append((low <= (new := rng.standard_t(2, 50))) & (new <= high))
    assert np.mean(inside) == pytest.approx(level, abs=0.02)


def test_too_few_residuals_promise_nothing() -> None:
    assert conformal(np.array([0.1, -0.2])) == (-np.inf, np.inf)
    assert conformal(np.array([])) == (-np.inf, np.inf)


def test_coverage_counts_rows_inside_the_other_folds_interval() -> None:
    rng = np.random.default_rng(3)
    residuals = rng.normal(0.1, 0.2, 2000)
    fold = np.arange(2000) % 5
    assert coverage(residuals, fold) == pytest.approx(0.8, abs=0.03)
    halves = np.arange(2000) % 2
    residuals[halves == 0] += 10.0
    assert coverage(residuals, halves) == 0, "each fold is unlike the other"


def test_folds_that_differ_are_covered_by_asking_for_more() -> None:
    rng = np.random.default_rng(9)
    shift = np.repeat(rng.normal(0, 0.3, 12), 40)
    residuals = shift + rng.normal(0, 0.1, 480)
    fold = np.repeat(np.arange(12), 40)
    assert effective_level(residuals, fold) > 0.8
    assert coverage(residuals, fold) == pytest.approx(0.8, abs=0.08)
    alike = rng.normal(0, 0.1, 480)
    assert effective_level(alike, fold) == pytest.approx(0.8, abs=0.02)


def test_kept_quantiles_give_the_conformal_interval() -> None:
    residuals = np.random.default_rng(5).normal(0, 0.15, 500)
    bands = Intervals({"tpot": {"model": quantiles_of(residuals)}})
    low, high = bands.factors("tpot", "model")
    assert np.log([low, high]) == pytest.approx(conformal(residuals), abs=0.02)


def test_shipped_intervals_are_wider_for_what_nobody_measured() -> None:
    bands = shipped()
    for metric in ("tpot", "ttft", "joules"):
        for protocol in ("configuration", "model", "accelerator"):
            kept = bands.quantiles[metric][protocol]
            assert len(kept) == len(GRID) and list(kept) == sorted(kept)
            low, high = bands.factors(metric, protocol)
            assert 0.1 < low < high < 8

    def width(protocol: str) -> float:
        low, high = bands.factors("tpot", protocol)
        return high / low

    assert width("configuration") < width("accelerator") and width("configuration") < width("model")
    low, high = bands.factors("tpot", "accelerator and model")
    assert high / low > max(width("accelerator"), width("model"))
    around = bands.around(np.array([1.0, 2.0]), "tpot")
    assert np.all(around.low < around.value) and np.all(around.value < around.high)
