"""Where the cycles went: by operator the shares of matrix peak and memory bandwidth, and what the rest waited for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tapeout.compiler.program import Operator
from tapeout.simulator.cycle import native
from tapeout.simulator.cycle.timeline import Timeline


@dataclass(frozen=True)
class Use:
    """Of one operator: `cycles` in which its instruction was the oldest not done. `matrix`: rows of the engine that met
    a beat of weights, `memory`: words of the port that were read, of as many as there could have been. `kinds`: cycles
    by the first that holds of: a beat of the matrix engine, a word of memory, a beat of the vector engine, waiting
    for a bank of the scratchpad, for memory's latency, for engines to fill and drain, for the sequencer."""

    operator: str
    cycles: int
    matrix: float
    memory: float
    kinds: dict[str, int]


@dataclass(frozen=True)
class Utilisation:
    """The whole, by operator (layers together) in the order of the program, by layer, and by engine."""

    total: Use
    operators: tuple[Use, ...]
    layers: tuple[Use, ...]
    engines: dict[str, dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def text(self) -> str:
        """A table."""
        kinds = native.CYCLES
        head = f"{'operator':<24}{'cycles':>12}{'share':>7}{'matrix':>8}{'memory':>8}"
        lines = [head + "  of its cycles: " + " ".join(f"{k:>9}" for k in kinds)]
        for u in (*self.operators, self.total):
            share = 100 * u.cycles / max(self.total.cycles, 1)
            spent = " ".join(f"{100 * u.kinds[k] / max(u.cycles, 1):8.1f}%" for k in kinds)
            lines.append(
                f"{u.operator[:23]:<24}{u.cycles:>12,}{share:>6.1f}%{100 * u.matrix:>7.1f}%{100 * u.memory:>7.1f}%"
                f"{'':<17}{spent}"
            )
        return "\n".join(lines)


def utilisation(timeline: Timeline, operators: Sequence[Operator]) -> Utilisation:
    """Of a timeline that was simulated with the numbers of `operators` as origin."""
    rows = [*operators, Operator(None, "other")]

    def use(name: str, which: list[int]) -> Use:
        sums = dict(zip(native.COLUMNS, timeline.table[which].sum(axis=0).tolist(), strict=True))
        kinds = {k: int(sums[k]) for k in native.CYCLES}
        cycles = sum(kinds.values())
        peak = timeline.core.matrix.rows * max(cycles, 1)
        return Use(name, cycles, sums["row_beats"] / peak, sums["words_loaded"] / max(cycles, 1), kinds)

    def by(key: Any) -> tuple[Use, ...]:
        groups: dict[str, list[int]] = {}
        for i, row in enumerate(rows):
            groups.setdefault(key(row), []).append(i)
        found = (use(name, which) for name, which in groups.items())
        return tuple(u for u in found if u.cycles)

    def layer(o: Operator) -> str:
        return "outside the layers" if o.layer is None else f"layer {o.layer}"

    return Utilisation(
        use("total", list(np.arange(len(rows)))), by(lambda o: o.name), by(layer),
        {name: asdict(e) for name, e in timeline.engines.items()},
    )  # fmt: skip
