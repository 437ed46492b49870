"""The own chip's way into service in the plan: limits from the inputs, the supply program for every sample."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.formula import MONTH, Month, shifted
from tapeout.fleet.graph import Graph, Kind, Values
from tapeout.fleet.scenario import Scenario, Site
from tapeout.fleet.supply import VENDORS, Limits, Schedule, SupplyProgram

Floats = NDArray[np.float64]
YEARS = (2026, 2027, 2028, 2029)  # for which the tables give capacities
AFTER = 4  # quarters after the last target in which a late programme may catch up
POWERED = "schedule.grid_slip"


def connected(site: Site, v: Values, ends: Floats, start: Month) -> Floats:
    """[samples, times] watts that the site's connections and generators give at the given months (from `start`); a
    stage arrives over the three months that end when it is due, grid stages late by the slip."""
    found: Floats = np.zeros((1, len(ends)))
    for stage in site.stages:
        slip = v[POWERED] / MONTH if stage.kind == "grid" else np.zeros((1, 1))
        since = ends[None, :] - stage.date.since(start) - slip
        found = found + v[stage.name] * np.clip(since / 3 + 1, 0, 1) * (since > -3)
    return found


def define_sites(g: Graph, s: Scenario) -> None:
    """Power connected at each site, month by month, and each site's share of it."""
    ends = np.arange(1, s.months + 1, dtype=float)
    for site in s.sites:
        name = f"site.{site.name}.connected"

        def power(v: Values, site: Site = site, name: str = name) -> dict[str, Floats]:
            return {name: connected(site, v, ends, s.start)}

        dates = ", ".join(f"{x.name.split('.')[3]} {x.kind} {x.date}" for x in site.stages)
        g.solve(
            {name: ("W", "stock", "power that the grid and generators can give")},
            (*(x.name for x in site.stages), POWERED),
            f"stages by date ({dates}), those of the grid late by the slip",
            power,
        )
    g.let("sites.connected", "W", " + ".join(f"site.{x.name}.connected" for x in s.sites), "stock")


