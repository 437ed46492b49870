"""Small searches that tests share."""

from __future__ import annotations

from tapeout.model import load
from tapeout.search.explore import Effort
from tapeout.search.points import points
from tapeout.search.problem import Problem
from tapeout.search.scenario import Scenario
from tapeout.search.space import Space

TINY = Effort(chunk=96, sampled=3, rounds=2, refined=2)


def small(model: str = "gpt-oss-20b", **changes: object) -> Problem:
    """A search that takes a fraction of a second."""
    m = load(model)
    fields: dict[str, object] = {
        "model": m,
        "scenario": Scenario(),
        "space": Space(),
        "points": points(m, largest=4, batches=(1, 16, 256)),
    }
    return Problem(**(fields | changes))  # type: ignore[arg-type]
