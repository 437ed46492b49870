"""Area: from a chip's declaration to square millimetres, block by block, and the outline of the die.

Logic of our blocks is cell area as synthesised (`terms.cell_area`, tables/area.toml), taken to the node by the ratio
of densities and divided by the placement utilisation; SRAM is bits over the macro density. Everything is
vectorised over designs, and over samples of the tables (`tapeout.physical.views`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tapeout.chip.designs import Designs, as_designs
from tapeout.chip.isa.geometry import BLOCK_BYTES, LEAST_TILES
from tapeout.chip.isa.timing import VECTOR_REDUCED
from tapeout.chip.spec import MEMORY_KINDS, NODES, PACKAGES, ChipSpec
from tapeout.physical.terms import cell_area
from tapeout.physical.views import Number, View, shipped

# Ports of the scratchpad (chip/rtl/core.py): sequencer, load and store both read and write; weights, their scales,
# activations, their scales and two vector operands read; matrix and vector results write.
READERS, WRITERS = 9, 5
ANSWERS = 6  # that a reading port's queue holds
ACCUMULATOR_BITS = 32
ACCUMULATOR_SETS = 2  # one filled while the other is drained
QUANTISER_LANES = 32  # at most: a block of the MX formats
TOPK_ENTRIES = 64  # chip/rtl/vector_engine.py
ROUTER_PORTS, ROUTER_DEPTH = 5, 4  # of a mesh router: four neighbours and the core; flits a port holds


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
    """Square millimetres on the die for each square millimetre of cell area in ASAP7."""
    density = view.pick("nodes", NODES, d.node, "logic_density", "MTr/mm2")
    utilisation = view.pick("nodes", NODES, d.node, "gate_utilisation", "1")
    seven = view.get("blocks.area.asap7_density", "MTr/mm2") * view.get("blocks.area.fit", "1")
    return seven / density / utilisation


def ways(d: Designs) -> Number:
    """Outputs that a unit works on at once."""
    return np.where(d.has_format("mxfp4") & d.double_rate_fp4, 2, 1)


def unit_area(d: Designs, view: View) -> Number:
    """Cell area of one dot-product unit, mm². What the RTL lacks (MXFP8, BF16) is added in proportion."""
    eight = d.has_format("mxint8") | d.has_format("mxfp8")
    base = cell_area(
        view, "dot_unit", mxfp4=d.has_format("mxfp4") * 1, mxint8=eight * 1, ways=ways(d), lanes=d.lanes
    )
    extra = view.get("blocks.unit.mxfp8", "1") * d.has_format("mxfp8")
    return base * (1 + extra + view.get("blocks.unit.bf16_passes", "1") * d.has_format("bf16"))


def tiles(d: Designs) -> Number:
    """Accumulators of a unit and way in a bank: `isa.geometry.tiles_of`."""
    return 2 ** np.ceil(np.log2(np.maximum(d.rows, LEAST_TILES)))


def accumulator_area(d: Designs, view: View) -> Number:
    """Cell area of one unit's accumulators, mm²: in flip-flops, or in a register file where that is smaller."""
    depth = ACCUMULATOR_SETS * tiles(d)
    flops = cell_area(view, "accumulator_file", depth=depth, ways=ways(d))
    file = view.get("blocks.area.register_file", "mm2") + depth * ways(d) * ACCUMULATOR_BITS * view.get(
        "blocks.area.register_file_bit", "mm2"
    )
    return np.minimum(flops, file)


def edge_area(d: Designs, view: View) -> Number:
    """Cell area of one core's matrix engine beside its units and accumulators, mm²."""
    four, eight = d.has_format("mxfp4") * 1, (d.has_format("mxint8") | d.has_format("mxfp8")) * 1
    column = cell_area(view, "weight_column", mxfp4=four, mxint8=eight, ways=ways(d), lanes=d.lanes)
    row = cell_area(view, "activation_row", lanes=d.lanes)
    control = cell_area(view, "matrix_engine", rows=d.rows, columns=d.columns, tiles=tiles(d), ways=ways(d))
    front = cell_area(
        view, "matrix_front", rows=d.rows, columns=d.columns, word_bytes=d.scratchpad_word_bytes
    )
    return d.rows * row + d.columns * column + control + front


