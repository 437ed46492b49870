"""The question a search answers, and how one chunk of designs is evaluated for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout import __version__
from tapeout.chip.designs import Designs
from tapeout.chip.spec import MATRIX_FORMATS, MEMORY_KINDS, NODES, PACKAGES
from tapeout.chip.toml import to_table
from tapeout.estimate.chip_work import chip_formats
from tapeout.model.architecture import Model
from tapeout.search.judge import Verdict, Work, best_points, service_of
from tapeout.search.owning import Owning
from tapeout.search.points import Points
from tapeout.search.scenario import Objective, Scenario
from tapeout.search.silicon import Silicon, silicon_of
from tapeout.search.space import Indices, Space
from tapeout.search.store import Table

# What the front is of: column of the table, and its sign.
OBJECTIVE_COLUMNS: tuple[tuple[str, float], ...] = (
    ("tokens_per_joule", 1.0),
    ("tokens_per_dollar", 1.0),
    ("tokens_per_s", 1.0),
    ("least_tpot_ms", -1.0),
)
MERIT_COLUMN: dict[str, tuple[str, float]] = {
    "tokens_per_joule": ("tokens_per_joule", 1.0),
    "tokens_per_dollar": ("tokens_per_dollar", 1.0),
    "tokens_per_chip": ("tokens_per_s", 1.0),
    "latency": ("tpot_ms", -1.0),
}


@dataclass(frozen=True, eq=False)
class Problem:
    """Which chip of `space` serves `model` in `scenario` best, drawing at most `max_watts`."""

    model: Model
    scenario: Scenario
    space: Space
    points: Points
    objective: Objective = "tokens_per_joule"
    max_watts: float = 1000.0
    owning: Owning = field(default_factory=Owning)
    seed: int = 0
    seeds: Indices | None = None
    _works: dict[int, Work] = field(default_factory=dict)

    def question(self) -> dict[str, Any]:
        """All that the answer depends on, as plain values."""
        return {
            "version": __version__,
            "model": repr(self.model),
            "scenario": self.scenario.as_dict(),
            "space": {k: v for k, v in vars(self.space).items() if k != "base"} | to_table(self.space.base),
            "points": {k: np.asarray(v).tolist() for k, v in vars(self.points).items()},
            "objective": self.objective,
            "max_watts": self.max_watts,
            "owning": vars(self.owning),
            "seed": self.seed,
        }

    def evaluations(self, designs: int) -> int:
        """Design × operating point evaluations in `designs` designs: decoding at every point, prefill at every
        split."""
        return designs * (len(self.points) + len(self.points.tp))

    def work(self, designs: Designs) -> Work:
        """The work in the formats that the engines of `designs`, all alike, take."""
        mask = int(designs.formats[0])
        if mask not in self._works:
            formats = chip_formats(self.model, designs.spec(0))
            self._works[mask] = Work.of(self.model, self.scenario, self.points, formats)
        return self._works[mask]

    def merit(self, table: Table) -> NDArray[np.float64]:
        """What the objective maximises, for each row; minus infinity where a limit or target is not met."""
        name, sign = MERIT_COLUMN[self.objective]
        values = np.asarray(table[name], dtype=float) * sign
        return np.where(table["meets"], values, -np.inf)


def evaluate(problem: Problem, indices: Indices) -> Table:
    """One row for each design: what it is, what it costs, how it serves at its best point."""
    designs = problem.space.designs(indices)
    silicon = silicon_of(designs, max_watts=problem.max_watts)
    table = design_columns(designs) | silicon.columns()
    n = len(designs)
    point = np.full(n, -1, dtype=np.int32)
    figures = {name: np.full(n, np.nan, dtype=np.float32) for name in FIGURES}
    fits, meets = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    excess = (
        silicon.excess.astype(np.float64) + 1e6
    )  # a design that cannot be built is farther than any other
    buildable = silicon.excess <= 1
    for mask in np.unique(designs.formats[buildable]):
        rows = np.flatnonzero(buildable & (designs.formats == mask))
        v = judge(problem, designs[rows], silicon.take(rows))
        fits[rows], meets[rows], point[rows] = v.fits, v.meets, v.point
        excess[rows] = v.excess
        for name, values in figure_columns(v).items():
            figures[name][rows] = np.where(v.fits, values, np.nan)
    p = problem.points
    split, batch = np.divmod(np.maximum(point, 0), len(p.batches))
    at = {
        k: np.where(fits, getattr(p, k)[split], 0).astype(np.int32)
        for k in ("tp", "ep", "pp", "attention_dp")
    }
    at["batch"] = np.where(fits, p.batches[batch], 0).astype(np.int32)
    return table | at | figures | {"fits": fits, "meets": meets, "excess": excess}


def judge(problem: Problem, designs: Designs, silicon: Silicon) -> Verdict:
    """The verdict on designs whose engines take the same formats."""
    work = problem.work(designs)
    service, fits = service_of(silicon.arrays, work, problem.scenario)
    capital = problem.owning.capital(silicon.unit_dollars)[:, None]
    # A chip is cooled and fed for its design power, wherever it works below that.
    provisioned = silicon.design_watts[:, None]
    return best_points(
        service,
        fits,
        problem.scenario,
        problem.objective,
        lambda watts: problem.owning.dollars_per_hour(capital, provisioned, watts),
    )


FIGURES = (
    "tpot_ms", "ttft_ms", "tokens_per_s", "tokens_per_joule", "watts", "dollars_per_hour", "tokens_per_dollar",
    "least_tpot_ms",
)  # fmt: skip


def figure_columns(v: Verdict) -> dict[str, NDArray[Any]]:
    """The figures of a verdict, as columns."""
    return {
        "tpot_ms": v.tpot_s * 1e3,
        "ttft_ms": v.ttft_s * 1e3,
        "tokens_per_s": v.tokens_per_s,
        "tokens_per_joule": v.tokens_per_joule,
        "watts": v.watts,
        "dollars_per_hour": v.dollars_per_hour,
        "tokens_per_dollar": v.tokens_per_dollar,
        "least_tpot_ms": v.least_tpot_s * 1e3,
    }


def design_columns(d: Designs) -> Table:
    """The knobs of designs in words and numbers, as columns."""
    masks = {m: "+".join(f for i, f in enumerate(MATRIX_FORMATS) if m >> i & 1) for m in range(16)}
    return {
        "node": np.array(NODES)[d.node],
        "clock_ghz": d.clock_ghz.astype(np.float32),
        "cores": d.cores.astype(np.int32),
        "rows": d.rows.astype(np.int32),
        "columns": d.columns.astype(np.int32),
        "formats": np.array([masks[int(m)] for m in d.formats]),
        "double_rate_fp4": d.double_rate_fp4,
        "vector_lanes": d.vector_lanes.astype(np.int32),
        "scratchpad_kibibytes": d.scratchpad_kibibytes.astype(np.int32),
        "scratchpad_banks": d.scratchpad_banks.astype(np.int32),
        "scratchpad_word_bytes": d.scratchpad_word_bytes.astype(np.int32),
        "port_bytes": d.port_bytes.astype(np.int32),
        "noc_bytes_per_cycle": d.noc_bytes_per_cycle.astype(np.int32),
        "memory": np.array(MEMORY_KINDS)[d.memory_kind],
        "stacks": d.stacks.astype(np.int32),
        "gibibytes_per_stack": d.gibibytes_per_stack.astype(np.int32),
        "scale_up_lanes": d.scale_up_lanes.astype(np.int32),
        "gigabits_per_lane": d.gigabits_per_lane.astype(np.int32),
        "package": np.array(PACKAGES)[d.package],
        "dies": d.dies.astype(np.int32),
    }
