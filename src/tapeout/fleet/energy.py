"""Energy of the sites in the plan: load from demand and the chips' idle and active power, supply from the dispatch
program, price by the month.

The program is solved at the nominal inputs for each year's end; samples keep what it built and how it
runs and pay their
own prices for it (what a plan that cannot be changed any more would pay: an upper bound of each sample's own optimum).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet import demand
from tapeout.fleet.demand import total
from tapeout.fleet.dispatch import PowerPlan, SitePower, least_cost, sun, wind, zone_prices
from tapeout.fleet.formula import Month, annuity
from tapeout.fleet.graph import Graph, Values
from tapeout.fleet.scenario import Scenario, Site

Floats = NDArray[np.float64]
BUILT = ("gas", "solar", "wind", "battery")


@dataclass
class Energy:
    """Supply of power for every site and year. `plans` are the answers at the nominal inputs by (site, year)."""

    scenario: Scenario
    plans: dict[tuple[str, int], PowerPlan] = field(default_factory=dict)
    raw_price: dict[tuple[str, int], float] = field(default_factory=dict)  # of the hours bought, of 2024

    def define(self, g: Graph) -> None:
        """Add load, energy and its price, by site."""
        s = self.scenario
        cooling = s.cooling["own"]
        for site in s.sites:
            name = f"site.{site.name}"
            g.let(
                f"{name}.chips",
                "chip",
                f"fleet.own * {name}.connected / max(sites.connected, sites.least)",
                "stock",
                "own chips at this site: by its share of the connected power",
            )
            g.let(
                f"{name}.load",
                "W",
                f"{name}.chips * mean_power.own * cooling.{cooling}.pue",
                "stock",
                "mean power over the month, cooling included",
            )
            g.let(f"{name}.energy", "MWh", f"{name}.load * month", "flow")
            self._supply(g, site)
            base = f"zone.{site.zone}"
            g.let(
                f"{name}.energy_price",
                "USD/MWh",
                f"{name}.grid_share * ({name}.grid_price * energy.price_level + {base}.delivery"
                f" + {base}.carbon * energy.carbon_price)"
                f" + {name}.gas_share * (gas.fuel * gas.heat_rate + gas.carbon * energy.carbon_price)"
                f" + {name}.capital",
                "stock",
                "delivered: grid with charges, fuel, and capital of what stands beside the grid",
            )
            g.let(f"{name}.energy_cost", "USD", f"{name}.energy * {name}.energy_price", "flow")
            g.let(
                f"{name}.carbon",
                "t",
                f"{name}.energy * ({name}.grid_share * {base}.carbon + {name}.gas_share * gas.carbon)",
                "flow",
                "direct emissions of the power used",
            )
            g.let(
                f"{name}.peak_share",
                "1",
                f"{name}.grid_peak / {base}.peak_load",
                "stock",
                "of the zone's peak load that the site takes from the grid at its own peak",
            )
            g.let(
                f"{name}.price_rise",
                "1",
                f"{base}.price_sensitivity * {name}.peak_share",
                "stock",
                "rise of the zone's price that the site's load brings, all else equal",
            )
            g.let(
                f"{name}.shortfall",
                "W",
                f"only_if_positive({name}.grid_peak * (1 + {base}.reserve_margin) - {base}.peak_load * "
                f"{base}.reserve_margin)",
                "stock",
                "firm capacity that the zone lacks if it builds none for the site",
            )
        names = [f"site.{x.name}" for x in s.sites]
        g.let(
            "energy.own",
            "MWh",
            total(f"{n}.energy" for n in names),
            "flow",
            "energy of the own accelerators' sites",
        )
        g.let("energy_cost.own", "USD", total(f"{n}.energy_cost" for n in names), "flow")
        g.let("carbon.own", "t", total(f"{n}.carbon" for n in names), "flow")
        g.let(
            "energy.price",
            "USD/MWh",
            "energy_cost.own / max(energy.own, sites.least * month)",
            "stock",
            "mean delivered price of energy at the own accelerators' sites",
        )

    def _supply(self, g: Graph, site: Site) -> None:
        n = f"site.{site.name}"
        outputs = {
            f"{n}.grid_share": ("1", "stock", "of the energy, from the grid"),
            f"{n}.gas_share": ("1", "stock", "of the energy, from gas on the site"),
            f"{n}.grid_price": ("USD/MWh", "stock", "mean hourly price at the hours it buys, of 2024"),
            f"{n}.capital": ("USD/MWh", "stock", "yearly cost of generators and batteries over the energy"),
            f"{n}.grid_peak": ("W", "stock", "greatest power from the grid"),
        }
        zone = f"zone.{site.zone}"
        parents = (
            f"{n}.load",
            f"{n}.connected",
            *(x.name for x in site.stages),
            f"{n}.build.solar",
            f"{n}.build.wind",
            f"{n}.build.battery",
            f"{zone}.latitude",
            f"{zone}.longitude",
            f"{zone}.solar",
            f"{zone}.wind",
            f"{zone}.delivery",
            f"{zone}.carbon",
            "gas.price",
            "gas.life",
            "gas.upkeep",
            "gas.fuel",
            "gas.heat_rate",
            "gas.carbon",
            "gas.available",
            "solar.price",
            "solar.life",
            "solar.upkeep",
            "wind.price",
            "wind.life",
            "wind.upkeep",
            "battery.price",
            "battery.hours",
            "battery.life",
            "battery.efficiency",
            "energy.shed",
            "energy.shift",
            "energy.ramp",
            "energy.carbon_price",
            "energy.price_level",
            "finance.wacc",
        )
        how = "linear program over typical days: least cost of grid, gas, sun, wind and storage for the site's load"
        g.solve(outputs, parents, how, lambda v: self._solved(v, site))  # type: ignore[arg-type]

    def _solved(self, v: Values, site: Site) -> dict[str, Floats]:
        """The shares month by month; each year's answer serves the months up to its end."""
        s, n = self.scenario, f"site.{site.name}"
        load = v[f"{n}.load"]
        if load.shape[0] == 1 and not any(k[0] == site.name for k in self.plans):
            built: dict[str, float] = {}
            for year in range(min(s.targets), max(s.targets) + 2):
                month = Month(year, 12).since(s.start)
                if 0 <= month < s.months and load[0, month] > 1e5:
                    plan = least_cost(self.site_power(v, site, month, built))
                    self.plans[site.name, year] = plan
                    level = float(v["energy.price_level"][0, 0])
                    delivery = float(v.get_in(f"zone.{site.zone}.delivery", "USD/MWh")[0, 0])
                    self.raw_price[site.name, year] = (plan.grid_price - delivery) / level
                    built = {k: plan.capacity[k] for k in BUILT}
        rows = load.shape[0]
        flat = ("grid_share", "gas_share", "grid_price", "capital")
        series = {k: np.zeros((1, s.months)) for k in flat} | {"grid_peak": np.zeros((rows, s.months))}
        years = sorted(y for name, y in self.plans if name == site.name)
        for t in range(s.months if years else 0):
            year = next((y for y in years if y >= s.start.plus(t).year), years[-1])
            p = self.plans[site.name, year]
            used = max(p.load - p.shed, 1e-9)
            series["grid_share"][0, t] = p.energy["grid"] / used
            series["gas_share"][0, t] = p.energy["gas"] / used
            series["grid_price"][0, t] = self.raw_price[site.name, year]
            series["capital"][0, t] = sum(p.cost[k] for k in BUILT) / used
            planned = p.load / 8766 * 1e6
            series["grid_peak"][:, t] = p.grid_peak * 1e6 * np.minimum(load[:, t] / max(planned, 1.0), 1.0)
        return {f"{n}.{k}": x for k, x in series.items()}

    def site_power(self, v: Values, site: Site, month: int, built: dict[str, float]) -> SitePower:
        """What the program needs of a site at the end of a year."""
        s, n, zone = self.scenario, f"site.{site.name}", f"zone.{site.zone}"

        def one(name: str, wanted: str) -> float:
            return float(v.get_in(name, wanted)[0, 0])

        shape = demand.shape_of(v, s)[0]
        mean = float(v.get_in(f"{n}.load", "MW")[0, month])
        idle = float(v["idle_share.own"][0, min(month, v["idle_share.own"].shape[1] - 1)])
        hourly = mean * (idle + (1 - idle) * shape)
        at = s.start.plus(month)
        gas = sum(one(x.name, "MW") for x in site.stages if x.kind == "gas" and x.date <= at)
        grid = float(v.get_in(f"{n}.connected", "MW")[0, month]) - gas
        lat, lon = one(f"{zone}.latitude", "1"), one(f"{zone}.longitude", "1")
        rate = v["finance.wacc"]

        def yearly(kind: str, price: Floats) -> float:
            return float((annuity(price, rate, v[f"{kind}.life"]) / unit_rate())[0, 0])

        def unit_rate() -> float:
            return 1 / (365.25 * 86400)

        capital = {
            k: (yearly(k, v.get_in(f"{k}.price", "USD/MW")) + one(f"{k}.upkeep", "USD/(MW·year)"))
            for k in ("gas", "solar", "wind")
        }
        capital["battery"] = yearly(
            "battery", v.get_in("battery.price", "USD/MWh") * v.get_in("battery.hours", "h")
        )
        available = one("gas.available", "1")
        price = zone_prices()[site.zone] * one("energy.price_level", "1") + one(f"{zone}.delivery", "USD/MWh")
        return SitePower(
            name=site.name,
            load=np.broadcast_to(hourly, (12, 24)),
            price=price,
            connection=max(grid, 0.0),
            limits={
                "gas": gas * available,
                **{k: one(f"{n}.build.{k}", "MW") for k in ("solar", "wind", "battery")},
            },
            profile={
                "solar": sun(lat, lon, one(f"{zone}.solar", "1")),
                "wind": wind(lon, lat, max(one(f"{zone}.wind", "1"), 1e-3)),
            },
            capital=capital,
            fuel=one("gas.fuel", "USD/MMBtu") * one("gas.heat_rate", "MMBtu/MWh"),
            gas_carbon=one("gas.carbon", "t/MWh"),
            grid_carbon=one(f"{zone}.carbon", "t/MWh"),
            carbon_price=one("energy.carbon_price", "USD/t"),
            battery_hours=one("battery.hours", "h"),
            efficiency=one("battery.efficiency", "1"),
            shed=one("energy.shed", "USD/MWh"),
            shift=one("energy.shift", "1"),
            ramp=one("energy.ramp", "1/h"),
            built=built,
        )
