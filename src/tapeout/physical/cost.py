"""Cost: what one good package costs to make, by part, and what it takes to get to the first one."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tapeout.chip.designs import Designs, as_designs
from tapeout.chip.spec import MEMORY_KINDS, NODES, PACKAGES, ChipSpec
from tapeout.physical.area import Area, area, interposer_area, outline
from tapeout.physical.views import Number, View, shipped
from tapeout.physical.yields import dies_per_wafer, negative_binomial


@dataclass(frozen=True, eq=False)
class Cost:
    """US dollars of one good package. `assembly_loss`: the parts of packages that fail after assembly."""

    dies: Number
    memory: Number
    packaging: Number
    substrate: Number
    test: Number
    assembly_loss: Number

    @property
    def total(self) -> Number:
        """All of it."""
        return sum(getattr(self, f.name) for f in fields(self))

    def parts(self) -> dict[str, Number]:
        """By name, in the order of the declaration."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def die_yield(chips: Designs | ChipSpec, view: View | None = None, total: Number | None = None) -> Number:
    """Share of good dies, all of the die critical (no harvesting; see `yields.harvested`)."""
    d, view = as_designs(chips), view or shipped().nominal()
    total = area(d, view).total if total is None else total
    d0 = view.pick("nodes", NODES, d.node, "defect_density", "1/cm2")
    return negative_binomial(total, d0, view.pick("nodes", NODES, d.node, "defect_clustering", "1"))


def unit_cost(
    chips: Designs | ChipSpec,
    view: View | None = None,
    areas: Area | None = None,
    die_area_mm2: Number | None = None,
) -> Cost:
    """Cost of one good package of each chip. `die_area_mm2` replaces the modelled area (published dies)."""
    d, view = as_designs(chips), view or shipped().nominal()
    if die_area_mm2 is None:
        die_area_mm2 = (area(d, view) if areas is None else areas).total
    o = outline(d, view, die_area_mm2)
    gross = dies_per_wafer(
        o.width + 2 * view.get("packaging.die.seal_ring", "mm"),
        o.height + 2 * view.get("packaging.die.seal_ring", "mm"),
        view.get("packaging.die.wafer_diameter", "mm"),
        view.get("packaging.die.edge_exclusion", "mm"),
        view.get("packaging.die.scribe", "mm"),
    )
    wafer = view.pick("nodes", NODES, d.node, "wafer_price", "USD")
    with np.errstate(divide="ignore"):
        each = wafer / (gross * die_yield(d, view, die_area_mm2))
    capacity = view.pick("memories", MEMORY_KINDS, d.memory_kind, "capacity", "GiB")
    price = view.pick("memories", MEMORY_KINDS, d.memory_kind, "price", "USD")
    fixed = view.pick("memories", MEMORY_KINDS, d.memory_kind, "price_fixed", "1")
    memory = d.stacks * price * (fixed + (1 - fixed) * d.gibibytes_per_stack / capacity)
    per_mm2 = view.pick("packaging", PACKAGES, d.package, "interposer_price", "USD/mm2")
    packaging = per_mm2 * interposer_area(d, die_area_mm2)
    substrate = view.pick("packaging", PACKAGES, d.package, "substrate_price", "USD") + 0 * each
    test = view.get("packaging.die.test", "USD") * (d.dies + 1) + 0 * each
    good = view.pick("packaging", PACKAGES, d.package, "assembly_yield", "1")
    on_package = np.where(
        d.memory_kind < MEMORY_KINDS.index("lpddr5x"), memory, 0.0
    )  # others are on the board
    lost = (d.dies * each + on_package + packaging + substrate) * (1 / good - 1)
    return Cost(d.dies * each, memory + 0 * each, packaging, substrate, test, lost)


def nre(chips: Designs | ChipSpec, view: View | None = None) -> Number:
    """Non-recurring cost to the first production chip, US dollars: design (team, IP, tools, software of the
    bring-up) and two mask sets (a respin of the metal layers is usual)."""
    d, view = as_designs(chips), view or shipped().nominal()
    design = view.pick("nodes", NODES, d.node, "design_cost", "USD")
    return design + 2 * view.pick("nodes", NODES, d.node, "mask_set", "USD")
