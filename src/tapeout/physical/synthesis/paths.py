"""What timing is given beside a netlist, and the paths it finds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Wire:
    """Estimated wiring: capacitance per input pin that a net drives."""

    ff_per_fanout: float = 0.0


@dataclass(frozen=True)
class MacroTiming:
    """A memory macro: its clock pin, and constants for all its pins."""

    clock: str
    clock_to_output_ps: float
    setup_ps: float
    hold_ps: float
    input_ff: float
    output_slew_ps: float


@dataclass(frozen=True)
class Step:
    """One step of a path: the net reached, by which cell, at what time (ps), with what slew and load."""

    net: str
    cell: str
    edge: str
    arrival_ps: float
    slew_ps: float
    load_ff: float


@dataclass(frozen=True)
class Path:
    """A path to an endpoint. `start`, `end`: registers or ports, as the RTL calls them."""

    kind: str
    start: str
    end: str
    arrival_ps: float
    setup_ps: float
    steps: tuple[Step, ...]

    @property
    def period_ps(self) -> float:
        """The shortest clock period that this path allows (paths from and to ports: if they had it all)."""
        return self.arrival_ps + self.setup_ps
