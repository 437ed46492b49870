"""Energy coefficients of a chip: joules per operation and per byte moved, by block. Vectorised over designs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.chip.designs import Designs, as_designs
from tapeout.chip.spec import MATRIX_FORMATS, MEMORY_KINDS, NODES, ChipSpec
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
    real = view.get("blocks.energy.glitch_and_wire", "1")
    control = 1 + view.get("blocks.energy.clock_and_control", "1")
    mac: dict[str, Number] = {
        f: view.get(f"blocks.energy.{f}", "J") * real * control * logic for f in MATRIX_FORMATS
    }
    # Literature figures of FP32 units are of placed blocks: no further allowance for wires.
    vector = view.get("blocks.energy.fp32", "J") * control * logic
    # Between the published sizes, and beyond, energy goes with the square root of the capacity of a bank.
    small, large = (
        view.get("blocks.energy.sram_byte_32k", "J/byte"),
        view.get("blocks.energy.sram_byte_1m", "J/byte"),
    )
    slope = (large - small) / (np.sqrt(1024) - np.sqrt(32))
    bank = d.scratchpad_kibibytes / d.scratchpad_banks
    access = small + slope * (np.sqrt(bank) - np.sqrt(32))
    core = a.cores * d.dies / d.cores
    scratchpad = np.maximum(access, small / 2) * sram + wire * np.sqrt(core) / 2
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
        link_byte=link * (1 - LINK_IDLE_SHARE),
        leakage_watts=leak,
        memory_idle_watts=d.stacks
        * view.pick("memories", MEMORY_KINDS, d.memory_kind, "background_power", "W"),
        link_idle_watts=link_peak * link * LINK_IDLE_SHARE,
        clock_watts=view.get("blocks.energy.ungated_clock", "1") * clocked * (control - 1) / control,
    )


def _widest(d: Designs, mac: dict[str, Number]) -> Number:
    """Joules per MAC of the costliest one-block-a-cycle format each design has."""
    best: Number = 0.0
    for f in ("mxfp4", "mxint8", "mxfp8"):
        best = np.where(d.has_format(f), np.maximum(best, mac[f]), best)
    return best
