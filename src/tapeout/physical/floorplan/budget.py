"""What a floorplan places: the areas of `physical.area`, by block of the die and of a core; and its own table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

from tapeout.chip.designs import Designs
from tapeout.chip.spec import MEMORY_KINDS, ChipSpec
from tapeout.files import read_toml
from tapeout.physical.area import area, die_to_die_edge, outline, sram_area
from tapeout.physical.quantity import read_quantities
from tapeout.physical.views import Tables, View, shipped


@cache
def table() -> Tables:
    """The floorplan's own quantities (`table.toml`)."""
    with resources.as_file(resources.files("tapeout.physical.floorplan") / "table.toml") as path:
        return Tables(read_quantities(read_toml(path), "physical/floorplan/table.toml"))


def own(name: str, unit: str) -> float:
    """A number of `table` at its value."""
    return table()[name].to(unit)


@dataclass(frozen=True)
class Budget:
    """mm² of one die; the test and clock logic of the area model is in the logic it belongs to.

    `phy_edge`: mm of edge that one memory PHY takes; `stacked`: it faces a stack on one of the long edges.
    `serdes_edge`, `link_edge`: mm that all lanes, and one die-to-die link, need. `link_count`: neighbours.
    """

    total: float
    width: float
    height: float
    used: float
    cores: int
    matrix: float
    vector: float
    sram: float
    crossbar: float
    sequencer: float
    noc: float
    phys: int
    phy: float
    phy_edge: float
    overhang: float
    stacked: bool
    serdes: float
    serdes_edge: float
    link: float
    link_edge: float
    link_count: int
    host: float
    management: float
    io: float

    @property
    def tile(self) -> float:
        """mm² of a core with its router."""
        inside = self.matrix + self.vector + self.sram + self.crossbar + self.sequencer + self.noc
        return inside / self.cores


def budget(spec: ChipSpec, view: View | None = None) -> Budget:
    """The budget of one die of `spec`, at the tables' nominal values if no view is given."""
    view = view or shipped().nominal()
    d = Designs.from_specs([spec])
    a = area(d, view)
    o = outline(d, view, a.total)
    part = {name: float(np.ravel(value)[0]) for name, value in a.parts().items()}
    total = float(np.ravel(a.total)[0])
    cores = spec.cores // spec.dies
    dft = float(view.get("packaging.die.dft_area", "1"))
    logic = part["matrix"] + part["vector"] + part["sequencer"] + part["noc"]
    rest = part["misc"] - dft * logic  # host interface and management
    if rest < 0:
        raise ValueError("the area model charges less for test logic than a share of the logic")
    sram = cores * float(np.ravel(sram_area(d.scratchpad_kibibytes, d, view))[0])
    links = 0 if spec.dies == 1 else 2 if spec.dies > 2 else 1
    edge = float(np.ravel(die_to_die_edge(d, view))[0])
    return Budget(
        total=total,
        width=float(np.ravel(o.width)[0]),
        height=float(np.ravel(o.height)[0]),
        used=total - part["whitespace"],
        cores=cores,
        matrix=part["matrix"] * (1 + dft) + part["accumulators"],
        vector=part["vector"] * (1 + dft),
        sram=min(sram, part["scratchpad"]),
        crossbar=max(part["scratchpad"] - sram, 0.0),
        sequencer=part["sequencer"] * (1 + dft),
        noc=part["noc"] * (1 + dft),
        phys=-(-spec.memory.stacks // spec.dies),
        phy=part["memory_phy"] / -(-spec.memory.stacks // spec.dies),
        phy_edge=float(np.ravel(view.pick("memories", MEMORY_KINDS, d.memory_kind, "beachfront", "mm"))[0]),
        overhang=float(np.ravel(view.pick("memories", MEMORY_KINDS, d.memory_kind, "overhang", "mm"))[0]),
        stacked=spec.memory.kind.startswith("hbm"),
        serdes=part["serdes"],
        serdes_edge=float(np.ravel(o.links_needed)[0]),
        link=part["die_to_die"] / max(links, 1),
        link_edge=edge / max(links, 1),
        link_count=links,
        host=rest * own("edge.host", "1"),
        management=rest * (1 - own("edge.host", "1") - own("edge.io", "1")),
        io=rest * own("edge.io", "1"),
    )
