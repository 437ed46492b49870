"""Our area model on other people's dies: their published configurations, block by block, against their size.

    compare()            # every die: modelled area by part, published area, and the error

The parts are those of our own chips: cell areas from synthesis in ASAP7, taken to the node by density and divided
by the utilisation; SRAM macros with the utilisation of placed memory; PHYs from the tables. What no paper lists
(schedulers, operand delivery, instruction supply, control) is one factor on the arithmetic, the same for every
die: the geometric mean of what the other dies need, so each die is predicted without its own area.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources

import numpy as np

from tapeout.physical.views import View, shipped

# ASAP7 cell area in um2, synthesised: multipliers of 11, 24 and 53 bits 81, 369, 1710 with their registers, the FP32
# adder and multiplier of chip/rtl 173 and 516. A tensor lane: an 11-bit product, its alignment, its share of the tree.
CELLS = {"tensor": 150.0, "systolic": 290.0, "fp32": 689.0, "int32": 300.0, "fp64": 2200.0}
BIT = 8192.0  # bits of a KiB
# 16FF and its 12 nm kin, which no chip of ours uses: WikiChip, 28.9-33.8 MTr/mm2; bit cell 0.07-0.074 um2.
OLDER = {"N12": (33.8, 9.5)}
# Elements that are mostly two processors each, with little arithmetic for the factor to go by: no part of it.
UNLIKE = ("mtia1", "mtia2")
# Reported as missed, not held: those, and a die whose memory system, network and management are on another one.
MISSED = (*UNLIKE, "xcd")


@dataclass(frozen=True)
class Die:
    """A published die; fields as in dies.toml."""

    key: str
    name: str
    node: str
    mm2: float
    cores: int
    per_core: dict[str, float]
    source: str
    lanes: int = 0
    cache: float = 0.0
    scratchpad: float = 0.0
    memory: dict[str, object] | None = None


@dataclass(frozen=True)
class Comparison:
    """One die, mm²: its parts with the factor that the other dies give, their sum, what was published."""

    die: Die
    arithmetic: float
    control: float
    sram: float
    phys: float
    top: float
    factor: float

    @property
    def modelled(self) -> float:
        """The whole die."""
        return self.arithmetic + self.control + self.sram + self.phys + self.top

    @property
    def error(self) -> float:
        """Modelled over published, less one."""
        return self.modelled / self.die.mm2 - 1


def dies() -> tuple[Die, ...]:
    """The published dies."""
    text = resources.files(__package__).joinpath("dies.toml").read_text(encoding="utf-8")
    return tuple(Die(key=k, **v) for k, v in tomllib.loads(text).items())


def parts(die: Die, view: View) -> tuple[float, float, float]:
    """(arithmetic, SRAM, PHYs) of `die` in mm², without what the factor stands for."""
    if die.node in OLDER:
        logic_density, sram_density = OLDER[die.node]
    else:
        logic_density = view.get(f"nodes.{die.node}.logic_density", "MTr/mm2")
        sram_density = view.get(f"nodes.{die.node}.sram_density", "Mb/mm2")
    seven = view.get("blocks.area.asap7_density", "MTr/mm2")
    scale = seven / logic_density / view.get("nodes.N7.gate_utilisation", "1")
    cells = sum(CELLS[k] * n for k, n in die.per_core.items() if k in CELLS)
    secded = view.get("blocks.area.secded", "1")
    placed = view.get("blocks.area.sram_utilisation", "1")

    def macros(kibibytes: float, utilisation: float) -> float:
        return kibibytes * BIT * secded / 1e6 / sram_density / utilisation

    # Register files: two ports, so a larger cell; scaled as logic, which their peripherals are.
    files = die.per_core.get("registers", 0) * BIT * view.get("blocks.area.register_file_bit", "mm2")
    sram = (
        macros(die.cores * die.per_core.get("local", 0) + 1024 * die.scratchpad, placed)
        + macros(1024 * die.cache, view.get("blocks.area.cache_utilisation", "1"))
        + die.cores * files * scale * view.get("nodes.N7.gate_utilisation", "1")
    )
    phys = die.lanes * PER_LANE
    if die.memory is not None:
        phys += float(str(die.memory["count"])) * view.get(f"memories.{die.memory['kind']}.phy_area", "mm2")
    return die.cores * cells * 1e-6 * scale, sram, phys


PER_LANE = 0.25  # mm2, a lane of 25 to 50 Gb/s, below the tables' 112 Gb/s lane


def compare(view: View | None = None) -> tuple[Comparison, ...]:
    """Every die, predicted with the factor of the others."""
    view = view or shipped().nominal()
    share = view.get("packaging.die.top_level", "1")
    found = [(d, *parts(d, view)) for d in dies()]

    def needs(d: Die, arithmetic: float, sram: float, phys: float) -> float:
        return max(d.mm2 * (1 - share) - sram - phys, arithmetic) / arithmetic

    factors = {d.key: needs(d, a, s, p) for d, a, s, p in found if d.key not in UNLIKE}
    out = []
    for d, arithmetic, sram, phys in found:
        others = [np.log(f) for key, f in factors.items() if key != d.key]
        factor = float(np.exp(np.mean(others)))
        inside = arithmetic * factor + sram + phys
        out.append(
            Comparison(
                d, arithmetic, arithmetic * (factor - 1), sram, phys, inside * share / (1 - share), factor
            )
        )
    return tuple(out)
