"""What the technology makes of a design: bandwidths, energies and idle power, for `DesignArrays`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.chip.designs import Designs
from tapeout.chip.spec import MEMORY_KINDS, NODES
from tapeout.workload.operators import Number

# Peak bytes per second of a stack (HBM) or 64-bit package or channel.
# JESD235D 3.6 Gb/s × 1024; JESD238A 6.4 × 1024; HBM3E 9.6 × 1024 as sold (Micron, SK hynix); JESD270-4 8 × 2048;
# JESD209-5C 8.533 × 64; DDR5-6400.
_BANDWIDTH = {
    "hbm2e": 460.8e9,
    "hbm3": 819.2e9,
    "hbm3e": 1.2e12,
    "hbm4": 2.048e12,
    "lpddr5x": 68.3e9,
    "ddr": 51.2e9,
}
# pJ per bit at the device plus PHY and controller: O'Connor 2017 (HBM2 3.9) and press for later ones.
_MEMORY_PJ_PER_BIT = {"hbm2e": 4.9, "hbm3": 4.3, "hbm3e": 3.9, "hbm4": 3.5, "lpddr5x": 6.0, "ddr": 15.0}
# Idle and refresh power of a stack or package, watts.
_MEMORY_IDLE_WATTS = {"hbm2e": 4.0, "hbm3": 5.0, "hbm3e": 6.0, "hbm4": 8.0, "lpddr5x": 0.5, "ddr": 1.0}
# Energy of logic relative to 7 nm (press and vendor claims: N5 -30 %, N3E -32 % more, N2 -25 % more).
_NODE = {"N7": 1.0, "N5": 0.70, "N3E": 0.48, "N2": 0.36}
# pJ per multiply-accumulate at 7 nm with operand registers, lane tree and clock; multipliers from Jouppi et al.,
# ISCA 2021 (int8 0.07, BF16 0.21), the rest about as much again.
_MAC_PJ = {"mxfp4": 0.08, "mxint8": 0.15, "mxfp8": 0.17, "bf16": 0.45}
_VECTOR_PJ = 6.0  # FP32 operation with register file access
_SCRATCHPAD_PJ_PER_BYTE = 1.1  # 8.5 pJ per 64 bits of a 32 KiB macro (ibid.)
_WIRE_PJ_PER_BYTE_MM = 0.7  # 0.09 pJ per bit and millimetre
_LINK_PJ_PER_BIT = 5.0  # 112G long-reach SerDes
_LEAKAGE_WATTS_PER_UNIT = 0.0006  # of a 32-lane unit with its share of the core at 7 nm


@dataclass(frozen=True, eq=False)
class Figures:
    """Arrays over designs, shape (n,). SI units."""

    memory_bandwidth: Number
    memory_sustained: Number
    joules_per_mac: dict[str, Number]
    joules_per_vector_operation: Number
    joules_per_scratchpad_byte: Number
    joules_per_noc_byte: Number
    joules_per_memory_byte: Number
    joules_per_link_byte: Number
    idle_watts: Number


def figures(d: Designs) -> Figures:
    """The figures of designs `d`."""

    def by_kind(table: dict[str, float]) -> Number:
        return np.array([table[k] for k in MEMORY_KINDS])[d.memory_kind]

    node = np.array([_NODE[n] for n in NODES])[d.node]
    units = d.rows * d.columns * d.cores * (d.lanes / 32)
    # Mean way between a memory controller at the edge and a core: half of the die's short side of 26 mm.
    way = 13.0
    link_watts = (d.scale_up_lanes + d.scale_out_lanes) * d.gigabits_per_lane * _LINK_PJ_PER_BIT * 1e-3
    return Figures(
        memory_bandwidth=by_kind(_BANDWIDTH) * d.stacks,
        memory_sustained=0.92,
        joules_per_mac={f: pj * node * 1e-12 for f, pj in _MAC_PJ.items()},
        joules_per_vector_operation=_VECTOR_PJ * node * 1e-12,
        joules_per_scratchpad_byte=_SCRATCHPAD_PJ_PER_BYTE * node * 1e-12,
        joules_per_noc_byte=_WIRE_PJ_PER_BYTE_MM * way * np.sqrt(node) * 1e-12,
        joules_per_memory_byte=by_kind(_MEMORY_PJ_PER_BIT) * 8e-12,
        joules_per_link_byte=0.0 * node,  # links draw the same idle as busy: counted there
        idle_watts=by_kind(_MEMORY_IDLE_WATTS) * d.stacks
        + units * _LEAKAGE_WATTS_PER_UNIT * node
        + link_watts,
    )
