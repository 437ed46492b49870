"""One chip at work: the figures of one operating point, and the best point of one chip or accelerator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.search.judge import HourlyCost, best_points
from tapeout.search.points import Points
from tapeout.search.scenario import Objective, Scenario
from tapeout.search.service import Service


@dataclass(frozen=True)
class Operation:
    """A replica of `chips` chips, split and loaded so, and what it does.

    `tokens_per_s`, `watts` and `dollars_per_hour` are of one chip. `tokens_per_joule` is tokens/s per watt.
    """

    tp: int
    ep: int
    pp: int
    attention_dp: int
    chips: int
    batch: int
    tpot_ms: float
    ttft_ms: float
    tokens_per_s: float
    tokens_per_joule: float
    tokens_per_dollar: float
    watts: float
    dollars_per_hour: float
    meets: bool

    @property
    def joules_per_token(self) -> float:
        """Joules of all chips of the replica for one output token, its part of the prompt included."""
        return 1 / self.tokens_per_joule

    @property
    def dollars_per_million(self) -> float:
        """Dollars for a million output tokens."""
        return 1e6 / self.tokens_per_dollar

    @property
    def split(self) -> str:
        """How the model is spread, in the field's shorthand: TP4 EP8 DP2."""
        parts = [("TP", self.tp), ("EP", self.ep), ("PP", self.pp), ("DP-attention ", self.attention_dp)]
        return " ".join(f"{name}{n}" for name, n in parts if n > 1) or "one chip"

    def value(self, objective: Objective) -> float:
        """What the objective maximises."""
        if objective == "latency":
            return 1e3 / self.tpot_ms
        return {
            "tokens_per_joule": self.tokens_per_joule,
            "tokens_per_dollar": self.tokens_per_dollar,
            "tokens_per_chip": self.tokens_per_s,
        }[objective]


def operation_at(service: Service, points: Points, hourly: HourlyCost, index: int, meets: bool) -> Operation:
    """The figures of point `index`, arrays of `service` having shape [P] or [1, P]."""

    def at(values: Any) -> float:
        return float(np.broadcast_to(np.asarray(values), (1, len(points)))[0, index])

    split, batch = divmod(index, len(points.batches))
    d = points.describe(split)
    dollars = float(np.asarray(hourly(np.asarray([[at(service.watts)]]))).flat[0])
    rate = at(service.tokens_per_s)
    return Operation(
        **d,
        chips=d["tp"] * d["pp"] * d["attention_dp"],
        batch=int(points.batches[batch]),
        tpot_ms=at(service.tpot_s) * 1e3,
        ttft_ms=at(service.ttft_s) * 1e3,
        tokens_per_s=rate,
        tokens_per_joule=1 / at(service.joules_per_token),
        tokens_per_dollar=rate * 3600 / dollars,
        watts=at(service.watts),
        dollars_per_hour=dollars,
        meets=meets,
    )


def best_operation(
    service: Service,
    fits: NDArray[np.bool_],
    points: Points,
    scenario: Scenario,
    objective: Objective,
    hourly: HourlyCost,
) -> Operation | None:
    """The best point of one chip, arrays [P] or [1, P]: the most of the objective within the targets, else the
    point that comes nearest to them; None if the model fits at none."""
    shape = (1, len(points))
    wide = Service(
        **{k: np.broadcast_to(np.atleast_2d(np.asarray(v)), shape) for k, v in vars(service).items()}
    )
    v = best_points(wide, np.broadcast_to(fits, shape), scenario, objective, hourly)
    if not v.fits[0]:
        return None
    return operation_at(wide, points, hourly, int(v.point[0]), bool(v.meets[0]))


def frontier(
    service: Service, fits: NDArray[np.bool_], points: Points, hourly: HourlyCost
) -> list[Operation]:
    """The points of one chip that are best in tokens per joule for their time per output token, fastest first."""
    shape = (len(points),)
    tpot = np.broadcast_to(np.ravel(np.asarray(service.tpot_s)), shape)
    joules = np.broadcast_to(np.ravel(np.asarray(service.joules_per_token)), shape)
    found: list[Operation] = []
    least = np.inf
    for i in np.lexsort((joules, tpot)):
        if np.ravel(np.broadcast_to(fits, (1, len(points))))[i] and joules[i] < least:
            least = float(joules[i])
            found.append(operation_at(service, points, hourly, int(i), True))
    return found
