"""Demand: users, requests, tokens, and how their day swings."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.graph import Graph, Values
from tapeout.fleet.scenario import Scenario

Floats = NDArray[np.float64]
HOURS = np.arange(24) + 0.5
PEAK_HOUR = 15.0  # local time at which a region's requests are most, as in public traces of working days


def day_shape(shares: Floats, longitudes: Floats, swings: Floats) -> Floats:
    """[samples, 24] demand by hour of UTC over its mean, the regions together.

    shares, longitudes, swings: [samples or 1, regions]. Each region's day is 1 + swing × cos of the local hour
    from its peak.
    """
    shares = shares / shares.sum(axis=1, keepdims=True)
    local = HOURS[None, None, :] + longitudes[:, :, None] / 15.0
    wave = 1 + swings[:, :, None] * np.cos(2 * np.pi * (local - PEAK_HOUR) / 24)
    whole: Floats = np.sum(shares[:, :, None] * wave, axis=1)
    return whole


def define(g: Graph, s: Scenario) -> None:
    """Add the demand of `s` to `g`: users, then for each class requests and tokens, then the peak over the mean."""
    g.let(
        "users",
        "user",
        "demand.users_ceiling / (1 + (demand.users_ceiling / demand.users_start - 1)"
        " * exp(-demand.users_growth * time))",
        "stock",
        "weekly users, growing towards a ceiling (logistic)",
    )
    g.let(
        "demand.growing",
        "year",
        "(1 - exp(-demand.slowing * time)) / demand.slowing",
        "stock",
        "years of growth at the first rate that growth at a declining rate amounts to",
    )
    for c in s.classes:
        start = f"users * kind.{c}.per_user" if f"kind.{c}.per_user" in s.quantities else f"kind.{c}.rate"
        g.let(
            f"requests.{c}",
            "request/s",
            f"{start} * exp(kind.{c}.growth * demand.growing)",
            "stock",
            f"mean rate of requests: {c}, on {s.classes[c]}",
        )
        per_month = f"requests.{c} * month"
        g.let(
            f"tokens.{c}.prefill",
            "token",
            f"{per_month} * kind.{c}.prompt * (1 - kind.{c}.cached)",
            "flow",
            "prompt tokens computed",
        )
        g.let(
            f"tokens.{c}.cached",
            "token",
            f"{per_month} * kind.{c}.prompt * kind.{c}.cached",
            "flow",
            "prompt tokens found in the cache",
        )
        g.let(f"tokens.{c}.decode", "token", f"{per_month} * kind.{c}.output", "flow", "tokens produced")
        g.let(
            f"tokens.{c}",
            "token",
            f"tokens.{c}.prefill + tokens.{c}.cached + tokens.{c}.decode",
            "flow",
            "all tokens in and out",
        )
    g.let(
        "other_work",
        "1",
        "demand.other_work * exp(demand.other_growth * demand.growing)",
        "stock",
        "chip-time of all serving over that of the text modelled here",
    )
    for kind in ("prefill", "cached", "decode"):
        g.let(f"tokens.{kind}", "token", total(f"tokens.{c}.{kind}" for c in s.classes), "flow")
    g.let("tokens", "token", total(f"tokens.{c}" for c in s.classes), "flow", "all tokens wanted")
    _shape(g, s)


def total(names: Sequence[str] | object) -> str:
    """The formula of a sum."""
    return " + ".join(names)  # type: ignore[arg-type]


def _shape(g: Graph, s: Scenario) -> None:
    parents = [f"region.{r}.{k}" for r in s.regions for k in ("share", "longitude", "swing")]

    def peak(v: Values) -> dict[str, Floats]:
        return {"demand.peak": shape_of(v, s).max(axis=1, keepdims=True)}

    g.solve(
        {"demand.peak": ("1", "scalar", "greatest hour of the day over the mean, all regions together")},
        parents,
        f"the greatest hour of the regions' days together, each 1 + swing × cos about {PEAK_HOUR:g} h local time",
        peak,
    )


def shape_of(v: Values, s: Scenario) -> Floats:
    """[samples, 24] the day's shape from values of a graph."""

    def column(k: str) -> Floats:
        parts = np.broadcast_arrays(*[v[f"region.{r}.{k}"][:, 0] for r in s.regions])
        return np.stack(parts, axis=1)

    return day_shape(column("share"), column("longitude"), column("swing"))
