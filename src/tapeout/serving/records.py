"""What came of the requests: one row each, as columns, and the figures drawn from them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.files import write_atomic
from tapeout.search.store import to_parquet
from tapeout.serving.sequence import Sequence
from tapeout.serving.sketch import Sketch
from tapeout.serving.slo import Objective

COLUMNS: dict[str, type] = {
    "request": np.int64,
    "arrival_s": np.float64,
    "first_token_s": np.float64,
    "finish_s": np.float64,
    "prompt_tokens": np.int64,
    "output_tokens": np.int64,
    "cached_tokens": np.int64,
    "preemptions": np.int64,
    "retries": np.int64,
    "replica": np.int64,
}
FLUSH = 65_536


@dataclass
class Recorder:
    """Counts finished requests into sketches, and keeps their rows where asked to (`rows`)."""

    objectives: tuple[Objective, ...] = ()
    keep: bool = True
    finished: int = 0
    good: int = 0  # met every objective's limit, each request by itself
    output_tokens: int = 0
    good_tokens: int = 0
    prompt_tokens: int = 0
    last_finish: float = 0.0
    ttft: Sketch = field(default_factory=Sketch)
    tpot: Sketch = field(default_factory=Sketch)
    e2e: Sketch = field(default_factory=Sketch)
    _buffer: list[tuple[float, ...]] = field(default_factory=list)
    _kept: list[NDArray[np.float64]] = field(default_factory=list)

    def add(self, sequence: Sequence, finish: float) -> None:
        """A request has finished."""
        s = sequence
        self._buffer.append(
            (
                s.index, s.arrival, s.first_token, finish, s.prompt, s.output, s.cached_tokens,
                s.preemptions, s.retries, s.replica,
            )
        )  # fmt: skip
        if len(self._buffer) >= FLUSH:
            self.flush()

    def flush(self) -> None:
        """Move the buffered rows into the sketches."""
        if not self._buffer:
            return
        rows = np.array(self._buffer, dtype=np.float64)
        self._buffer.clear()
        times = latencies(rows)
        good = np.ones(len(rows), bool)
        for o in self.objectives:
            with np.errstate(invalid="ignore"):
                good &= ~(times[o.metric] > o.limit)  # a single-token request has no TPOT to miss
        for name, values in times.items():
            getattr(self, name).add(values[np.isfinite(values)])
        self.finished += len(rows)
        self.good += int(good.sum())
        self.prompt_tokens += int(rows[:, 4].sum())
        self.output_tokens += int(rows[:, 5].sum())
        self.good_tokens += int(rows[good, 5].sum())
        self.last_finish = max(self.last_finish, float(rows[:, 3].max()))
        if self.keep:
            self._kept.append(rows)

    def rows(self) -> dict[str, NDArray[Any]]:
        """The kept rows as columns, by request. Empty unless `keep`."""
        self.flush()
        table = np.concatenate(self._kept) if self._kept else np.zeros((0, len(COLUMNS)))
        table = table[np.argsort(table[:, 0], kind="stable")]
        return {name: table[:, i].astype(kind) for i, (name, kind) in enumerate(COLUMNS.items())}

    def statistic(self, objective: Objective) -> float:
        """The measured value that `objective` limits, seconds."""
        sketch: Sketch = getattr(self, objective.metric)
        if objective.statistic == "mean":
            return sketch.mean
        return sketch.quantile(float(objective.statistic[1:]) / 100)

    def write_parquet(self, path: Path) -> None:
        """The kept rows as a Parquet file."""
        write_atomic(path, to_parquet(self.rows()))


def latencies(rows: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """Time to first token, time per output token after it (NaN for one-token answers) and end to end,
    seconds, of rows in the order of COLUMNS."""
    arrival, first, finish, output = rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 5]
    with np.errstate(invalid="ignore", divide="ignore"):
        tpot = np.where(output > 1, (finish - first) / (output - 1), np.nan)
    return {"ttft": first - arrival, "tpot": tpot, "e2e": finish - arrival}
