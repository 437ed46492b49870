"""How fast the RTL's pipelines run at a node, and what running them faster costs.

The slowest path between registers, as synthesised in ASAP7, with wires and at N7's nominal voltage, gives the clock
that N7 reaches. A newer node offers, by its foundry, either less power at that clock or a faster clock at the
same power: between the two, energy per operation is interpolated; beyond, the chip cannot be built from this RTL.
"""

from __future__ import annotations

import numpy as np

from tapeout.chip.designs import Designs
from tapeout.chip.spec import NODES
from tapeout.physical.views import Number, View


def base_clock(view: View) -> Number:
    """GHz at N7."""
    slowest = np.maximum(view.get("area.period.matrix", "ns"), view.get("area.period.others", "ns"))
    return view.get("blocks.timing.supply", "1") / (slowest * view.get("blocks.timing.wires", "1"))


def clock_limit(d: Designs, view: View) -> Number:
    """GHz at the node of each design; (n,) or (samples, n)."""
    return base_clock(view) * view.pick("nodes", NODES, d.node, "speed", "1")


def logic_energy(d: Designs, view: View) -> Number:
    """Energy of an operation in logic against N7, at each design's node and clock; (n,) or (samples, n)."""
    slow = view.pick("nodes", NODES, d.node, "energy_scale", "1")
    speed = view.pick("nodes", NODES, d.node, "speed", "1")
    over = (d.clock_ghz / base_clock(view) - 1) / np.maximum(speed - 1, 1e-9)
    return slow + np.maximum(1 / speed - slow, 0) * np.clip(over, 0, 1)
