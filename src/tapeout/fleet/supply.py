"""Supply: wafers → dies → packages with memory → racks → powered sites, quarter by quarter, as a linear program.

The program is scaled so that everything a sample of the inputs changes is a bound: amounts are counted in chips'
worth (a wafer is its good dies, capacity included), so thousands of samples solve warm from each other.
It minimises how far, and how long, the chips in service stay behind the target; then stock and early
purchases. The constraints that are tight with a price are what binds in a quarter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.solver import Program, Solver

Floats = NDArray[np.float64]
STAGES = ("wafers", "HBM", "CoWoS", "substrates", "racks", "power", "target")
VENDORS = ("hynix", "samsung", "micron")


@dataclass(frozen=True)
class Limits:
    """What there is in each quarter, in chips' worth, [quarters] each (`hbm`: [vendors, quarters]).

    dies: good dies that arrive sorted; packages: what CoWoS can assemble; substrates; racked: what can be integrated;
    powered: chips that the sites' power can carry, cumulative; target: chips wanted in service, cumulative;
    hbm_floor: what contracts oblige to buy. assembly: share of packages that are good. lag: quarters
    from assembled package to service.
    """

    dies: Floats
    hbm: Floats
    hbm_floor: Floats
    packages: Floats
    substrates: Floats
    racked: Floats
    powered: Floats
    target: Floats
    premium: Floats  # [vendors] price of memory over the reference
    assembly: float = 0.97


@dataclass(frozen=True)
class Schedule:
    """What is done in each quarter, chips' worth [quarters]: `deployed` into service, `dies` used as started wafers,
    `packages` assembled, `hbm` bought [vendors, quarters], stocks of dies, memory and chips, `short` of the
    target. `price`: [stages, quarters] by how much the sum of shortfalls falls for one more chip's worth."""

    deployed: Floats
    dies: Floats
    packages: Floats
    hbm: Floats
    stock_dies: Floats
    stock_hbm: Floats
    stock_chips: Floats
    short: Floats
    price: Floats

    def binding(self, quarter: int) -> str:
        """What keeps the quarter's chips in service at what they are: the target, or the tight stage worth most. A
        shortage of one quarter can come from a stage of an earlier one."""
        if self.short[quarter] <= 1e-6 * max(float(self.short.max()), 1.0):
            return "target"
        for q in range(quarter, -1, -1):  # the latest stage that is tight explains what is missing since
            worth = self.price[:-1, q]
            if worth.max() > 1e-3:
                return STAGES[int(np.argmax(worth))]
        return "lead times"


class SupplyProgram:
    """The program for a number of quarters, solved for any number of `Limits`."""

    def __init__(self, quarters: int, vendors: Sequence[str] = VENDORS, assembly: float = 0.97) -> None:
        self.quarters, self.vendors = quarters, tuple(vendors)
        p = Program()
        q = range(quarters)
        # Weights: a chip-quarter of shortfall is 1; stocks and purchases only break ties.
        self._wafer = [p.variable(f"dies {t}", 1e-5) for t in q]
        self._hbm = [[p.variable(f"{v} {t}", 2e-5) for t in q] for v in self.vendors]
        self._package = [p.variable(f"packages {t}", 1e-5) for t in q]
        self._deploy = [p.variable(f"deployed {t}") for t in q]
        self._dies = [p.variable(f"stock of dies {t}", 1e-4) for t in q]
        self._memory = [p.variable(f"stock of memory {t}", 1e-4) for t in q]
        self._chips = [p.variable(f"stock of chips {t}", 1e-4) for t in q]
        self._short = [p.variable(f"short {t}", 1.0) for t in q]
        self._rows_power, self._rows_target = [], []
        self._assembly: list[tuple[int, int]] = []
        for t in q:
            p.row(
                f"dies {t}",
                {self._wafer[t]: 1, self._package[t]: -1, self._dies[t]: -1}
                | ({self._dies[t - 1]: 1.0} if t else {}),
                0,
                0,
            )
            p.row(
                f"memory {t}",
                {h[t]: 1.0 for h in self._hbm}
                | {self._package[t]: -1, self._memory[t]: -1}
                | ({self._memory[t - 1]: 1.0} if t else {}),
                0,
                0,
            )
            row = p.row(
                f"chips {t}",
                {self._package[t]: assembly, self._deploy[t]: -1, self._chips[t]: -1}
                | ({self._chips[t - 1]: 1.0} if t else {}),
                0,
                0,
            )
            self._assembly.append((row, self._package[t]))
            until = {self._deploy[u]: 1.0 for u in range(t + 1)}
            self._rows_power.append(p.row(f"power {t}", until))
            self._rows_target.append(p.row(f"target {t}", until | {self._short[t]: 1.0}))
        self._solver: Solver = p.build()
        self._assembly_now = assembly
        self._bounded = np.array(
            self._wafer + [i for h in self._hbm for i in h] + self._package + self._deploy, dtype=np.int32
        )

    def solve(self, limits: Limits) -> Schedule:
        """The schedule within `limits`."""
        s, n = self._solver, self.quarters
        if limits.assembly != self._assembly_now:
            s.coefficients([(row, column, limits.assembly) for row, column in self._assembly])
            self._assembly_now = limits.assembly
        assembled = np.minimum(limits.packages, limits.substrates)
        floor = np.minimum(limits.hbm_floor, limits.hbm)
        high = np.concatenate([limits.dies, limits.hbm.ravel(), assembled, limits.racked])
        low = np.concatenate([np.zeros(n), floor.ravel(), np.zeros(2 * n)])
        s.variables(self._bounded, low, np.maximum(high, low))
        s.rows(np.array(self._rows_power), np.full(n, -np.inf), limits.powered)
        s.rows(np.array(self._rows_target), limits.target, limits.target)
        a = s.solve()
        v = len(self.vendors)
        worth = -a.reduced
        package = worth[self._package]
        by_cowos = limits.packages <= limits.substrates
        power = -a.duals[self._rows_power]
        price = np.stack(
            [
                worth[self._wafer],
                np.sum([worth[h] for h in self._hbm], axis=0) / v,
                np.where(by_cowos, package, 0.0),
                np.where(by_cowos, 0.0, package),
                worth[self._deploy],
                power,
                np.zeros(n),
            ]
        )
        at = a.x
        return Schedule(
            deployed=at[self._deploy],
            dies=at[self._wafer],
            packages=at[self._package],
            hbm=np.stack([at[h] for h in self._hbm]),
            stock_dies=at[self._dies],
            stock_hbm=at[self._memory],
            stock_chips=at[self._chips],
            short=at[self._short],
            price=np.maximum(price, 0.0),
        )
