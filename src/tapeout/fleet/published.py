"""Published totals, and what the plan's own formulas make of their inputs: the proof that its layers add up.

The formulas are those of `hardware`, `own` and `service`, the inputs those of the shipped tables. The parts of the
GB200 site are from the same note as its totals, and the GB300's price was inferred from its published hour: those prove
the adding up and no more. The other power of every air-cooled server is the H100's; the rest are predictions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.errors import DoesNotHold
from tapeout.estimate.accelerators import accelerator
from tapeout.fleet import hardware
from tapeout.fleet.formula import Month
from tapeout.fleet.graph import Graph, Values
from tapeout.fleet.scenario import tables
from tapeout.fleet.service import Load, solve

COOLING = {
    "h100": "air", "h200": "air", "b200": "air", "mi300x": "air", "mi325x": "air", "mi355x": "air",
    "gb200": "liquid", "gb300": "liquid", "tpu7x": "liquid",
}  # fmt: skip
SEMIANALYSIS = "SemiAnalysis, AI cloud TCO and InferenceX, 2025-2026"
BERNSTEIN = "Bernstein 2025, GB200 NVL72"
# (what, system, published, source): dollars per hour of owning at hyperscale, kW provisioned.
HOURLY = {"h100": 1.30, "h200": 1.41, "b200": 1.95, "gb200": 2.21, "gb300": 2.65, "mi300x": 1.12, "mi325x": 1.28,
          "mi355x": 1.48, "tpu7x": 1.03}  # fmt: skip
B200_DIE_MM2 = 814.0  # each of two, near the reticle limit
PROVISIONED = {
    "h100": 1.73,
    "h200": 1.73,
    "b200": 2.17,
    "gb200": 2.10,
    "mi300x": 1.79,
    "mi325x": 2.18,
    "mi355x": 2.65,
}


@dataclass(frozen=True)
class Comparison:
    """A published total and the plan's."""

    what: str
    published: float
    found: float
    unit: str
    source: str

    @property
    def error(self) -> float:
        """Relative to the published one."""
        return self.found / self.published - 1


def systems() -> tuple[Graph, Values]:
    """The graph of every system of the tables that stands around an accelerator of the catalog, and its values."""
    g = Graph(Month(2026, 1), 24)
    for name, q in tables().items():
        g.input(name, q)
    hardware.define_constants(g)
    hardware.define_fabric(g)
    for key, cooling in COOLING.items():
        hardware.datasheet(g, key, accelerator(key))
        hardware.define_system(g, key, cooling)
    return g, g.evaluate()


def comparisons() -> list[Comparison]:
    """Every published total with the plan's beside it."""
    _, v = systems()

    def one(name: str, wanted: str) -> float:
        return float(v.get_in(name, wanted)[0, 0])

    found = [
        Comparison(
            f"{k}: owning an hour", p, one(f"system.{k}.hourly", "USD/(h·chip)"), "USD/h", SEMIANALYSIS
        )
        for k, p in HOURLY.items()
    ]
    found += [
        Comparison(f"{k}: provisioned", p, one(f"system.{k}.provisioned", "kW/chip"), "kW", SEMIANALYSIS)
        for k, p in PROVISIONED.items()
    ]
    return found + _gigawatt(v) + _b200()


def _gigawatt(v: Values) -> list[Comparison]:
    """A gigawatt of GB200 NVL72 and how it splits. The two Grace CPUs of a tray are their own line, as published."""

    def one(name: str, wanted: str) -> float:
        return float(v.get_in(name, wanted)[0, 0])

    s = "system.gb200"
    chips = 1e9 / one(f"{s}.provisioned", "W/chip")
    per_rack = one(f"{s}.chips_per_rack", "chip/rack")
    power = one(f"{s}.provisioned", "W/chip")
    electrical = power * one("building.mechanical_electrical", "USD/W")
    total = one(f"{s}.all_in", "USD/chip")
    site = one(f"{s}.site_price", "USD/chip") * per_rack / 1e6
    compute = one(f"{s}.it_price", "USD/chip") * per_rack / 1e6
    rows = [
        ("a gigawatt", 35.0, chips * total / 1e9, "BUSD"),
        ("a rack, compute", 3.4, compute, "MUSD"),
        ("a rack, site", 2.5, site, "MUSD"),
        ("share of GPUs", 39.0, 100 * one(f"{s}.chip_price", "USD/chip") / total, "%"),
        ("share of networks", 13.0, 100 * one(f"{s}.network_price", "USD/chip") / total, "%"),
        ("share of mechanical and electrical", 33.0, 100 * electrical / total, "%"),
    ]
    return [Comparison(f"GB200 site: {what}", p, f, u, BERNSTEIN) for what, p, f, u in rows]


def _b200() -> list[Comparison]:
    """The bill of materials from `physical`: dies, memory, packaging, and what assembly loses."""
    from tapeout.chip.spec import ChipSpec, Memory
    from tapeout.physical.cost import unit_cost
    from tapeout.physical.views import shipped

    # Stacks are quoted by the stack, of 24 GB or of 36: the table's price is one's, not that of a gigabyte.
    capacity = int(shipped().nominal().get("memories.hbm3e.capacity", "GiB"))
    spec = ChipSpec(
        name="b200", node="N5", dies=2, cores=64, memory=Memory("hbm3e", 8, capacity), package="cowos-l"
    )
    cost = unit_cost(spec, die_area_mm2=np.array([B200_DIE_MM2]))
    total = float(np.ravel(cost.total)[0])
    return [Comparison("B200: bill of materials", 6400.0, total, "USD", "Epoch AI, 2025 (5,700 to 7,300)")]


TOKENS = "DeepSeek-R1"


@dataclass(frozen=True)
class TokenCost:
    """A published cost of tokens on a known system, and the plan's (None: the calibrated estimate cannot serve so
    fast)."""

    what: str
    published: str
    bound: float
    found: float | None
    verdict: str


def token_costs() -> list[TokenCost]:
    """DeepSeek-R1 on H200, published as upper bounds, and on GB300 at 150 tokens/s to the user without drafts.

    Each at the published cost of an hour; 3,500 tokens in and 1,000 out, 20 tokens/s to the user where none is stated.
    """
    found = []
    load = Load("deepseek-r1", 3500, 0.0, 1000, 0.05, 8.0)
    s = solve("h200", load)
    second = HOURLY["h200"] / 3600 / float(s.at(np.array([1.0]))[0][0])
    into, out = second * s.prefill_share / 3500 * 1e6, second * (1 - s.prefill_share) / 1000 * 1e6
    for what, bound, value in (("H200, input", 0.226, into), ("H200, output", 2.955, out)):
        verdict = "within the bound" if value <= bound else "above the bound"
        found.append(TokenCost(what, f"at most {bound}", bound, value, verdict))
    fast: float | None = None
    try:
        s = solve("gb300", Load("deepseek-r1", 1000, 0.0, 1000, 1 / 150, 8.0))
        fast = HOURLY["gb300"] / 3600 / float(s.at(np.array([1.0]))[0][0]) / 1000 * 1e6
    except DoesNotHold:
        pass
    verdict = (
        "not reproduced: the estimate is calibrated on FP8 runs of three engines, whose steps are longer than 6.7 ms"
        if fast is None
        else f"{fast / 2.35 - 1:+.0%}"
    )
    found.append(TokenCost("GB300 at 150 tokens/s to the user", "2.35", 2.35, fast, verdict))
    return found
