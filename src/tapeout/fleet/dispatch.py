"""Least-cost power for a site: how much gas, sun, wind and storage to build beside the grid, and how to run them.

A year is twelve months of two typical days each (a good and a poor one for sun and wind), hour by hour. One linear
program sizes and runs everything: the hourly price of the zone, the connection's limit, gas with its ramp, sun and wind
that can be curtailed, batteries that end each day as they began it, load that can wait within its day, and, at
a price, load that is shed.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import DoesNotHold
from tapeout.fleet.solver import Program

Floats = NDArray[np.float64]
DAYS = 24  # typical days: twelve months, good and poor
POOR, GOOD = 0.5, 1.5  # of the month's mean output of wind on its two kinds of day; half as far for sun
SOURCES = ("grid", "gas", "solar", "wind")


@cache
def zone_prices() -> Mapping[str, Floats]:
    """[12, 24] mean price by month and hour of UTC of 2024, USD/MWh, by zone."""
    text = files("tapeout.fleet.tables").joinpath("zone_prices.csv").read_text(encoding="utf-8")
    rows = [r for r in csv.reader(text.splitlines()) if r and not r[0].startswith("#") and r[0] != "zone"]
    found: dict[str, Floats] = {}
    for zone, month, *prices in rows:
        found.setdefault(zone, np.zeros((12, 24)))[int(month) - 1] = [float(p) for p in prices]
    return found


def sun(latitude: float, longitude: float, capacity_factor: float) -> Floats:
    """[12, 24] output of solar power over its capacity by month and hour of UTC: the sine of the sun's height on the
    month's middle day, tracked about one axis (square root), scaled to the capacity factor."""
    day = 15 + 30.4 * np.arange(12)
    declination = np.radians(-23.44) * np.cos(2 * np.pi * (day + 10) / 365.25)
    local = (np.arange(24) + 0.5 + longitude / 15) % 24
    angle = np.pi * (local - 12) / 12
    phi = np.radians(latitude)
    height = np.sin(phi) * np.sin(declination)[:, None] + np.cos(phi) * np.cos(declination)[:, None] * np.cos(
        angle
    )
    return _scaled(np.sqrt(np.maximum(height, 0)), capacity_factor)


def wind(longitude: float, latitude: float, capacity_factor: float) -> Floats:
    """[12, 24] output of wind power over its capacity: more in the hemisphere's winter and at night, by a fifth each,
    as in the national series of temperate grids."""
    sign = 1.0 if latitude >= 0 else -1.0
    season = 1 + sign * 0.2 * np.cos(2 * np.pi * (np.arange(12) - 0.5) / 12)
    local = np.arange(24) + 0.5 + longitude / 15
    return _scaled(season[:, None] * (1 + 0.2 * np.cos(2 * np.pi * (local - 1) / 24)), capacity_factor)


def _scaled(shape: Floats, mean: float) -> Floats:
    """`shape` scaled to a mean, at most 1 anywhere."""
    scale = mean / shape.mean()
    for _ in range(50):
        found = np.minimum(shape * scale, 1.0)
        if found.mean() >= mean * (1 - 1e-6):
            break
        scale *= mean / found.mean()
    return found


@dataclass(frozen=True)
class SitePower:
    """What the program needs of a site in a year. MW, USD/MWh, USD per MW and year.

    load, price: [12, 24]; connection: MW of the grid; gas, solar, wind, battery: MW at most; battery_hours; efficiency
    of a round trip; capital: yearly cost of a MW of each of gas, solar, wind, battery; fuel, carbon_price of gas
    per MWh (`gas_carbon`, `grid_carbon` t/MWh); shed: value of load; shift: share of load that can wait within
    its day; ramp: share of capacity that gas changes in an hour; built: MW of each that stands already.
    """

    name: str
    load: Floats
    price: Floats
    connection: float
    limits: Mapping[str, float]
    profile: Mapping[str, Floats]
    capital: Mapping[str, float]
    fuel: float
    gas_carbon: float
    grid_carbon: float
    carbon_price: float
    battery_hours: float
    efficiency: float
    shed: float
    shift: float
    ramp: float
    built: Mapping[str, float]


@dataclass(frozen=True)
class PowerPlan:
    """The answer: MW built, MWh a year by source (used), curtailed, shed, shifted, USD a year by part, the grid's
    peak MW, by typical day and hour [24, 24] what each source gave, and how scarce the connection is: USD a year for
    another MW of it."""

    capacity: Mapping[str, float]
    energy: Mapping[str, float]
    load: float
    curtailed: float
    shed: float
    shifted: float
    cost: Mapping[str, float]
    grid_peak: float
    grid_price: float  # mean USD/MWh paid for the energy of the grid
    hours: Mapping[str, Floats]
    connection_worth: float

    @property
    def per_mwh(self) -> float:
        """All costs over the load served."""
        return sum(self.cost.values()) / max(self.load - self.shed, 1e-9)


def days_of(shape: Floats, swing: float) -> Floats:
    """[24, 24] the two typical days of each month: poor, then good."""
    return np.repeat(shape, 2, axis=0) * np.where(np.arange(DAYS) % 2, 1 + swing, 1 - swing)[:, None]


