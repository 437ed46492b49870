"""What a simulated program spent its cycles with: by engine, by operator, by instruction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import spec
from tapeout.chip.isa.definition import Engine
from tapeout.simulator.cycle import native


@dataclass(frozen=True)
class EngineTime:
    """Cycles of one engine: `active` (moves data or computes), `fill` (its own pipeline), `memory` (waits for an
    answer or for a place among the requests), `bank` (waits for the scratchpad), `tokens` (waits for another engine,
    by its name), `queue` (nothing is dispatched to it; of the sequencer: a queue is full)."""

    active: int
    fill: int
    memory: int
    bank: int
    tokens: dict[str, int]
    queue: int


@dataclass(frozen=True, eq=False)
class Timeline:
    """A finished run. `engines`: by name. `table` int64 [operators + 1, native.COLUMNS]: cycles of each kind and
    counts, by operator, the last row for what belongs to none; the kinds of all rows add up to `cycles`. `records`
    of `native.RECORD`, `samples` int32 [windows of `window` cycles, native.SAMPLES]: if asked for."""

    core: spec.Core
    code: NDArray[np.uint64]
    cycles: int
    instructions: int
    words_loaded: int
    words_stored: int
    words_fetched: int
    engines: dict[str, EngineTime]
    table: NDArray[np.int64]
    records: NDArray[Any]
    samples: NDArray[np.int32]
    window: int

    @staticmethod
    def of(core: spec.Core, code: NDArray[np.uint64], ran: native.Ran, window: int) -> Timeline:
        """From what the native model counted."""
        t, engines = ran.totals, {}
        for e in Engine:
            by = dict(zip(native.REASONS, t.reasons[e], strict=True))
            tokens = {o.name.lower(): by[f"token of {o.name.lower()}"] for o in Engine}
            engines[e.name.lower()] = EngineTime(
                by["active"], by["fill"], by["memory"], by["bank"], tokens, by["queue"]
            )
        return Timeline(
            core, code, t.cycles, t.instructions, t.load_beats, t.store_beats, t.fetch_beats, engines, ran.table,
            ran.records, ran.samples, window,
        )  # fmt: skip

    def column(self, name: str) -> NDArray[np.int64]:
        """A column of the table, int64 [operators + 1]."""
        return self.table[:, native.COLUMNS.index(name)]

    @property
    def operator_cycles(self) -> NDArray[np.int64]:
        """Cycles of each operator, int64 [operators + 1]: those in which the oldest instruction not done was its."""
        total: NDArray[np.int64] = self.table[:, : len(native.CYCLES)].sum(axis=1)
        return total

    @property
    def matrix_share(self) -> float:
        """Of the matrix engine's peak: rows that met a beat of weights, of all rows in all cycles."""
        return float(self.column("row_beats").sum()) / (self.core.matrix.rows * max(self.cycles, 1))

    @property
    def memory_share(self) -> float:
        """Words loaded per cycle: the share of the port's read bandwidth."""
        return self.words_loaded / max(self.cycles, 1)
