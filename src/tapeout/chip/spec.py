"""ChipSpec: one declaration from a lane of a multiplier to the package.

Everything later derives from it: the RTL parameters, the compiler's machine model, the estimate,
area and power, the search space. Every field is a knob. Structure is validated here; what needs
technology tables (area, beachfront, power) is validated by `tapeout.physical`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MatrixFormat = Literal["mxfp4", "mxint8", "mxfp8", "bf16"]
Node = Literal["N7", "N5", "N3E", "N2"]
MemoryKind = Literal["hbm2e", "hbm3", "hbm3e", "hbm4", "lpddr5x", "ddr"]
PackageKind = Literal["cowos-s", "cowos-l", "organic"]


@dataclass(frozen=True)
class MatrixEngine:
    """`rows × columns` dot-product units of `lanes` multipliers each.

    Activations stay in the rows while weights stream through the columns: a unit takes one
    32-element block of MXINT8 weights a cycle, or two of MXFP4 (`double_rate_fp4`). At batch 1 the rows split
    the contraction.
    """

    rows: int = 4
    columns: int = 4
    lanes: int = 32
    formats: tuple[MatrixFormat, ...] = ("mxfp4", "mxint8")
    double_rate_fp4: bool = True

    def macs_per_cycle(self, weight_format: MatrixFormat) -> int:
        """Multiply-accumulates per cycle with weights of this format; 0 if the engine lacks it."""
        if weight_format not in self.formats:
            return 0
        units = self.rows * self.columns * self.lanes
        if weight_format == "mxfp4" and self.double_rate_fp4:
            return 2 * units
        return units // 4 if weight_format == "bf16" else units  # BF16 in four 8-bit passes


@dataclass(frozen=True)
class Scratchpad:
    """Software-managed SRAM of one core, SECDED-protected."""

    kibibytes: int = 128
    banks: int = 8
    word_bytes: int = 32


@dataclass(frozen=True)
class Core:
    """Four engines (load, matrix, vector, store) around one scratchpad, under one sequencer."""

    matrix: MatrixEngine = field(default_factory=MatrixEngine)
    vector_lanes: int = 8
    scratchpad: Scratchpad = field(default_factory=Scratchpad)
    port_bytes: int = 32  # memory port, bytes per cycle each way
    outstanding: int = 16  # memory requests in flight


@dataclass(frozen=True)
class Memory:
    """Off-chip memory: stacks (HBM) or packages (LPDDR) of one kind."""

    kind: MemoryKind = "hbm3e"
    stacks: int = 8
    gibibytes_per_stack: int = 36


@dataclass(frozen=True)
class Links:
    """Serial links: lanes times gigabits per second per lane, per direction."""

    scale_up_lanes: int = 64
    scale_out_lanes: int = 8
    gigabits_per_lane: int = 224
    scale_up_domain: int = 64  # chips one hop away through the scale-up switches


@dataclass(frozen=True)
class ChipSpec:
    """A chip. `cores` identical cores on a mesh; one clock; `dies` compute dies in one package."""

    name: str = "chip"
    node: Node = "N3E"
    clock_ghz: float = 1.5
    cores: int = 64
    core: Core = field(default_factory=Core)
    noc_bytes_per_cycle: int = 64  # per mesh link and direction
    memory: Memory = field(default_factory=Memory)
    links: Links = field(default_factory=Links)
    package: PackageKind = "cowos-s"
    dies: int = 1