def least_cost(s: SitePower) -> PowerPlan:
    """The cheapest supply of `s`. Raises DoesNotHold where even shedding cannot balance it (never for a valid
    input)."""
    p = Program()
    weight = 365.25 / DAYS
    load, price = np.repeat(s.load, 2, axis=0), np.repeat(s.price, 2, axis=0)
    output = {
        "solar": np.minimum(days_of(s.profile["solar"], (GOOD - 1) / 2), 1.0),
        "wind": np.minimum(days_of(s.profile["wind"], GOOD - 1), 1.0),
    }
    size = {
        k: p.variable(f"{k} MW", s.capital[k], min(s.built.get(k, 0.0), s.limits[k]), s.limits[k])
        for k in ("gas", "solar", "wind", "battery")
    }
    carbon = s.carbon_price
    cost = {"gas": s.fuel + carbon * s.gas_carbon, "solar": 0.0, "wind": 0.0}
    columns: dict[str, NDArray[np.int64]] = {}

    def block(name: str, each: Floats | float, high: Floats | float = np.inf) -> None:
        costs = np.broadcast_to(each, (DAYS, 24)) * weight
        tops = np.broadcast_to(high, (DAYS, 24))
        columns[name] = np.array(
            [
                [p.variable(f"{name} {d} {h}", costs[d, h], 0.0, tops[d, h]) for h in range(24)]
                for d in range(DAYS)
            ]
        )

    block("grid", price + carbon * s.grid_carbon, s.connection)
    for k in ("gas", "solar", "wind"):
        block(k, cost[k])
    for k in ("charge", "discharge", "stored"):
        block(k, 0.01 if k == "charge" else 0.0)
    block("shed", s.shed, load)
    block("delayed", 0.05, load * s.shift)
    block("caught_up", 0.0, load * s.shift)
    one_way = float(np.sqrt(s.efficiency))
    c = columns
    for d in range(DAYS):
        for h in range(24):
            before = (h - 1) % 24
            balance = {int(c[k][d, h]): 1.0 for k in (*SOURCES, "discharge", "shed", "delayed")}
            balance |= {int(c["charge"][d, h]): -1.0, int(c["caught_up"][d, h]): -1.0}
            p.row(f"balance {d} {h}", balance, load[d, h], load[d, h])
            for k in ("solar", "wind"):
                p.row(f"{k} {d} {h}", {int(c[k][d, h]): 1.0, size[k]: -float(output[k][d, h])}, high=0.0)
            p.row(f"gas {d} {h}", {int(c["gas"][d, h]): 1.0, size["gas"]: -1.0}, high=0.0)
            ramp = {int(c["gas"][d, h]): 1.0, int(c["gas"][d, before]): -1.0}
            p.row(f"ramp up {d} {h}", ramp | {size["gas"]: -s.ramp}, high=0.0)
            p.row(f"ramp down {d} {h}", {k: -v for k, v in ramp.items()} | {size["gas"]: -s.ramp}, high=0.0)
            p.row(
                f"stored {d} {h}",
                {
                    int(c["stored"][d, h]): 1.0,
                    int(c["stored"][d, before]): -1.0,
                    int(c["charge"][d, h]): -one_way,
                    int(c["discharge"][d, h]): 1 / one_way,
                },
                0.0,
                0.0,
            )
            for k in ("charge", "discharge"):
                p.row(f"{k} {d} {h}", {int(c[k][d, h]): 1.0, size["battery"]: -1.0}, high=0.0)
            p.row(f"full {d} {h}", {int(c["stored"][d, h]): 1.0, size["battery"]: -s.battery_hours}, high=0.0)
        p.row(
            f"day {d}",
            {int(i): 1.0 for i in c["delayed"][d]} | {int(i): -1.0 for i in c["caught_up"][d]},
            0.0,
            0.0,
        )
    a = p.build().solve()
    if not a.feasible:
        raise DoesNotHold(f"{s.name}: no supply of power balances the load of {load.max():.4g} MW")
    x = {k: a.x[v] for k, v in columns.items()}
    yearly = {k: float(v.sum() * weight) for k, v in x.items()}
    available = {k: output[k] * a.x[size[k]] for k in output}
    grid_rows = a.reduced[columns["grid"]]
    spent = {k: float(a.x[size[k]] * s.capital[k]) for k in size}
    spent["fuel"] = yearly["gas"] * s.fuel
    bought = float((x["grid"] * price).sum() * weight)
    spent["grid"] = bought
    spent["carbon"] = carbon * (yearly["gas"] * s.gas_carbon + yearly["grid"] * s.grid_carbon)
    return PowerPlan(
        capacity={k: float(a.x[i]) for k, i in size.items()} | {"grid": s.connection},
        energy={k: yearly[k] for k in SOURCES},
        load=float(load.sum() * weight),
        curtailed=float(sum((available[k] - x[k]).sum() for k in output) * weight),
        shed=yearly["shed"],
        shifted=yearly["delayed"],
        cost=spent,
        grid_peak=float(x["grid"].max()),
        grid_price=bought / yearly["grid"] if yearly["grid"] > 1e-9 else float(s.price.mean()),
        hours={k: x[k] for k in (*SOURCES, "charge", "discharge", "shed")} | {"load": load},
        connection_worth=float(np.maximum(-grid_rows, 0.0).sum()),
    )
