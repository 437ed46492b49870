"""Synthetic load: arrival processes and length distributions, drawn by seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapeout.errors import InputError
from tapeout.serving.requests import Floats, Integers, Requests


@dataclass(frozen=True)
class Lengths:
    """Token counts: `fixed`, `geometric`, `lognormal` (of coefficient of variation `cv`) or `uniform`
    over [low × mean, (2 - low) × mean], or over [low × mean, mean] when `below` (the convention of the
    serving benchmarks: nominal lengths are upper ends)."""

    mean: float
    family: Literal["fixed", "geometric", "lognormal", "uniform"] = "fixed"
    cv: float = 1.0
    low: float = 0.8
    below: bool = False

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        """[count] token counts, at least 1."""
        if not 1 <= self.mean <= 1e8 or not 0 <= self.cv <= 100 or not 0 <= self.low <= 1:
            raise InputError("lengths", "mean, cv, low", (self.mean, self.cv, self.low), "1–1e8, 0–100, 0–1")
        if self.family == "geometric":
            return rng.geometric(1 / self.mean, count).astype(np.int64)
        if self.family == "lognormal":
            sigma2 = math.log1p(self.cv**2)
            drawn = rng.lognormal(math.log(self.mean) - sigma2 / 2, math.sqrt(sigma2), count)
        elif self.family == "uniform":
            high = 1.0 if self.below else 2 - self.low
            drawn = self.mean * rng.uniform(self.low, high, count)
        else:
            drawn = np.full(count, self.mean)
        return np.maximum(np.rint(drawn), 1).astype(np.int64)


@dataclass(frozen=True)
class Diurnal:
    """A daily rhythm: rate(t) = mean × (1 + swing × cos(2π (t - peak) / day)), swing from 0 to 1."""

    swing: float = 0.4
    peak_hour: float = 14.0
    day: float = 86_400.0

    def factor(self, seconds: Floats) -> Floats:
        """The rate at `seconds` over the mean rate."""
        return 1 + self.swing * np.cos(2 * math.pi * (seconds - self.peak_hour * 3600) / self.day)


def poisson(
    count: int, rate: float, prompt: Lengths, output: Lengths, seed: int = 0, diurnal: Diurnal | None = None
) -> Requests:
    """`count` requests of a Poisson process of mean `rate` per second; with `diurnal`, an inhomogeneous one
    (by inversion of the cumulative rate)."""
    if not rate > 0 or count < 0:
        raise InputError("load", "rate, count", (rate, count), "a rate above 0 and a count from 0")
    rng = np.random.default_rng(seed)
    arrival = np.cumsum(rng.exponential(1 / rate, count))
    if diurnal is not None and count:
        arrival = _warp(arrival, diurnal)
    return Requests(arrival, prompt.draw(count, rng), output.draw(count, rng), source="poisson")


def stream(
    count: int, rate: float, prompt: Lengths, output: Lengths, seed: int = 0, chunk: int = 65_536
) -> Iterator[tuple[float, int, int, int, tuple[int, ...]]]:
    """The rows of a Poisson load drawn `chunk` requests at a time: any length in bounded memory."""
    start, number = 0.0, 0
    while count > 0:
        size = min(count, chunk)
        part = poisson(size, rate, prompt, output, seed=seed + 1_000_003 * number)
        for arrival, *rest in part.rows():
            yield (start + arrival, *rest)  # type: ignore[misc]
        start += float(part.arrival[-1])
        count, number = count - size, number + 1


def _warp(uniform: Floats, diurnal: Diurnal) -> Floats:
    """Times at which the cumulative rate reaches `uniform` seconds' worth of the mean rate."""
    horizon = float(uniform[-1]) + diurnal.day
    grid = np.linspace(0, horizon, max(int(horizon / diurnal.day * 1440), 2) + 1)
    middle = diurnal.factor((grid[1:] + grid[:-1]) / 2)
    cumulative = np.concatenate([[0.0], np.cumsum(middle * np.diff(grid))])
    return np.interp(uniform, cumulative, grid)


@dataclass(frozen=True)
class ClosedLoop:
    """`clients` that each send a request, wait for its end, think, and send the next: `count` in all."""

    clients: int
    count: int
    prompt: Lengths
    output: Lengths
    think_seconds: float = 0.0
    seed: int = 0

    def requests(self) -> Requests:
        """The requests in order of sending; arrival times are set by the simulation."""
        if self.clients < 1 or self.count < 0 or not 0 <= self.think_seconds < 1e9:
            found = (self.clients, self.count, self.think_seconds)
            raise InputError("closed loop", "clients, count, think_seconds", found, "at least 1, 0 and 0")
        rng = np.random.default_rng(self.seed)
        prompt, output = self.prompt.draw(self.count, rng), self.output.draw(self.count, rng)
        return Requests(np.zeros(self.count), prompt, output, source=f"closed loop of {self.clients}")
