"""Area: from a chip's declaration to square millimetres, block by block, and the outline of the die.

Logic of our blocks starts from cell area at N7 (tables/blocks.toml), is scaled by the ratio of the nodes'
densities and divided by the placement utilisation; SRAM is bits over the macro density. Everything is
vectorised over designs, and over samples of the tables (`tapeout.physical.views`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tapeout.chip.designs import Designs, as_designs
from tapeout.chip.spec import MEMORY_KINDS, NODES, PACKAGES, ChipSpec
from tapeout.physical.views import Number, View, shipped

ENGINES = 4  # load, matrix, vector, store: the clients of the scratchpad
ACCUMULATOR_BITS = 32
ACCUMULATOR_SETS = 2  # one filled while the other is drained
LEAST_TILES = 8  # output tiles that hide the FP32 adder's loop
MESH_WHITESPACE = 0.03  # share lost between abutted blocks: channels, halos, decoupling cells


@dataclass(frozen=True, eq=False)
class Area:
    """Square millimetres of one die, by block; each (n,) or (samples, n). `total` is the sum of the parts."""

    matrix: Number
    accumulators: Number
    vector: Number
    scratchpad: Number
    sequencer: Number
    noc: Number
    memory_phy: Number
    serdes: Number
    die_to_die: Number
    misc: Number
    whitespace: Number

    @property
    def total(self) -> Number:
        """The die."""
        return sum(getattr(self, f.name) for f in fields(self))

    @property
    def cores(self) -> Number:
        """All cores of the die with the network on chip."""
        return self.matrix + self.accumulators + self.vector + self.scratchpad + self.sequencer + self.noc

    def parts(self) -> dict[str, Number]:
        """By name, in the order of the declaration."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def logic_factor(d: Designs, view: View) -> Number:
    """Square millimetres on the die for each square millimetre of N7 cell area."""
    density = view.pick("nodes", NODES, d.node, "logic_density", "MTr/mm2")
    utilisation = view.pick("nodes", NODES, d.node, "gate_utilisation", "1")
    return view.get("nodes.N7.logic_density", "MTr/mm2") / density / utilisation


def unit_area(d: Designs, view: View) -> Number:
    """N7 cell area of one dot-product unit, mm²: the widest format it takes, and what further modes add."""
    base: Number = 0.0
    for form in ("mxfp4", "mxint8", "mxfp8"):
        one = view.get(f"blocks.unit.{form}", "mm2")
        base = np.where(d.has_format(form), np.maximum(base, one), base)
    wide = d.has_format("mxint8") | d.has_format("mxfp8")
    double = d.has_format("mxfp4") & d.double_rate_fp4 & wide
    extra = view.get("blocks.unit.double_rate", "1") * double
    extra = extra + view.get("blocks.unit.bf16_passes", "1") * d.has_format("bf16")
    # MXFP4 twice a cycle without an 8-bit multiplier to split takes a second multiplier array.
    alone = d.has_format("mxfp4") & d.double_rate_fp4 & ~wide
    return base * (1 + extra) * np.where(alone, 2, 1) * d.lanes / 32


def accumulator_area(d: Designs, view: View) -> Number:
    """N7 cell area of one unit's accumulators, mm². While weights stream past the activations that the rows hold,
    the next activations are loaded a row a cycle, so full rate takes as many output tiles in flight as there
    are rows. In flip-flops, or in a register file where that is smaller."""
    ways = np.where(d.has_format("mxfp4") & d.double_rate_fp4, 2, 1)
    bits = ACCUMULATOR_SETS * np.maximum(d.rows, LEAST_TILES) * ways * ACCUMULATOR_BITS
    file = view.get("blocks.area.register_file", "mm2") + bits * view.get(
        "blocks.area.register_file_bit", "mm2"
    )
    return np.minimum(bits * view.get("blocks.area.accumulator_bit", "mm2"), file)


def sram_area(kibibytes: Number, d: Designs, view: View) -> Number:
    """Macro area of `kibibytes` KiB with SECDED, mm²."""
    megabits = kibibytes * 1024 * 8 / 1e6 * view.get("blocks.area.secded", "1")
    return megabits / view.pick("nodes", NODES, d.node, "sram_density", "Mb/mm2")


def scratchpad_area(d: Designs, view: View) -> Number:
    """Scratchpad of one core: macros, banks' control, crossbar; mm²."""
    control = d.scratchpad_banks * view.get("blocks.area.bank", "mm2")
    bits = d.scratchpad_banks * d.scratchpad_word_bytes * 8 * ENGINES
    crossbar = bits * view.get("blocks.area.crossbar_bit", "mm2")
    return sram_area(d.scratchpad_kibibytes, d, view) + (control + crossbar) * logic_factor(d, view)


