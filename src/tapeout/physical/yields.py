"""Yield and dies per wafer."""

from __future__ import annotations

import numpy as np

from tapeout.physical.views import Number


def negative_binomial(area_mm2: Number, defects_per_cm2: Number, alpha: Number) -> Number:
    """Share of good dies: (1 + A·D0/α)^-α (Stapper, 1973); tends to exp(-A·D0) as α grows."""
    return (1 + np.asarray(area_mm2) / 100 * defects_per_cm2 / alpha) ** -np.asarray(alpha, float)


def harvested(
    core_mm2: Number, cores: int, spares: int, rest_mm2: Number, defects_per_cm2: Number, alpha: Number
) -> Number:
    """Share of dies of which at least `cores - spares` of `cores` cores, and all the rest, are good.

    Exact for clustered defects: the negative binomial is a Poisson process whose density is gamma-distributed
    over dies, so cores are independent at a given density and the integral over it has a closed form.
    Raises ValueError where the alternating sum would lose its digits (more than 16 spares).
    """
    from math import comb

    if not 0 <= spares <= min(cores, 16):
        raise ValueError(f"spares {spares} of {cores} cores")

    # P(exactly k cores bad | density) = C(n,k) (1-p)^k p^(n-k), p = exp(-core·D); expanding (1-p)^k gives terms
    # exp(-(core·(n-k+j) + rest)·D), whose mean over the gamma is the negative binomial of that area.
    good: Number = 0.0
    for k in range(spares + 1):
        for j in range(k + 1):
            sign = -1.0 if j % 2 else 1.0
            tested = np.asarray(core_mm2) * (cores - k + j) + rest_mm2
            good = good + sign * comb(cores, k) * comb(k, j) * negative_binomial(
                tested, defects_per_cm2, alpha
            )
    return np.clip(good, 0.0, 1.0)


def dies_per_wafer(
    width_mm: Number,
    height_mm: Number,
    diameter_mm: Number = 300.0,
    edge_mm: Number = 3.0,
    scribe_mm: Number = 0.1,
) -> Number:
    """Whole dies on a wafer, by counting: rows of dies each as long as their chord, for the better of a grid
    centred on a street and one centred on a die vertically. Shapes broadcast."""
    w, h = np.asarray(width_mm, float) + scribe_mm, np.asarray(height_mm, float) + scribe_mm
    radius = np.asarray(diameter_mm, float) / 2 - edge_mm
    most = int(np.ceil(np.max(2 * radius / h))) + 1 if np.size(h) else 0
    if most > 2000 or not np.all(np.isfinite(h)):  # dies below 0.15 mm: area ratio is exact enough
        return np.floor(np.pi * radius**2 / (w * h))
    on_street: Number = 0.0
    on_die = np.floor(2 * np.sqrt(np.maximum(radius**2 - (h / 2) ** 2, 0)) / w)
    for row in range(most // 2 + 1):
        far = (row + 1) * h  # outer edge of the row above a street through the centre
        on_street = on_street + 2 * np.floor(2 * np.sqrt(np.maximum(radius**2 - far**2, 0)) / w)
        far = (row + 1.5) * h  # the next row above a row through the centre
        on_die = on_die + 2 * np.floor(2 * np.sqrt(np.maximum(radius**2 - far**2, 0)) / w)
    return np.maximum(on_street, on_die)
