"""Quantiles of a stream in constant memory and with a bounded relative error (DDSketch, arXiv 1908.10693)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray


class Sketch:
    """Counts in logarithmic bins: any quantile is within `accuracy` (relative) of a sample of that rank.

    Values at or below `smallest` share the lowest bin.
    """

    smallest = 1e-9

    def __init__(self, accuracy: float = 1e-3, largest: float = 1e9) -> None:
        self.gamma = (1 + accuracy) / (1 - accuracy)
        self._log = math.log(self.gamma)
        size = math.ceil(math.log(largest / self.smallest) / self._log) + 2
        self.counts: NDArray[np.int64] = np.zeros(size, np.int64)
        self.count, self.total = 0, 0.0
        self.low, self.high = math.inf, -math.inf

    def add(self, values: Iterable[float] | NDArray[np.float64]) -> None:
        """Count `values` in."""
        v = np.asarray(values if isinstance(values, np.ndarray) else list(values), float)
        if not v.size:
            return
        bins = np.ceil(np.log(np.maximum(v, self.smallest) / self.smallest) / self._log).astype(np.int64)
        np.add.at(self.counts, np.clip(bins, 0, len(self.counts) - 1), 1)
        self.count += v.size
        self.total += float(v.sum())
        self.low, self.high = min(self.low, float(v.min())), max(self.high, float(v.max()))

    @property
    def mean(self) -> float:
        """Exact mean; NaN if empty."""
        return self.total / self.count if self.count else math.nan

    def quantile(self, q: float) -> float:
        """The value of rank q (0 to 1); NaN if empty."""
        if not self.count:
            return math.nan
        rank = min(int(q * self.count), self.count - 1)
        index = int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))
        middle = self.smallest * self.gamma**index * 2 / (1 + self.gamma)
        return min(max(middle, self.low), self.high)