def area(chips: Designs | ChipSpec, view: View | None = None) -> Area:
    """Area of one die of each chip, mm²."""
    d, view = as_designs(chips), view or shipped().nominal()
    logic, cores = logic_factor(d, view), d.cores / d.dies

    def block(name: str) -> Number:
        return view.get(f"blocks.area.{name}", "mm2") * logic

    edges = (d.rows * block("activation_row") + d.columns * block("weight_column")) * d.lanes / 32
    requests = d.outstanding * block("request") + d.port_bytes * block("port_byte")
    lanes = (d.scale_up_lanes + d.scale_out_lanes) / d.dies
    serdes = np.where(
        d.gigabits_per_lane > 112,
        view.get("links.serdes224.area", "mm2"),
        view.get("links.serdes112.area", "mm2"),
    )
    small = d.cores == 1
    parts = {
        "matrix": cores * (d.rows * d.columns * unit_area(d, view) * logic + edges),
        "accumulators": cores * d.rows * d.columns * accumulator_area(d, view) * logic,
        "vector": cores * d.vector_lanes * block("vector_lane"),
        "scratchpad": cores * scratchpad_area(d, view),
        "sequencer": cores * (block("sequencer") + requests),
        "noc": cores * d.noc_bytes_per_cycle * block("router_byte"),
        "memory_phy": d.stacks
        / d.dies
        * view.pick("memories", MEMORY_KINDS, d.memory_kind, "phy_area", "mm2"),
        "serdes": lanes * serdes,
        "die_to_die": die_to_die_edge(d, view) * view.get("links.ucie.area_per_mm", "mm2"),
        "misc": np.where(small, block("management_small"), block("management") / d.dies),
    }
    used = sum(parts.values())
    dft = view.get("packaging.die.dft_area", "1")
    misc = parts["misc"] + dft * (parts["matrix"] + parts["vector"] + parts["sequencer"] + parts["noc"])
    used = used + misc - parts["misc"]
    return Area(**{**parts, "misc": misc}, whitespace=MESH_WHITESPACE / (1 - MESH_WHITESPACE) * used)


def die_to_die_edge(d: Designs, view: View) -> Number:
    """mm of edge of one die that links it to its neighbours: half of the memory bandwidth crosses each cut of
    a row of dies, both directions counted."""
    across = memory_bandwidth(d, view) / 2
    edge = 2 * across / view.get("links.ucie.bandwidth_per_mm", "B/s")
    return edge * np.where(d.dies > 2, 2, np.where(d.dies > 1, 1, 0))


def memory_bandwidth(chips: Designs | ChipSpec, view: View | None = None) -> Number:
    """Peak bytes/s of all stacks."""
    d, view = as_designs(chips), view or shipped().nominal()
    return d.stacks * view.pick("memories", MEMORY_KINDS, d.memory_kind, "bandwidth", "B/s")


def memory_capacity(chips: Designs | ChipSpec) -> np.ndarray:
    """Bytes of all stacks; (n,)."""
    d = as_designs(chips)
    return d.stacks * d.gibibytes_per_stack * 2.0**30


@dataclass(frozen=True, eq=False)
class Outline:
    """Outline of a die and its edges, mm; each (n,) or (samples, n). `height` is the long edge."""

    width: Number
    height: Number
    memory_needed: Number  # stacks on the two long edges, the fuller one counted twice; others: any edge
    memory_has: Number
    links_needed: Number  # lanes on the short edges, and what the long ones have left
    links_has: Number


def outline(chips: Designs | ChipSpec, view: View | None = None, total: Number | None = None) -> Outline:
    """The die's outline: in the reticle's proportion, stretched towards 33 mm where the stacks need it.

    `total`: die area in mm², if already known.
    """
    d, view = as_designs(chips), view or shipped().nominal()
    total = area(d, view).total if total is None else total
    long, short = view.get("packaging.die.reticle_long", "mm"), view.get("packaging.die.reticle_short", "mm")
    stack = view.pick("memories", MEMORY_KINDS, d.memory_kind, "beachfront", "mm")
    overhang = view.pick("memories", MEMORY_KINDS, d.memory_kind, "overhang", "mm")
    stacked = d.memory_kind < MEMORY_KINDS.index("lpddr5x")
    # Stacks stand along the two long edges; other memories are on the board, their PHYs on any edge.
    side = np.where(stacked, np.ceil(d.stacks / d.dies / 2) * stack, stack)
    height = np.sqrt(total * long / short)
    # A die may be as slender as 3 to 1, but no longer than the reticle, to seat its stacks.
    height = np.maximum(height, np.minimum(np.minimum(side - 2 * overhang, long), np.sqrt(3 * total)))
    height = np.where(total <= long * short, np.minimum(height, long), height)
    width = total / height
    needed = np.where(stacked, 2 * side, d.stacks / d.dies * stack)
    has = np.where(stacked, 2 * (height + 2 * overhang), np.where(side <= height, 2 * (height + width), 0))
    lane = np.where(
        d.gigabits_per_lane > 112,
        view.get("links.serdes224.beachfront", "mm"),
        view.get("links.serdes112.beachfront", "mm"),
    )
    lanes = (d.scale_up_lanes + d.scale_out_lanes) / d.dies
    left = np.maximum(has - needed, 0) + np.where(stacked, 2 * width, 0) - die_to_die_edge(d, view)
    return Outline(width, height, needed, has, lanes * lane, np.maximum(left, 0))


def interposer_area(chips: Designs | ChipSpec, total: Number) -> Number:
    """mm² under all dies and stacks of the package, with 10 % of margin; for organic, the dies alone."""
    d = as_designs(chips)
    stacks = np.where(d.memory_kind < MEMORY_KINDS.index("lpddr5x"), d.stacks * 11.0 * 11.0, 0.0)
    return np.where(d.package == PACKAGES.index("organic"), 1.0, 1.1) * (d.dies * total + stacks)
