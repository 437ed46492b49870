"""Power policies of a site and what they cost in service: more chips than the connection carries at once (power
oversubscription with capping), and requests that wait for another hour."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Policy:
    """`oversubscription`: chips beyond what full power would allow; `capped_hours`: of the day, on which the cap
    bites; `lost`: share of the day's work not done; `delayed`: share done at another hour of the same
    day; `work`: done over what is done without the policy; `mean_load`: mean power over the limit."""

    oversubscription: float
    capped_hours: int
    lost: float
    delayed: float
    work: float
    mean_load: float


def oversubscribe(
    shape: Floats, busy_peak: float, idle: float, full: float, extra: float, shift: float = 0.0
) -> Policy:
    """A site sized for n chips at full power gets n × (1 + extra), which carry (1 + extra) times the demand.

    shape: [24] demand over its mean; busy_peak: share of chip-time used at the greatest hour; idle,
    full: watts of a chip
    with all around it. In an hour in which the chips would draw more than the limit they are slowed to it; what is then
    not done is lost, but for the share `shift` of the day's work that may move to hours with room.
    """
    use = shape / shape.max() * busy_peak
    chips = 1 + extra
    limit = full  # of one chip's provision
    draw = chips * (idle + (full - idle) * use)
    room = np.clip((limit / chips - idle) / (full - idle), 0.0, 1.0)  # use that the limit allows
    done = np.minimum(use, room)
    missing = use - done
    movable = min(shift * use.sum(), missing.sum(), float(np.maximum(room - use, 0).sum()))
    total = float(use.sum())
    lost = float(missing.sum() - movable) / total
    work = chips * (total - float(missing.sum()) + movable) / total
    mean = float(np.mean(np.minimum(draw, limit))) / limit
    return Policy(extra, int(np.sum(missing > 1e-12)), lost, movable / total, work, mean)
