"""The own chip in the plan: its parts, price and power from `physical`, as named inputs and formulas.

The formulas are those of `physical.cost.unit_cost` (a test holds them equal), written out so that a
number of the plan can be followed to the wafer's price and the defect density.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tapeout.chip import toml as chips
from tapeout.chip.designs import as_designs
from tapeout.chip.spec import ChipSpec
from tapeout.errors import InputError
from tapeout.fleet.graph import Graph
from tapeout.physical.area import area, interposer_area, outline
from tapeout.physical.cost import nre
from tapeout.physical.power import thermal_design_power
from tapeout.physical.quantity import Quantity
from tapeout.physical.views import shipped
from tapeout.physical.yields import dies_per_wafer


def load_chip(source: str | Path) -> ChipSpec:
    """The chip of a preset's name or a chip.toml."""
    return chips.load(source)


def check(spec: ChipSpec, where: object) -> None:
    """Raise InputError for a chip without HBM: the plan's supply is of chips packaged with it."""
    if not spec.memory.kind.startswith("hbm"):
        raise InputError(
            where,
            "memory.kind",
            spec.memory.kind,
            "hbm3e, hbm4 or another HBM: the plan buys it by the stack",
        )


def _derived(value: float, unit: str, source: str, low: float = 1.0, high: float = 1.0) -> Quantity:
    confidence = "medium" if low == high else "low"
    return Quantity(value, value * low, value * high, unit, source, confidence, "derived")  # type: ignore[arg-type]


def _from_table(name: str, unit: str, scale: float = 1.0) -> Quantity:
    q = shipped()[name]
    return Quantity(
        q.value * scale, q.low * scale, q.high * scale, unit, f"{name}: {q.source}", q.confidence, q.origin
    )


def define_chip(g: Graph, spec: ChipSpec) -> None:
    """Add chip.own.* and own.* to `g`."""
    view = shipped().nominal()
    design = as_designs(spec)
    total = float(np.ravel(area(design, view).total)[0])
    o = outline(design, view, np.array([total]))
    ring = 2 * view.get("packaging.die.seal_ring", "mm")
    gross = float(
        np.ravel(
            dies_per_wafer(
                o.width + ring,
                o.height + ring,
                view.get("packaging.die.wafer_diameter", "mm"),
                view.get("packaging.die.edge_exclusion", "mm"),
                view.get("packaging.die.scribe", "mm"),
            )
        )[0]
    )
    interposer = float(np.ravel(interposer_area(design, np.array([total])))[0])
    node, memory, package = f"nodes.{spec.node}", f"memories.{spec.memory.kind}", f"packaging.{spec.package}"
    of = f"chip {spec.name}"
    g.input(
        "own.die_area", _derived(total, "mm2/die", f"physical area model of {of}", 0.92, 1.12), "of one die"
    )
    g.input("own.dies", _derived(spec.dies, "die/chip", of))
    g.input("own.gross_dies", _derived(gross, "die/wafer", "whole dies on a 300 mm wafer, counted"))
    g.input("own.wafer_price", _from_table(f"{node}.wafer_price", "USD/wafer"))
    g.input("own.defect_density", _from_table(f"{node}.defect_density", "1/cm2"))
    g.input("own.clustering", _from_table(f"{node}.defect_clustering", "1"))
    g.input("own.stacks", _derived(spec.memory.stacks, "stack/chip", of))
    per_stack = spec.memory.gibibytes_per_stack / view.get(f"{memory}.capacity", "GiB")
    g.input("own.stack_price", _from_table(f"{memory}.price", "USD/stack", per_stack))
    g.input("own.interposer", _derived(interposer, "mm2/chip", f"physical package model of {of}"))
    g.input("own.interposer_price", _from_table(f"{package}.interposer_price", "USD/mm2"))
    g.input("own.substrate_price", _from_table(f"{package}.substrate_price", "USD/chip"))
    g.input("own.test_price", _from_table("packaging.die.test", "USD/die"))
    g.input("own.insertions", _derived(1.0, "die/chip", "the package is tested once more, at a die's price"))
    g.input("own.assembly_yield", _from_table(f"{package}.assembly_yield", "1"))
    tdp = float(np.ravel(thermal_design_power(spec))[0])
    g.input(
        "chip.own.power",
        _derived(tdp, "W/chip", f"physical power model of {of}: thermal design power", 0.85, 1.2),
    )
    lane = spec.links.gigabits_per_lane / 8
    g.input("chip.own.scale_out", _derived(spec.links.scale_out_lanes * lane, "GB/(s·chip)", of))
    g.input("chip.own.scale_up", _derived(spec.links.scale_up_lanes * lane, "GB/(s·chip)", of))
    cost = float(np.ravel(nre(spec))[0]) / 1e6
    masks = _from_table(
        f"{node}.mask_set", "MUSD", view.get(f"{node}.mask_set", "MUSD") / shipped()[f"{node}.mask_set"].value
    )
    g.input("nre.masks", masks, "one mask set")
    design_cost = cost - 2 * masks.value
    g.input(
        "nre.design",
        _derived(
            design_cost,
            "MUSD",
            f"{node}.design_cost: to the first production chip; 500 to 1,000 MUSD all in (press)",
            0.85,
            1.7,
        ),
        "team, IP, tools, software of the bring-up",
    )


def define_cost(g: Graph) -> None:
    """The unit cost of the own chip and what its supplier asks for it."""
    g.input("own.one", _derived(1.0, "die", "one die"))
    g.let(
        "own.die_yield",
        "1",
        "(1 + own.die_area * own.one * own.defect_density / own.clustering) ** (-own.clustering)",
        "scalar",
        "share of good dies of a mature process: negative binomial",
    )
    g.let("own.die_cost", "USD/chip", "own.dies * own.wafer_price / (own.gross_dies * own.die_yield)")
    vendors = ("hynix", "samsung", "micron")
    weighed = " + ".join(f"hbm.{v}.share * hbm.{v}.premium" for v in vendors)
    g.let(
        "own.memory_premium",
        "1",
        f"({weighed}) / ({' + '.join(f'hbm.{v}.share' for v in vendors)})",
        "scalar",
        "price of memory over the reference, bought from its vendors by their shares",
    )
    g.let(
        "own.memory_cost",
        "USD/chip",
        "own.stacks * own.stack_price * own.memory_premium * exp(hbm.price_trend * time)",
        "stock",
        "memory at the price of the month",
    )
    g.let("own.packaging_cost", "USD/chip", "own.interposer * own.interposer_price")
    g.let("own.test_cost", "USD/chip", "own.test_price * (own.dies + own.insertions)")
    g.let(
        "own.assembly_loss",
        "USD/chip",
        "(own.die_cost + own.memory_cost + own.packaging_cost + own.substrate_price) * (1 / own.assembly_yield - 1)",
        "stock",
        "parts of packages that fail after assembly",
    )
    g.let(
        "own.cost",
        "USD/chip",
        "own.die_cost + own.memory_cost + own.packaging_cost + own.substrate_price + own.test_cost + own.assembly_loss",
        "stock",
        "of one good package, at the month's price of memory",
    )
    g.let(
        "own.price",
        "USD/chip",
        "own.cost / (1 - nre.partner_margin)",
        "stock",
        "what the design and supply partner asks",
    )
    g.let(
        "system.own.chip_price",
        "USD/chip",
        "(own.die_cost + own.stacks * own.stack_price * own.memory_premium + own.packaging_cost + own.substrate_price)"
        " / own.assembly_yield / (1 - nre.partner_margin) + own.test_cost / (1 - nre.partner_margin)",
        "scalar",
        "price before any trend of memory",
    )
