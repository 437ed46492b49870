"""Energy of what a netlist did: toggles × Liberty's internal energy and net capacitance, clock and leakage.

Counted: every change of a settled net charges or discharges its pins (½ C V²) and costs the cells' internal energy
at the net's slew and load. Estimated, and kept apart: wires (`flow.wire_load`), the clock's tree above the
flip-flops' pins, and glitches, which a zero-delay simulation does not have.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.physical.synthesis.activity import Simulator
from tapeout.physical.synthesis.flow import SynthesisResult, wire_load
from tapeout.physical.synthesis.library import FALL, RISE, Pin, Power, Table
from tapeout.physical.synthesis.tables import Tables

# Assumptions, each (nominal, low, high), used by `Energy.estimate`.
GLITCHES = (
    0.25,
    0.10,
    0.60,
)  # of switching, internal and wire energy of logic: arithmetic at 10 to 20 levels
CLOCK_TREE = (0.5, 0.3, 1.0)  # of the energy of the flip-flops' clock pins: buffers and wires above them
WIRES = (1.0, 0.6, 1.5)  # of the estimate of wire capacitance


@dataclass(frozen=True)
class Energy:
    """fJ per cycle of one stream. `logic`: internal energy and pin capacitance of gates and flip-flops' outputs.

    `clock`: the flip-flops' clock pins. `wires`: as estimated. `leakage`: over the period it was asked for.
    """

    logic_fj: float
    clock_fj: float
    leakage_fj: float
    wires_fj: float
    toggle_rate: float  # changes per net and cycle
    stream_cycles: int

    @property
    def counted_fj(self) -> float:
        """What was counted, nothing estimated."""
        return self.logic_fj + self.clock_fj + self.leakage_fj

    def estimate(self) -> tuple[float, float, float]:
        """With wires, glitches and the clock's tree: nominal, low, high."""
        nominal, low, high = (
            (self.logic_fj + WIRES[i] * self.wires_fj) * (1 + GLITCHES[i])
            + self.clock_fj * (1 + CLOCK_TREE[i])
            + self.leakage_fj
            for i in range(3)
        )
        return nominal, low, high


def energy(result: SynthesisResult, simulation: Simulator, period_ns: float) -> Energy:
    """Energy per cycle of what `simulation` counted on the netlist of `result`, clocked every `period_ns`."""
    flat, volts = result.flat, result.kit.library.voltage
    cycles = simulation.cycles * simulation.streams
    toggles = simulation.toggles[: flat.nets].astype(np.float64) / max(cycles, 1)
    slew = result.timing.slew.reshape(-1, 2).mean(axis=1)
    fanout = np.zeros(flat.nets)
    for cell, pins in zip(flat.types, flat.pins, strict=True):
        for k, pin in enumerate(cell.pins.values()):
            if not pin.output:
                fanout += np.bincount(pins[pins[:, k] >= 0, k], minlength=flat.nets)
    # loads without the wires that timing may have had
    load = result.timing.load_ff.reshape(-1, 2).mean(axis=1) - result.wire_ff_per_fanout * fanout
    driven = np.zeros(flat.nets, dtype=bool)
    driven[2:] = True
    clocks = np.zeros(flat.nets, dtype=bool)
    internal = clock = 0.0
    for cell, pins in zip(flat.types, flat.pins, strict=True):
        at = {n: k for k, n in enumerate(cell.pins)}
        for pin in cell.pins.values():
            nets = pins[:, at[pin.name]]
            there = nets > 1
            if cell.flip_flop and pin.name == cell.clock:
                clocks[nets[there]] = True
                both = _mean(
                    pin.powers, np.full(len(nets), result.kit.known.clock_slew_ps), np.zeros(len(nets))
                )
                clock += 2 * float(both.sum()) + len(nets) * sum(pin.capacitance_ff) / 2 * volts**2
            else:
                internal += _pin_energy(pin, pins[there], at, toggles, slew, load)
    driven &= ~clocks
    switching = 0.5 * volts**2 * float((toggles * load)[driven].sum())
    per_fanout = wire_load(result.kit, flat)
    wires = 0.5 * volts**2 * per_fanout * float((toggles * fanout)[driven].sum())
    rate = float(toggles[driven].mean()) if driven.any() else 0.0
    return Energy(internal + switching, clock, result.leakage_uw * period_ns, wires, rate, cycles)


def _pin_energy(
    pin: Pin, rows: NDArray[np.int64], at: dict[str, int], toggles: NDArray[np.float64],
    slew: NDArray[np.float64], load: NDArray[np.float64],
) -> float:  # fmt: skip
    """Internal energy of the toggles of a pin, fJ per cycle. An output's tables are weighted by how often the pins
    they are related to toggle; the slew is that of the related pin."""
    nets = rows[:, at[pin.name]]
    if not len(nets) or not pin.powers:
        return 0.0
    if not pin.output:
        return float((toggles[nets] * _mean(pin.powers, slew[nets], np.zeros(len(nets)))).sum())
    weights, energies = [], []
    for power in pin.powers:
        related = rows[:, at[power.related]] if power.related in at else nets
        energies.append(_mean([power], slew[related], load[nets]))
        weights.append(toggles[related] + 1e-12)
    w, e = np.array(weights), np.array(energies)
    return float((toggles[nets] * (w * e).sum(axis=0) / w.sum(axis=0)).sum())


def _mean(powers: list[Power], slew: NDArray[np.float64], load: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over tables and over rising and falling, per element."""
    total = np.zeros(len(slew))
    for power in powers:
        for edge in (RISE, FALL):
            table: Table | None = power.energy.get(edge)
            if table is not None:
                one = Tables()
                which = np.full(len(slew), one.index(table))
                one.seal()
                total += one.look_up(which, slew, load) / (2 * len(powers))
    return total
