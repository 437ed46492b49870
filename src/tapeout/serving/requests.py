"""The load: requests with arrival times, lengths, and what they share with earlier ones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Requests:
    """`n` requests in order of arrival.

    arrival: [n] seconds from the start, not decreasing. prompt, output: [n] tokens, at least 1.
    priority: [n], lower goes first; None: all equal. prefixes: for each request the ids of its leading full
    blocks of `prefix_block` tokens (equal ids mean equal tokens up to there); None: nothing is shared.
    """

    arrival: Floats
    prompt: Integers
    output: Integers
    priority: Integers | None = None
    prefixes: Sequence[tuple[int, ...]] | None = None
    prefix_block: int = 512
    source: str = "requests"

    def __post_init__(self) -> None:
        n = len(self.arrival)
        for name, column in (("prompt", self.prompt), ("output", self.output)):
            if len(column) != n:
                raise InputError(self.source, name, len(column), f"{n} entries, one per request")
            if n and (wrong := np.flatnonzero(column < 1)).size:
                raise InputError(
                    self.source, f"{name}[{wrong[0]}]", int(column[wrong[0]]), "at least 1 token"
                )
        if not np.all(np.isfinite(self.arrival)):
            row = int(np.flatnonzero(~np.isfinite(self.arrival))[0])
            raise InputError(self.source, f"arrival[{row}]", float(self.arrival[row]), "a finite time")
        if n and (late := np.flatnonzero(np.diff(self.arrival) < 0)).size:
            row = int(late[0]) + 1
            raise InputError(self.source, f"arrival[{row}]", float(self.arrival[row]), "times in order")

    def __len__(self) -> int:
        return len(self.arrival)

    @property
    def duration(self) -> float:
        """Seconds from the first arrival to the last."""
        return float(self.arrival[-1] - self.arrival[0]) if len(self) else 0.0

    @property
    def rate(self) -> float:
        """Mean requests per second over the span of the arrivals."""
        return (len(self) - 1) / self.duration if self.duration else float("inf")

    def take(self, count: int) -> Requests:
        """The first `count` requests."""
        return self._select(slice(0, count))

    def scaled(self, factor: float) -> Requests:
        """The same requests arriving `factor` times as fast: the usual way to load a trace up or down."""
        if not factor > 0:
            raise InputError(self.source, "rate scale", factor, "a number above 0")
        return replace(self, arrival=(self.arrival - self.arrival[:1]) / factor)

    def repeated(self, times: int) -> Requests:
        """The trace `times` over, one copy after the other at the mean gap; prefixes stay shared."""
        gap = self.duration + (1 / self.rate if self.duration else 0.0)
        return replace(
            self,
            arrival=np.concatenate([self.arrival - self.arrival[:1] + i * gap for i in range(times)]),
            prompt=np.tile(self.prompt, times),
            output=np.tile(self.output, times),
            priority=None if self.priority is None else np.tile(self.priority, times),
            prefixes=None if self.prefixes is None else list(self.prefixes) * times,
        )

    def _select(self, rows: slice) -> Requests:
        return replace(
            self,
            arrival=self.arrival[rows],
            prompt=self.prompt[rows],
            output=self.output[rows],
            priority=None if self.priority is None else self.priority[rows],
            prefixes=None if self.prefixes is None else self.prefixes[rows],
        )

    def rows(self) -> Iterator[tuple[float, int, int, int, tuple[int, ...]]]:
        """(arrival, prompt, output, priority, prefix) as plain Python numbers, which are several times as
        quick to compute with as NumPy scalars."""
        n = len(self)
        priority = [0] * n if self.priority is None else self.priority.tolist()
        prefixes: Sequence[tuple[int, ...]] = [()] * n if self.prefixes is None else self.prefixes
        return zip(
            self.arrival.tolist(), self.prompt.tolist(), self.output.tolist(), priority, prefixes, strict=True
        )

    def summary(self) -> dict[str, Any]:
        """The load in a few figures."""
        return {
            "requests": len(self),
            "seconds": self.duration,
            "requests_per_second": self.rate if self.duration else None,
            "prompt_tokens_mean": float(self.prompt.mean()) if len(self) else None,
            "output_tokens_mean": float(self.output.mean()) if len(self) else None,
        }
