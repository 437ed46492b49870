"""Service-level objectives, as people write them: "ttft p99 < 1s, tpot p99 < 30ms"."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tapeout.errors import InputError

UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "min": 60.0}
METRICS = ("ttft", "tpot", "e2e")
_TERM = re.compile(r"^(\w+)\s+(p\d{1,2}(?:\.\d+)?|mean)\s*<=?\s*([\d.eE+-]+)\s*(\w+)$")


@dataclass(frozen=True)
class Objective:
    """One limit: `statistic` (p99, mean) of `metric` stays below `limit` seconds."""

    metric: str
    statistic: str
    limit: float

    def __str__(self) -> str:
        return f"{self.metric} {self.statistic} < {self.limit * 1e3:g}ms"


def parse(text: str) -> tuple[Objective, ...]:
    """The objectives in `text`, separated by commas. Raises InputError naming the term that is not one."""
    objectives = []
    for term in text.split(","):
        match = _TERM.match(term.strip().lower())
        expected = '"METRIC pNN < NUMBER UNIT", METRIC one of ttft, tpot, e2e, UNIT one of s, ms, us, min'
        if not match or match[1] not in METRICS or match[4] not in UNITS:
            raise InputError("--slo", "", term.strip(), expected)
        try:
            limit = float(match[3]) * UNITS[match[4]]
        except ValueError:
            raise InputError("--slo", "", term.strip(), expected) from None
        if not 0 < limit < 1e9:
            raise InputError("--slo", match[1], term.strip(), "a limit above 0")
        objectives.append(Objective(match[1], match[2], limit))
    return tuple(objectives)
