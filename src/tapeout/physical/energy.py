"""Energy coefficients of a chip: joules per operation and per byte moved, by block. Vectorised over designs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.chip.designs import Designs, as_designs
from tapeout.chip.spec import MEMORY_KINDS, NODES, ChipSpec
from tapeout.physical.area import Area, area
from tapeout.physical.clock import logic_energy
from tapeout.physical.views import Number, View, shipped

LINK_IDLE_SHARE = 0.8  # SerDes draw nearly their full power whenever the link is up


@dataclass(frozen=True, eq=False)
class Energy:
    """Each (n,) or (samples, n). Joules, but for `idle_watts` and its parts."""

    mac: dict[str, Number]  # by weight format, activations MXINT8 (BF16 for bf16), accumulation included
    vector_operation: Number  # one FP32 lane operation with its register traffic
    scratchpad_byte: Number
    noc_byte: Number  # over the mean distance between a memory port and a core
    hop_byte: Number  # from a core to its neighbour: a branch of a multicast, a partial sum passed on
    memory_byte: Number  # device, PHY, controller
    register_byte: Number  # into or out of a flip-flop of a datapath
    link_byte: Number  # beyond what the link draws idle
    leakage_watts: Number
    memory_idle_watts: Number
    link_idle_watts: Number
    clock_watts: Number  # clock tree and control of engines that wait, gated by core

    @property
    def idle_watts(self) -> Number:
        """Drawn whatever the chip does."""
        return self.leakage_watts + self.memory_idle_watts + self.link_idle_watts + self.clock_watts


def energy(chips: Designs | ChipSpec, view: View | None = None, areas: Area | None = None) -> Energy:
    """Energy coefficients of each chip. `areas`: its area, if already known (distances follow from it)."""
    d, view = as_designs(chips), view or shipped().nominal()
    a = area(d, view) if areas is None else areas
    logic = logic_energy(d, view)
    sram = view.pick("nodes", NODES, d.node, "sram_energy_scale", "1")
    wire = view.pick("nodes", NODES, d.node, "wire_energy", "J/byte/mm")
    # Synthesis is at ASAP7's 0.70 V; the reference of the nodes' factors is N7 at its nominal voltage.
    logic = logic * view.get("blocks.energy.supply", "1")
    control = 1 + view.get("blocks.energy.control", "1")
    mac = {f: control * logic * x for f, x in macs(d, view).items()}
    vector = control * logic * vector_operation(view)
    # Between the published sizes, and beyond, energy goes with the square root of the capacity of a bank.
    small, large = (
        view.get("blocks.energy.sram_byte_32k", "J/byte"),
        view.get("blocks.energy.sram_byte_1m", "J/byte"),
    )
    slope = (large - small) / (np.sqrt(1024) - np.sqrt(32))
    bank = d.scratchpad_kibibytes / d.scratchpad_banks
    access = small + slope * (np.sqrt(bank) - np.sqrt(32))
    core = a.cores * d.dies / d.cores
    check = (view.get("energy.bank.read", "J") + view.get("energy.bank.write", "J")) / 2 * logic
    scratchpad = np.maximum(access, small / 2) * sram + wire * np.sqrt(core) / 2 + check
    # Cores on a square mesh; a port is on average half the die's edge away in each direction.
    edge = np.sqrt(a.total)
    hops = np.sqrt(d.cores / d.dies) / 2
    router = view.get("blocks.energy.router_byte", "J/byte") * logic
    noc = np.where(d.cores > 1, hops * router + wire * edge / 2, 0.0)
    crossing = view.get("links.ucie.energy", "J/byte") * (1 - 1 / d.dies) / 2
    lanes = d.scale_up_lanes + d.scale_out_lanes
    link: Number = np.where(
        d.gigabits_per_lane > 112,
        view.get("links.serdes224.energy", "J/byte"),
        view.get("links.serdes112.energy", "J/byte"),
    )
    link_peak = lanes * d.gigabits_per_lane * 1e9 / 8
    sram_mm2 = a.scratchpad
    leak = d.dies * (
        (a.total - sram_mm2 - a.whitespace) * view.pick("nodes", NODES, d.node, "leakage", "W/mm2")
        + sram_mm2 * view.pick("nodes", NODES, d.node, "sram_leakage", "W/mm2")
    )
    widest = _widest(d, mac)
    clocked = d.cores * d.rows * d.columns * d.lanes * d.clock_ghz * 1e9 * widest
    return Energy(
        mac=mac,
        vector_operation=vector,
        scratchpad_byte=scratchpad,
        noc_byte=noc + crossing,
        hop_byte=np.where(d.cores > 1, router + wire * np.sqrt(core), 0.0),
        memory_byte=view.pick("memories", MEMORY_KINDS, d.memory_kind, "energy", "J/byte"),
        register_byte=view.get("blocks.energy.register_byte", "J/byte") * logic,
        link_byte=link * (1 - LINK_IDLE_SHARE),
        leakage_watts=leak,
        memory_idle_watts=d.stacks
        * view.pick("memories", MEMORY_KINDS, d.memory_kind, "background_power", "W"),
        link_idle_watts=link_peak * link * LINK_IDLE_SHARE,
        clock_watts=view.get("blocks.energy.ungated_clock", "1")
        * clocked
        * view.get("blocks.energy.clock_share", "1"),
    )


def macs(d: Designs, view: View) -> dict[str, Number]:
    """Joules of a multiply-accumulate by format of the weights, in ASAP7 at 0.70 V, with wires, glitches, clock, the
    accumulator and its share of the operands' registers. What the RTL lacks follows from MXINT8."""
    eight = view.get("energy.mac.mxint8", "J")
    four = np.where(
        d.has_format("mxint8") | d.has_format("mxfp8"),
        view.get("energy.mac.mxfp4", "J"),
        view.get("energy.mac.mxfp4_alone", "J"),
    )
    return {
        "mxfp4": four,
        "mxint8": eight,
        "mxfp8": eight * view.get("blocks.energy.mxfp8", "1"),
        "bf16": eight * view.get("blocks.energy.bf16", "1"),
    }


def vector_operation(view: View) -> Number:
    """Joules of an FP32 lane operation in ASAP7 at 0.70 V: the mean of additions, multiplications and comparisons,
    which are nearly all of them."""
    common = ("add", "mul", "maximum")
    return sum(view.get(f"energy.vector.{name}", "J") for name in common) / len(common)


def _widest(d: Designs, mac: dict[str, Number]) -> Number:
    """Joules per MAC of the costliest one-block-a-cycle format each design has."""
    best: Number = 0.0
    for f in ("mxfp4", "mxint8", "mxfp8"):
        best = np.where(d.has_format(f), np.maximum(best, mac[f]), best)
    return best
