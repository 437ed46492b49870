"""Sobol's sequence: structure by definition, quality beside SciPy's."""

from __future__ import annotations

import numpy as np
import pytest

from tapeout.fleet.sequence import _initial, is_primitive, sobol, supercube


def test_every_dimension_has_a_primitive_polynomial_of_its_own_and_odd_numbers() -> None:
    table = _initial()
    polynomials = [p for p, _ in table]
    assert len(set(polynomials)) == len(polynomials)
    for polynomial, first in table:
        assert is_primitive(polynomial)
        assert len(first) == polynomial.bit_length() - 1
        assert all(m % 2 == 1 and m < 2 ** (i + 1) for i, m in enumerate(first))


@pytest.mark.parametrize(
    ("polynomial", "primitive"), [(0b111, True), (0b1011, True), (0b11111, False), (0b101, False)]
)
def test_primitive(polynomial: int, primitive: bool) -> None:
    assert is_primitive(polynomial) is primitive


@pytest.mark.parametrize("seed", [0, 5])
def test_each_dimension_puts_one_point_in_each_interval(seed: int) -> None:
    points = sobol(256, 32, seed)
    assert points.min() > 0 and points.max() < 1
    cells = np.sort((points * 256).astype(int), axis=0)
    assert np.array_equal(cells, np.repeat(np.arange(256)[:, None], 32, axis=1))


def test_supercube_keeps_each_dimension_even_and_pairs_uncorrelated() -> None:
    points = supercube(1024, 200, 3)
    cells = np.sort((points * 1024).astype(int), axis=0)
    assert np.array_equal(cells, np.repeat(np.arange(1024)[:, None], 200, axis=1))
    correlation = np.corrcoef(points.T) - np.eye(200)
    assert np.abs(correlation).max() < 0.17  # five standard deviations of chance are 0.16


def test_integrates_like_scipys() -> None:
    from scipy.stats import qmc

    def g(u: np.ndarray) -> float:
        a = np.array([0, 1, 4.5, 9, 99, 99, 99, 99])
        return float(np.mean(np.prod((np.abs(4 * u - 2) + a) / (1 + a), axis=1)))

    ours = [abs(g(sobol(2048, 8, seed)) - 1) for seed in range(8)]
    theirs = [abs(g(qmc.Sobol(8, seed=seed).random(2048)) - 1) for seed in range(8)]
    random = [abs(g(np.random.default_rng(seed).random((2048, 8))) - 1) for seed in range(8)]
    assert np.mean(ours) < 3 * np.mean(theirs)
    assert np.mean(ours) < np.mean(random) / 3


def test_too_many_dimensions() -> None:
    with pytest.raises(ValueError, match="dimensions"):
        sobol(16, 33)
