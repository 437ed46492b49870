"""Prediction intervals from held-out errors (conformal prediction).

A prediction of something like the calibration's held-out rows errs as they did: the interval around it spans the
quantiles of log(measured / predicted) of the protocol that resembles it: new configurations of a known
accelerator and model, a new model, or a new accelerator. The last is the one for a chip of ours, an
accelerator that nobody has measured yet. (Vovk et al., Algorithmic learning in a random world, 2005; split conformal,
Lei et al., JASA 2018.)
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Metric = Literal["tpot", "ttft", "joules"]
Protocol = Literal["configuration", "model", "accelerator", "accelerator and model"]
LEVEL = 0.8
NAME = "validation.json"  # beside the fitted parameters, written with them
GRID = tuple(round(0.01 * i, 2) for i in range(1, 100))  # quantiles kept of each protocol's errors


@dataclass(frozen=True, eq=False)
class Interval:
    """A prediction with the interval that contains the truth with probability `level`."""

    value: Any
    low: Any
    high: Any
    level: float
    protocol: str

    def __str__(self) -> str:
        return f"{float(self.value):.4g} ({float(self.low):.4g} to {float(self.high):.4g})"


def conformal(residuals: Array, level: float = LEVEL) -> tuple[float, float]:
    """(low, high) quantiles of log(measured / predicted) that a new such residual lies between with probability
    at least `level`, whatever their distribution, if it is exchangeable with them."""
    ordered = np.sort(residuals[np.isfinite(residuals)])
    n = len(ordered)
    if n == 0:
        return -np.inf, np.inf
    tail = (1 - level) / 2
    low = int(np.floor(tail * (n + 1))) - 1
    high = int(np.ceil((1 - tail) * (n + 1))) - 1
    return (
        float(ordered[low]) if low >= 0 else -np.inf,
        float(ordered[high]) if high < n else np.inf,
    )


def effective_level(residuals: Array, fold: NDArray[Any], level: float = LEVEL) -> float:
    """The nominal level whose intervals, made from the other folds, contain `level` of the residuals.

    Residuals of a fold are alike (one architecture, one accelerator), so exchangeability holds between folds
    rather than between rows, and the nominal level covers too little: this is how much more to ask for.
    """
    if len(np.unique(fold)) < 3:
        return level
    for nominal in np.linspace(level, 0.99, 39):
        if _plain_coverage(residuals, fold, float(nominal)) >= level:
            return float(nominal)
    return 0.99


def coverage(residuals: Array, fold: NDArray[Any], level: float = LEVEL) -> float:
    """Share of residuals inside the interval made from all other folds, the effective level found there too."""
    inside = np.zeros(len(residuals), dtype=bool)
    for f in np.unique(fold):
        here = fold == f
        rest = residuals[~here]
        low, high = conformal(rest, effective_level(rest, fold[~here], level))
        inside[here] = (residuals[here] >= low) & (residuals[here] <= high)
    return float(inside.mean()) if len(inside) else float("nan")


def _plain_coverage(residuals: Array, fold: NDArray[Any], level: float) -> float:
    inside = 0
    for f in np.unique(fold):
        here = fold == f
        low, high = conformal(residuals[~here], level)
        inside += int(((residuals[here] >= low) & (residuals[here] <= high)).sum())
    return inside / len(residuals)


@dataclass(frozen=True)
class Intervals:
    """Quantiles of held-out log errors, by metric and protocol, at the probabilities of `GRID`."""

    quantiles: Mapping[str, Mapping[str, Sequence[float]]]

    def factors(self, metric: str, protocol: str, level: float = LEVEL) -> tuple[float, float]:
        """(low, high) factors to multiply a prediction by. Where both accelerator and model are new, the two widths
        add up as independent errors do."""
        if protocol == "accelerator and model":
            both = np.log([self.factors(metric, p, level) for p in ("accelerator", "model")])
            width = np.sqrt((both**2).sum(axis=0))
            return float(np.exp(-width[0])), float(np.exp(width[1]))
        table = self.quantiles[metric]
        kept = table.get(protocol) or table["configuration"]
        tail = (1 - level) / 2
        low, high = np.interp([tail, 1 - tail], GRID, kept)
        return float(np.exp(low)), float(np.exp(high))

    def around(
        self, value: Any, metric: Metric, protocol: Protocol = "accelerator", level: float = LEVEL
    ) -> Interval:
        """The interval around `value` (an array or a number). Raises KeyError for an unknown metric.

        >>> wide = Intervals({"tpot": {"accelerator": [i / 100 - 0.5 for i in range(1, 100)]}})
        >>> str(wide.around(10.0, "tpot"))
        '10 (6.703 to 14.92)'
        """
        low, high = self.factors(metric, protocol, level)
        return Interval(value, np.asarray(value) * low, np.asarray(value) * high, level, protocol)


@lru_cache(maxsize=1)
def shipped() -> Intervals:
    """The intervals that the shipped calibration's held-out errors support."""
    text = files("tapeout.estimate.fits").joinpath(NAME).read_text(encoding="utf-8")
    return Intervals(json.loads(text)["quantiles"])


def quantiles_of(residuals: Array, fold: NDArray[Any] | None = None) -> list[float]:
    """The quantiles that are kept, with the finite-sample correction of `conformal` and, where the `fold` of each
    residual is given, spread so that folds unlike the others are covered too (see `effective_level`)."""
    known = np.isfinite(residuals)
    kept = residuals[known]
    n = len(kept)
    spread = 1.0 if fold is None else effective_level(kept, fold[known]) / LEVEL
    probabilities = [min(max(0.5 + (p - 0.5) * spread * (n + 1) / n, 0.0), 1.0) for p in GRID]
    return [float(q) for q in np.quantile(kept, probabilities)]


def shipped_summary() -> dict[str, Any]:
    """The shipped calibration's held-out errors: `table`, `groups`, `quantiles` (see `validation.summary`)."""
    text = files("tapeout.estimate.fits").joinpath(NAME).read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found
