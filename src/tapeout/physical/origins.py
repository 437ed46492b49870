"""Where each figure of a chip comes from: the quantities that a part of its area or power rests on, and their origins.

A part made of synthesised cell areas at another node than N7 is synthesised and scaled; one that rests on a datasheet
or a paper is literature; what remains is derived or assumed, and said to be.
"""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.chip.spec import ChipSpec
from tapeout.physical.quantity import Quantity
from tapeout.physical.views import Tables, shipped

_LOGIC = ("blocks.area.asap7_density", "nodes.{node}.logic_density", "nodes.{node}.gate_utilisation")
_ENERGY = ("nodes.{node}.energy_scale", "blocks.energy.supply")
# Names, or the beginning of names where they end in a dot.
AREA = {
    "matrix": ("area.dot_unit.", "area.matrix_engine.", "area.matrix_front.", "area.weight_column.",
               "area.activation_row.", *_LOGIC),
    "accumulators": ("area.accumulator_file.", "blocks.area.register_file_bit", *_LOGIC),
    "vector": ("area.vector_lane.", "area.vector_unit.", "area.quantiser.", "area.reducer.", "area.greatest.",
               "area.topk.", "area.vector_front.", *_LOGIC),
    "scratchpad": ("nodes.{node}.sram_density", "blocks.area.sram_utilisation", "area.scratchpad.",
                   "area.scratchpad_bank."),
    "sequencer": ("area.sequencer.", "area.dma_load.", "area.dma_store.", "area.transpose_array.",
                  "area.memory_port.", "area.host.", *_LOGIC),
    "noc": ("area.fifo.", "area.scratchpad.write_bit", *_LOGIC),
    "memory_phy": ("memories.{memory}.phy_area",),
    "serdes": ("links.{serdes}.area",),
    "die_to_die": ("links.ucie.area_per_mm", "links.ucie.bandwidth_per_mm"),
    "misc": ("blocks.area.management", "packaging.die.dft_area"),
    "whitespace": ("packaging.die.top_level",),
}  # fmt: skip
POWER = {
    "matrix": ("energy.mac.", "blocks.energy.control", *_ENERGY),
    "vector": ("energy.vector.", "blocks.energy.control", *_ENERGY),
    "scratchpad": ("energy.bank.", "blocks.energy.sram_byte_32k", "blocks.energy.sram_byte_1m",
                   "nodes.{node}.sram_energy_scale", "nodes.{node}.wire_energy"),
    "noc": ("blocks.energy.router_byte", "nodes.{node}.wire_energy", "nodes.{node}.energy_scale"),
    "memory": ("memories.{memory}.energy", "memories.{memory}.background_power"),
    "links": ("links.{serdes}.energy",),
    "leakage": ("nodes.{node}.leakage", "nodes.{node}.sram_leakage"),
    "clock": ("energy.mac.", "blocks.energy.clock_share", "blocks.energy.ungated_clock", *_ENERGY),
    "conversion": ("board.power.regulator_efficiency",),
}  # fmt: skip


@dataclass(frozen=True)
class Basis:
    """What one figure rests on: quantities by name, and how it was obtained, in words."""

    quantities: dict[str, Quantity]
    how: str


def basis(spec: ChipSpec, part: str, of: dict[str, tuple[str, ...]], tables: Tables | None = None) -> Basis:
    """The basis of `part` of AREA or POWER, for the node, memory and links of `spec`."""
    tables = tables or shipped()
    fill = {
        "node": spec.node,
        "memory": spec.memory.kind,
        "serdes": f"serdes{spec.links.gigabits_per_lane}",
    }
    names = [n.format(**fill) for n in of[part]]
    found = {
        name: q
        for name, q in tables.items()
        if any(name == n or (n.endswith(".") and name.startswith(n)) for n in names)
    }
    origins = [q.origin for q in found.values()]
    words = []
    if "synthesised" in origins:
        words.append("synthesised")
    if any(name.startswith("nodes.") for name in found) and (
        "scaled" in origins or ("synthesised" in origins and spec.node != "N7")
    ):
        words.append("scaled")
    words += [o for o in ("datasheet", "literature") if o in origins]
    if not words:
        words = [o for o in ("derived", "assumption") if o in origins]
    return Basis(found, ", ".join(words))