def vector_area(d: Designs, view: View) -> Number:
    """Cell area of one core's vector engine, mm²: lanes, their queue, quantisers, sums and maxima, top-k, and
    what brings operands and results between them and the scratchpad."""
    quantisers = np.maximum(d.vector_lanes // QUANTISER_LANES, 1)
    reduced = np.minimum(d.vector_lanes, VECTOR_REDUCED)
    return (
        d.vector_lanes * cell_area(view, "vector_lane")
        + cell_area(view, "vector_unit", lanes=d.vector_lanes)
        + quantisers * cell_area(view, "quantiser", lanes=np.minimum(d.vector_lanes, QUANTISER_LANES))
        + cell_area(view, "reducer", lanes=reduced)
        + cell_area(view, "greatest", lanes=reduced)
        + cell_area(view, "topk", k=TOPK_ENTRIES)
        + cell_area(view, "vector_front", lanes=d.vector_lanes, word_bytes=d.scratchpad_word_bytes)
    )


def control_area(d: Designs, view: View) -> Number:
    """Cell area of one core's sequencer, load and store engines, memory port, host interface and counters, mm²."""
    shape = {"port_bytes": d.port_bytes, "word_bytes": d.scratchpad_word_bytes, "outstanding": d.outstanding}
    moving = cell_area(view, "dma_load", **shape) + cell_area(view, "dma_store", **shape)
    turning = cell_area(view, "transpose_array", word_bytes=d.scratchpad_word_bytes)
    moving = moving + np.where(d.scratchpad_word_bytes >= BLOCK_BYTES, turning, 0.0)
    port = cell_area(view, "memory_port", port_bytes=d.port_bytes)
    sequencer = cell_area(view, "sequencer", port_bytes=d.port_bytes)
    return moving + port + sequencer + cell_area(view, "host") + cell_area(view, "counters")


def router_area(d: Designs, view: View) -> Number:
    """Cell area of a router of the mesh, mm²: a queue for each port, and a crossbar as the scratchpad's."""
    bits = 8 * d.noc_bytes_per_cycle
    queue = cell_area(view, "fifo", width=bits, depth=ROUTER_DEPTH)
    crossbar = bits * (ROUTER_PORTS - 1) * view.get("area.scratchpad.write_bit", "mm2")
    return ROUTER_PORTS * (queue + crossbar)


def sram_area(kibibytes: Number, d: Designs, view: View, macros: Number = 1) -> Number:
    """Area of `kibibytes` KiB with SECDED in `macros` macros, mm². The density of the tables is that of large ones;
    decoders, sense amplifiers and control take more of a small one."""
    bits = kibibytes * 1024 * 8 * view.get("blocks.area.secded", "1")
    placed = view.get("blocks.area.sram_utilisation", "1")
    small = 1 + np.sqrt(view.get("blocks.area.sram_periphery", "count") * macros / bits)
    return bits / 1e6 * small / placed / view.pick("nodes", NODES, d.node, "sram_density", "Mb/mm2")


def scratchpad_logic(d: Designs, view: View) -> Number:
    """Cell area of one core's scratchpad beside its macros, mm²: banks with SECDED, crossbar, answer queues."""
    word, banks = d.scratchpad_word_bytes, d.scratchpad_banks
    # A block of weights for each column and cycle, FP32 words for two operands of the vector lanes, a word for others.
    weights = np.minimum(2 ** np.ceil(np.log2(np.maximum(d.columns * d.lanes / word, 1))), banks)
    lanes = np.minimum(np.ceil(d.vector_lanes * 4 / word), banks)
    crossbar = cell_area(
        view,
        "scratchpad",
        banks=banks,
        word_bytes=word,
        readers=READERS,
        writers=WRITERS,
        queued=ANSWERS * (weights + 2 * lanes + READERS - 3),
    )
    return banks * cell_area(view, "scratchpad_bank", word_bytes=word) + crossbar


def scratchpad_area(d: Designs, view: View) -> Number:
    """Scratchpad of one core: macros, banks' control, crossbar; mm²."""
    macros = sram_area(d.scratchpad_kibibytes, d, view, d.scratchpad_banks)
    return macros + scratchpad_logic(d, view) * logic_factor(d, view)


def area(chips: Designs | ChipSpec, view: View | None = None) -> Area:
    """Area of one die of each chip, mm²."""
    d, view = as_designs(chips), view or shipped().nominal()
    logic, cores = logic_factor(d, view), d.cores / d.dies
    units = d.rows * d.columns
    lanes = (d.scale_up_lanes + d.scale_out_lanes) / d.dies
    serdes = np.where(
        d.gigabits_per_lane > 112,
        view.get("links.serdes224.area", "mm2"),
        view.get("links.serdes112.area", "mm2"),
    )

    def block(name: str) -> Number:
        return view.get(f"blocks.area.{name}", "mm2") * logic

    parts = {
        "matrix": cores * (units * unit_area(d, view) + edge_area(d, view)) * logic,
        "accumulators": cores * units * accumulator_area(d, view) * logic,
        "vector": cores * vector_area(d, view) * logic,
        "scratchpad": cores * scratchpad_area(d, view),
        "sequencer": cores * control_area(d, view) * logic,
        "noc": np.where(d.cores > 1, cores * router_area(d, view) * logic, 0.0),
        "memory_phy": d.stacks
        / d.dies
        * view.pick("memories", MEMORY_KINDS, d.memory_kind, "phy_area", "mm2"),
        "serdes": lanes * serdes,
        "die_to_die": die_to_die_edge(d, view) * view.get("links.ucie.area_per_mm", "mm2"),
        "misc": np.where(d.cores == 1, block("management_small"), block("management") / d.dies),
    }
    # Scan, BIST and the clock tree: a share of the logic they serve.
    dft = view.get("packaging.die.dft_area", "1")
    tested = ("matrix", "accumulators", "vector", "sequencer", "noc")
    parts["misc"] = parts["misc"] + dft * sum(parts[name] for name in tested)
    between = view.get("packaging.die.top_level", "1")
    return Area(**parts, whitespace=between / (1 - between) * sum(parts.values()))


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
