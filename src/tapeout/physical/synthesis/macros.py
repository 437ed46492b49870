"""Memory macros: what a compiled SRAM of that size would be, from published densities, times and energies.

The RTL's `sram_1rw` is never mapped to gates. Its width and depth are read off its ports.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.errors import DoesNotHold
from tapeout.physical.synthesis.paths import MacroTiming
from tapeout.physical.synthesis.pdk import Kit

NAME = "sram_1rw"


@dataclass(frozen=True)
class Macro:
    """One macro. `byte_pj`: energy of an access per byte moved, at the size of the macro."""

    bits: int
    width: int
    area_um2: float
    byte_pj: float
    timing: MacroTiming


def macro(ports: Mapping[str, Any], kit: Kit) -> Macro:
    """The macro with the ports of `sram_1rw`. Raises DoesNotHold for other ports: no other module is a memory."""
    if "q" not in ports or "address" not in ports or "clk" not in ports:
        raise DoesNotHold(f"a module with ports {', '.join(sorted(ports))} has no contents and is not {NAME}")
    width, depth = len(ports["q"]), 2 ** len(ports["address"])
    one = kit.known.sram
    cell = next(c for c in kit.library.cells.values() if c.flip_flop)
    timing = MacroTiming(
        "clk",
        one.clock_to_output_ps,
        one.setup_ps,
        0.0,
        cell.inputs[0].capacitance_ff[0],
        kit.known.clock_slew_ps,
    )
    return Macro(width * depth, width, width * depth * one.um2_per_bit, byte_pj(width * depth, kit), timing)


def byte_pj(bits: int, kit: Kit) -> float:
    """Energy per byte of an access to a macro of so many bits: linear in the logarithm of the size, flat beyond."""
    sizes, energies = zip(*kit.known.sram.pj_per_byte, strict=True)
    return float(np.interp(math.log(bits / 8192), np.log(sizes), energies))
