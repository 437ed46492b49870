"""ChipSpec: one declaration from a lane of a multiplier to the package.

Everything later derives from it: the RTL parameters, the compiler's machine model, the estimate,
area and power, the search space. Every field is a knob, with its bounds and its meaning beside it; the TOML
form (`tapeout.chip.toml`) and the arrays of designs (`tapeout.chip.designs`) follow from the declarations
here. Structure is validated by `validate`; what needs technology tables (area, beachfront, power) is
validated by `tapeout.physical.check`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from tapeout.errors import InputError, Phrase

MatrixFormat = Literal["mxfp4", "mxint8", "mxfp8", "bf16"]
Node = Literal["N7", "N5", "N3E", "N2"]
MemoryKind = Literal["hbm2e", "hbm3", "hbm3e", "hbm4", "lpddr5x", "ddr"]
PackageKind = Literal["cowos-s", "cowos-l", "organic"]

# The order is the code of each choice in an array of designs.
MATRIX_FORMATS: tuple[MatrixFormat, ...] = get_args(MatrixFormat)
NODES: tuple[Node, ...] = get_args(Node)
MEMORY_KINDS: tuple[MemoryKind, ...] = get_args(MemoryKind)
PACKAGES: tuple[PackageKind, ...] = get_args(PackageKind)


def knob(default: Any, about: str, low: float = 1, high: float = 1, power_of_two: bool = False) -> Any:
    """A field of the declaration: its default, its meaning with unit, and its bounds, which are inclusive."""
    return field(
        default=default, metadata={"about": about, "low": low, "high": high, "power_of_two": power_of_two}
    )


@dataclass(frozen=True)
class MatrixEngine:
    """`rows × columns` dot-product units of `lanes` multipliers each.

    Activations stay in the rows while weights stream through the columns: a unit takes one
    32-element block of MXINT8 weights a cycle, or two of MXFP4 (`double_rate_fp4`). At batch 1 the rows split
    the contraction.
    """

    rows: int = knob(4, "rows of dot-product units", 1, 1024)
    columns: int = knob(4, "columns of dot-product units", 1, 1024)
    lanes: int = knob(32, "multipliers of a unit", 8, 128, power_of_two=True)
    formats: tuple[MatrixFormat, ...] = knob(("mxfp4", "mxint8"), "weight formats the units multiply")
    double_rate_fp4: bool = knob(True, "two blocks of MXFP4 weights a cycle")

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

    kibibytes: int = knob(128, "KiB, without the check bits", 1, 2**20)
    banks: int = knob(8, "banks, each one access a cycle", 1, 1024, power_of_two=True)
    word_bytes: int = knob(32, "bytes of a bank's word", 4, 1024, power_of_two=True)


@dataclass(frozen=True)
class Core:
    """Four engines (load, matrix, vector, store) around one scratchpad, under one sequencer."""

    matrix: MatrixEngine = field(default_factory=MatrixEngine)
    vector_lanes: int = knob(8, "FP32 lanes of the vector engine", 1, 4096)
    scratchpad: Scratchpad = field(default_factory=Scratchpad)
    port_bytes: int = knob(32, "memory port, bytes per cycle each way", 4, 4096, power_of_two=True)
    outstanding: int = knob(16, "memory requests in flight", 1, 65536)


@dataclass(frozen=True)
class Memory:
    """Off-chip memory: stacks (HBM) or packages (LPDDR) of one kind."""

    kind: MemoryKind = knob("hbm3e", "generation")
    stacks: int = knob(8, "stacks (HBM), 64-bit packages (LPDDR5X) or 64-bit channels (DDR)", 1, 64)
    gibibytes_per_stack: int = knob(36, "GiB of a stack", 1, 1024)


@dataclass(frozen=True)
class Links:
    """Serial links: lanes times gigabits per second per lane, per direction."""

    scale_up_lanes: int = knob(64, "lanes to the scale-up network", 0, 4096)
    scale_out_lanes: int = knob(8, "lanes to the scale-out network", 0, 4096)
    gigabits_per_lane: int = knob(224, "Gb/s per lane and direction: 112 or 224", 112, 224)
    scale_up_domain: int = knob(64, "chips one hop away through the scale-up switches", 1, 65536)


@dataclass(frozen=True)
class ChipSpec:
    """A chip. `cores` identical cores on a mesh; one clock; `dies` compute dies in one package.

    Cores, stacks and lanes are those of the whole package, spread evenly over its dies.
    """

    name: str = knob("chip", "what reports call it")
    node: Node = knob("N3E", "process node of the compute dies")
    clock_ghz: float = knob(1.5, "GHz, one clock for cores and network on chip", 0.01, 10.0)
    cores: int = knob(64, "cores of the package", 1, 65536)
    core: Core = field(default_factory=Core)
    noc_bytes_per_cycle: int = knob(64, "bytes per cycle, mesh link and direction", 4, 4096)
    memory: Memory = field(default_factory=Memory)
    links: Links = field(default_factory=Links)
    package: PackageKind = knob("cowos-s", "cowos-s, cowos-l or organic")
    dies: int = knob(1, "compute dies of the package", 1, 16)


def validate(spec: ChipSpec, where: object = "chip") -> ChipSpec:
    """`spec`, if its fields are in bounds and agree with each other.

    Raises InputError naming the field, what was found and what was expected. `where` is the file or object
    that messages start with.
    """
    from tapeout.chip.toml import from_table, to_table

    return from_table(to_table(spec), where)


def check_combinations(spec: ChipSpec, where: object) -> None:
    """Raise InputError where two fields, each in bounds, do not go together."""
    pad, engine = spec.core.scratchpad, spec.core.matrix
    if pad.kibibytes * 1024 < pad.banks * pad.word_bytes * 16:
        raise InputError(
            where,
            "core.scratchpad.kibibytes",
            Phrase(f"{pad.kibibytes} KiB in {pad.banks} banks of {pad.word_bytes}-byte words"),
            "at least 16 words a bank",
        )
    if pad.kibibytes * 1024 % (pad.banks * pad.word_bytes):
        raise InputError(
            where,
            "core.scratchpad.kibibytes",
            pad.kibibytes,
            f"whole words in each of {pad.banks} banks of {pad.word_bytes}-byte words",
        )
    if spec.cores % spec.dies:
        raise InputError(where, "cores", spec.cores, f"a multiple of dies ({spec.dies})")
    if spec.links.gigabits_per_lane not in (112, 224):
        raise InputError(where, "links.gigabits_per_lane", spec.links.gigabits_per_lane, "112 or 224")
    if spec.memory.kind.startswith("hbm") and spec.package == "organic":
        raise InputError(
            where,
            "package",
            spec.package,
            f"cowos-s or cowos-l: {spec.memory.kind} needs an interposer",
        )
    if spec.memory.stacks < spec.dies:
        raise InputError(
            where, "memory.stacks", spec.memory.stacks, f"at least one for each of the {spec.dies} dies"
        )
    if "mxfp4" not in engine.formats and "mxint8" not in engine.formats and "mxfp8" not in engine.formats:
        raise InputError(
            where,
            "core.matrix.formats",
            list(engine.formats),
            "mxfp4, mxint8 or mxfp8 among them: bf16 is made of passes of the 8-bit multipliers",
        )
