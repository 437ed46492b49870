"""Power: from activity per second to watts by block, and the thermal design point of a chip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import numpy as np

from tapeout.chip.designs import Designs, as_designs
from tapeout.chip.spec import MATRIX_FORMATS, ChipSpec
from tapeout.physical.area import Area, area, memory_bandwidth
from tapeout.physical.energy import Energy, energy
from tapeout.physical.views import Number, View, shipped


@dataclass(frozen=True, eq=False)
class Activity:
    """What a chip does in a second: operations and bytes, each a scalar or an array over designs."""

    macs: Mapping[str, Number] = field(default_factory=dict)  # by weight format
    vector_operations: Number = 0.0
    scratchpad_bytes: Number = 0.0
    noc_bytes: Number = 0.0
    memory_bytes: Number = 0.0
    link_bytes: Number = 0.0


@dataclass(frozen=True, eq=False)
class Power:
    """Watts of one package with its memory stacks, after the regulators' loss, by where they go."""

    matrix: Number
    vector: Number
    scratchpad: Number
    noc: Number
    memory: Number
    links: Number
    leakage: Number
    clock: Number
    conversion: Number  # regulators

    @property
    def total(self) -> Number:
        """All of it."""
        return sum(getattr(self, f.name) for f in fields(self))

    def parts(self) -> dict[str, Number]:
        """By name, in the order of the declaration."""
        return {f.name: getattr(self, f.name) for f in fields(self)}


def power(
    chips: Designs | ChipSpec, activity: Activity, view: View | None = None, energies: Energy | None = None
) -> Power:
    """Power of each chip at `activity`. `energies`: its coefficients, if already known."""
    d, view = as_designs(chips), view or shipped().nominal()
    e = energy(d, view) if energies is None else energies
    zero = np.zeros(len(d))
    parts = {
        "matrix": zero + sum(rate * e.mac[f] for f, rate in activity.macs.items()),
        "vector": activity.vector_operations * e.vector_operation + zero,
        "scratchpad": activity.scratchpad_bytes * e.scratchpad_byte + zero,
        "noc": activity.noc_bytes * e.noc_byte + zero,
        "memory": activity.memory_bytes * e.memory_byte + e.memory_idle_watts + zero,
        "links": activity.link_bytes * e.link_byte + e.link_idle_watts + zero,
        "leakage": e.leakage_watts + zero,
        "clock": e.clock_watts + zero,
    }
    loss = 1 / view.get("board.power.regulator_efficiency", "1") - 1
    return Power(**parts, conversion=loss * sum(parts.values()))


def design_activity(chips: Designs | ChipSpec, view: View | None = None) -> Activity:
    """Activity of the thermal design point: memory and links at their peak, the matrix engines of the format
    that draws most at `board.power.peak_activity` of theirs, vector lanes at half of that share."""
    d, view = as_designs(chips), view or shipped().nominal()
    share = view.get("board.power.peak_activity", "1")
    hertz = d.clock_ghz * 1e9
    e = energy(d, view)
    rates = {f: d.cores * d.macs_per_cycle(f) * hertz for f in MATRIX_FORMATS}
    watts = np.stack(
        [np.broadcast_to(rates[f] * e.mac[f], np.shape(e.mac[f] + d.cores)) for f in MATRIX_FORMATS]
    )
    hottest = watts.argmax(axis=0)
    macs: dict[str, Number] = {
        f: np.where(hottest == i, rates[f], 0.0) * share for i, f in enumerate(MATRIX_FORMATS)
    }
    memory = memory_bandwidth(d, view)
    banks = d.cores * d.scratchpad_banks * d.scratchpad_word_bytes * hertz
    # Activations stay in the rows; weights stream to the columns, a byte a lane in either format. A quarter more
    # for activations, which change once a tile, and results.
    operands = 1.25 * d.cores * d.columns * d.lanes * hertz * share
    return Activity(
        macs=macs,
        vector_operations=d.cores * d.vector_lanes * hertz * share / 2,
        scratchpad_bytes=np.minimum(banks, operands + memory),
        noc_bytes=memory,
        memory_bytes=memory,
        link_bytes=(d.scale_up_lanes + d.scale_out_lanes) * d.gigabits_per_lane * 1e9 / 8,
    )


def thermal_design_power(
    chips: Designs | ChipSpec, view: View | None = None, areas: Area | None = None
) -> Number:
    """TDP of each package, watts: the power of `design_activity` with the design margin."""
    d, view = as_designs(chips), view or shipped().nominal()
    a = area(d, view) if areas is None else areas
    drawn = power(d, design_activity(d, view), view, energy(d, view, a))
    return drawn.total * view.get("board.power.design_margin", "1")
