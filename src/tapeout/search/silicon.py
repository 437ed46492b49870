"""What designs are as silicon: size, power, cost, what they would exceed, and the arrays the estimate takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.designs import Designs
from tapeout.estimate.chip_design import DesignArrays
from tapeout.physical.area import area
from tapeout.physical.cost import unit_cost
from tapeout.physical.energy import energy
from tapeout.physical.limits import limits
from tapeout.physical.views import View, shipped
from tapeout.search.store import Table

LARGEST_DIE = 1716.0  # mm², two reticles: beyond it nothing is made, and no wafer need be counted


@dataclass(frozen=True, eq=False)
class Silicon:
    """Arrays [n]. `needs`, `has` [limits, n]: the two sides of each limit in `names`, in `units`."""

    arrays: DesignArrays  # fields [n, 1]
    die_mm2: NDArray[Any]
    design_watts: NDArray[Any]
    unit_dollars: NDArray[Any]
    names: tuple[str, ...]
    units: tuple[str, ...]
    needs: NDArray[Any]
    has: NDArray[Any]

    @property
    def ratios(self) -> NDArray[Any]:
        """How much of each limit is used, [limits, n]."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.needs <= 0, 0.0, self.needs / self.has)

    @property
    def excess(self) -> NDArray[Any]:
        """The fullest limit of each design; above 1 it cannot be built."""
        return np.asarray(self.ratios.max(axis=0))

    @property
    def limit(self) -> NDArray[Any]:
        """The name of the limit that a design exceeds most; empty where it exceeds none."""
        ratios = self.ratios
        return np.where(ratios.max(axis=0) <= 1, "", np.array(self.names)[ratios.argmax(axis=0)])

    def take(self, rows: NDArray[Any]) -> Silicon:
        """The designs of an array of indices."""
        return Silicon(
            self.arrays.map(lambda x: np.asarray(x)[rows] if np.size(x) > 1 else np.asarray(x)),
            self.die_mm2[rows],
            self.design_watts[rows],
            self.unit_dollars[rows],
            self.names,
            self.units,
            self.needs[:, rows],
            self.has[:, rows],
        )

    def columns(self) -> Table:
        """As columns of a table."""
        return {
            "die_mm2": self.die_mm2.astype(np.float32),
            "design_watts": self.design_watts.astype(np.float32),
            "unit_dollars": self.unit_dollars.astype(np.float32),
            "limit": self.limit,
        }


def silicon_of(designs: Designs, *, max_watts: float, view: View | None = None) -> Silicon:
    """The silicon of `designs`, by the tables at `view` (their nominal values unless given)."""
    view = view or shipped().nominal()
    a = area(designs, view)
    found = limits(designs, view, max_watts, a)
    n = len(designs)
    needs, has = (np.stack([np.broadcast_to(getattr(x, side), n) for x in found.values()]) for side in SIDES)
    cost = unit_cost(designs, view, die_area_mm2=np.clip(a.total, 1.0, LARGEST_DIE))
    return Silicon(
        arrays=DesignArrays.of(designs, view, energy(designs, view, a)),
        die_mm2=np.asarray(a.total),
        design_watts=np.asarray(found["power"].needs),
        unit_dollars=np.asarray(cost.total),
        names=tuple(found),
        units=tuple(x.unit for x in found.values()),
        needs=needs,
        has=has,
    )


SIDES = ("needs", "has")