@dataclass
class Supply:
    """The supply of a scenario: builds the limits of every sample and solves them.

    `nominal` and `limits` are those of the first evaluation, of the nominal inputs; `progress` is called after each.
    """

    scenario: Scenario
    program: SupplyProgram = field(init=False)
    quarters: int = field(init=False)
    nominal: Schedule | None = None
    limits: Limits | None = None
    progress: Callable[[int], None] | None = None

    def __post_init__(self) -> None:
        s = self.scenario
        last = Month(max(s.targets), 12).plus(1).since(s.start)
        self.quarters = min(-(-last // 3) + AFTER, s.months // 3)
        self.program = SupplyProgram(self.quarters)

    @property
    def parents(self) -> tuple[str, ...]:
        """The nodes it reads."""
        by_year = [f"{k}.capacity_{y}" for k in ("wafers", "cowos", "substrate", "racking") for y in YEARS]
        market = [f"hbm.market_{y}" for y in YEARS]
        vendors = [f"hbm.{v}.{k}" for v in VENDORS for k in ("share", "contract")]
        return (
            *by_year,
            *market,
            *vendors,
            "hbm.allocation",
            "wafers.lead",
            "cowos.lead",
            "cowos.packages",
            "cowos.yield",
            "racking.lead",
            "yield_ramp.first",
            "yield_ramp.mature",
            "own.gross_dies",
            "own.die_yield",
            "own.dies",
            "own.stacks",
            "system.own.chips_per_rack",
            "system.own.provisioned",
            "schedule.tape_out_slip",
            "sites.connected",
            *(f"target.y{y}" for y in self.scenario.targets),
        )

    def define(self, g: Graph) -> None:
        """Add chips delivered into service."""
        outputs: dict[str, tuple[str, Kind, str]] = {
            "deliveries.own": ("chip", "flow", "own chips put into service")
        }
        how = (
            "linear program over quarters: least shortfall from the target within wafers, HBM of three vendors, CoWoS,"
            " substrates, rack integration and connected power"
        )
        g.solve(outputs, self.parents, how, self.evaluate)

    def evaluate(self, v: Values) -> dict[str, Floats]:
        """[samples, months] chips put into service in each month."""
        stacked = self.limits_of(v)
        samples = max(x.shape[0] for x in stacked.values())
        months = self.scenario.months
        found = np.zeros((samples, months))
        for i in range(samples):
            one = {k: x[min(i, x.shape[0] - 1)] for k, x in stacked.items()}
            limits = Limits(
                one["dies"],
                one["hbm"],
                one["hbm_floor"],
                one["packages"],
                one["substrates"],
                one["racked"],
                one["powered"],
                one["target"],
                np.ones(len(VENDORS)),
                float(one["assembly"][0]),
            )
            schedule = self.program.solve(limits)
            found[i, : 3 * self.quarters] = np.repeat(schedule.deployed / 3, 3)
            if self.progress is not None:
                self.progress(1)
        if samples == 1 and self.nominal is None:
            self.nominal, self.limits = schedule, limits
        return {"deliveries.own": found}

    def limits_of(self, v: Values) -> dict[str, Floats]:
        """The fields of `Limits` for all samples: [samples or 1, quarters], memory [.., vendors, quarters]."""
        s, n = self.scenario, self.quarters
        middle: Floats = 3.0 * np.arange(n, dtype=np.float64) + 1.5
        ends: Floats = 3.0 * np.arange(1, n + 1, dtype=np.float64)
        weights = _weights([Month(y, 7).since(s.start) for y in YEARS], middle)

        def by_year(name: str, wanted: str) -> Floats:
            return sum(
                v.get_in(f"{name}_{y}", wanted) * w[None, :] for y, w in zip(YEARS, weights, strict=True)
            )

        def late(x: Floats, *leads: str) -> Floats:
            months = sum(v.get_in(k, "month") for k in leads)
            return shifted(x, np.asarray(months) / 3 * MONTH)

        slip = v.get_in("schedule.tape_out_slip", "month")
        since = ends[None, :] - s.first_wafers.since(s.start) - slip
        started = np.clip(since / 3, 0, 1)
        first, mature = v["yield_ramp.first"], v.get_in("yield_ramp.mature", "quarter")
        learned = np.minimum(
            first + (1 - first) * np.maximum(since / 3 - 0.5, 0) / np.maximum(mature, 0.01), 1.0
        )
        per_wafer = v["own.gross_dies"] * v["own.die_yield"] / v["own.dies"]
        dies = by_year("wafers.capacity", "wafer/month") * 3 * started * learned * per_wafer
        stacks = v["own.stacks"]
        market = by_year("hbm.market", "stack/quarter") * v["hbm.allocation"] / stacks
        shares = _columns([v[f"hbm.{x}.share"] for x in VENDORS])
        target = self._target(v, ends)
        wanted = np.diff(target, axis=1, prepend=0.0)
        contracts = _columns([v[f"hbm.{x}.contract"] for x in VENDORS])
        market = late(market, "cowos.lead", "racking.lead")
        hbm = market[:, None, :] * shares[:, :, None]
        begun = late(
            np.broadcast_to(started, (started.shape[0], n)), "wafers.lead", "cowos.lead", "racking.lead"
        )
        floor = wanted[:, None, :] * (shares * contracts)[:, :, None] * begun[:, None, :]
        packages = by_year("cowos.capacity", "wafer/month") * 3 * v["cowos.packages"]
        racked = by_year("racking.capacity", "rack/month") * 3 * v["system.own.chips_per_rack"]
        power = v["sites.connected"][:, 2 : 3 * n : 3]
        return {
            "dies": late(dies, "wafers.lead", "cowos.lead", "racking.lead"),
            "hbm": hbm,
            "hbm_floor": floor,
            "packages": late(packages, "cowos.lead", "racking.lead"),
            "substrates": late(
                by_year("substrate.capacity", "substrate/quarter"), "cowos.lead", "racking.lead"
            ),
            "racked": late(racked, "racking.lead"),
            "powered": np.maximum.accumulate(power / v["system.own.provisioned"], axis=1),
            "target": target,
            "assembly": v["cowos.yield"],
        }

    def _target(self, v: Values, ends: Floats) -> Floats:
        """[samples, quarters] chips wanted in service at the quarters' ends: linear between year ends, from a year
        before the first."""
        s = self.scenario
        chips = [v[f"target.y{y}"] / v["system.own.provisioned"] for y in s.targets]
        points = [Month(y, 12).plus(1).since(s.start) for y in s.targets]
        zero = max(points[0] - 12, s.first_wafers.since(s.start))
        weights = _weights([zero, *points], ends)
        return sum(c * w[None, :] for c, w in zip([np.zeros((1, 1)), *chips], weights, strict=True))


def _columns(parts: Sequence[Floats]) -> Floats:
    """Scalars [samples or 1, 1] each, side by side."""
    return np.concatenate(np.broadcast_arrays(*parts), axis=1)


def _weights(points: Sequence[float], at: Floats) -> Floats:
    """[points, times] weights of linear interpolation, constant beyond the ends."""
    return np.stack([np.interp(at, points, np.eye(len(points))[i]) for i in range(len(points))])
