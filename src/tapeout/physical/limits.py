"""What cannot be built: every physical limit of a chip, for one spec in words or for many designs as masks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tapeout.chip.designs import Designs, as_designs
from tapeout.chip.spec import MEMORY_KINDS, PACKAGES, ChipSpec
from tapeout.errors import DoesNotHold, InputError
from tapeout.physical.area import Area, area, interposer_area, outline
from tapeout.physical.clock import clock_limit
from tapeout.physical.energy import energy
from tapeout.physical.power import design_activity, power
from tapeout.physical.views import Number, View, shipped


@dataclass(frozen=True, eq=False)
class Limit:
    """One limit: what the chip `needs` and what it `has`, each (n,) or (samples, n), in `unit`."""

    needs: Number
    has: Number
    unit: str

    @property
    def broken(self) -> Number:
        """Where the chip needs more than it has."""
        return self.needs > self.has * (1 + 1e-9)


def limits(
    chips: Designs | ChipSpec,
    view: View | None = None,
    max_watts: Number | None = None,
    areas: Area | None = None,
) -> dict[str, Limit]:
    """Every limit by name: clock, reticle, edge, memory_beachfront, link_beachfront, stack_capacity, interposer,
    power, heat_flux. `max_watts`: of the package, the limit of liquid cooling if absent."""
    d, view = as_designs(chips), view or shipped().nominal()
    a = area(d, view) if areas is None else areas
    o = outline(d, view, a.total)
    long, short = view.get("packaging.die.reticle_long", "mm"), view.get("packaging.die.reticle_short", "mm")
    capacity = [shipped()[f"memories.{kind}.capacity"] for kind in MEMORY_KINDS]
    largest = np.array([q.high for q in capacity])[d.memory_kind]
    drawn = power(d, design_activity(d, view), view, energy(d, view, a))
    watts = drawn.total * view.get("board.power.design_margin", "1")
    die_watts = drawn.total - drawn.memory / 2 - drawn.conversion  # half of it in the stacks
    return {
        "clock": Limit(d.clock_ghz, clock_limit(d, view), "GHz"),
        "reticle": Limit(a.total, long * short, "mm²"),
        "edge": Limit(o.height, long, "mm"),
        "memory_beachfront": Limit(o.memory_needed, o.memory_has, "mm"),
        "link_beachfront": Limit(o.links_needed, o.links_has, "mm"),
        "stack_capacity": Limit(d.gibibytes_per_stack, largest, "GiB"),
        "interposer": Limit(
            interposer_area(d, a.total),
            view.pick("packaging", PACKAGES, d.package, "interposer_limit", "mm2"),
            "mm²",
        ),
        "power": Limit(
            watts, view.get("board.power.liquid_limit", "W") if max_watts is None else max_watts, "W"
        ),
        "heat_flux": Limit(
            die_watts / (d.dies * a.total), view.get("board.power.flux_limit", "W/mm2"), "W/mm²"
        ),
    }


def feasible(found: Mapping[str, Limit]) -> Number:
    """Where no limit of `limits(...)` is broken; bool (n,) or (samples, n)."""
    broken = [limit.broken for limit in found.values()]
    return ~np.logical_or.reduce(np.broadcast_arrays(*broken))


def problems(spec: ChipSpec, view: View | None = None, max_watts: float | None = None) -> list[str]:
    """What cannot be built about `spec`, one sentence for each limit that is broken."""
    found = limits(spec, view, max_watts)
    kind = spec.memory.kind.upper()
    per_die = " on each die" if spec.dies > 1 else ""
    stacks = -(-spec.memory.stacks // spec.dies)
    lanes = (spec.links.scale_up_lanes + spec.links.scale_out_lanes) / spec.dies
    words = {
        "clock": f"the clock is {{needs:.2f}} GHz; the pipelines reach {{has:.2f}} in {spec.node}",
        "reticle": "the die takes {needs:,.0f} mm²; a reticle has {has:,.0f}",
        "edge": "the die is {needs:.1f} mm long; a reticle has {has:.0f}",
        "memory_beachfront": f"{stacks} {kind} {_noun(kind, stacks)}{per_die} need {{needs:.0f}} mm of beachfront; "
        "the die has {has:.0f}",
        "link_beachfront": f"{lanes:.0f} lanes of {spec.links.gigabits_per_lane}G{per_die} need {{needs:.1f}} mm of "
        "beachfront; the die has {has:.1f} left",
        "stack_capacity": f"{{needs:.0f}} GiB of {kind} in a stack; the largest has {{has:.0f}}",
        "interposer": f"dies and stacks take {{needs:,.0f}} mm² of package; {spec.package} has {{has:,.0f}}",
        "power": "the package draws {needs:,.0f} W; the limit is {has:,.0f}",
        "heat_flux": "the die dissipates {needs:.2f} W/mm²; cooling takes {has:.2f}",
    }
    return [
        words[name].format(needs=np.ravel(x.needs)[0], has=np.ravel(x.has)[0])
        for name, x in found.items()
        if np.any(x.broken)
    ]


def check(spec: ChipSpec, view: View | None = None, max_watts: float | None = None) -> None:
    """Raise DoesNotHold, in the field's words, if `spec` cannot be built: the first limit that is broken, and how
    many more are. A clock that the node cannot make is an InputError."""
    clock = limits(spec, view, max_watts)["clock"]
    if np.any(clock.broken):
        most = float(np.ravel(clock.has)[0])
        raise InputError(spec.name, "clock_ghz", spec.clock_ghz, f"at most {most:.2f} in {spec.node}")
    found = problems(spec, view, max_watts)
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise DoesNotHold(f"{spec.name}: {found[0]}{more}")


def _noun(kind: str, count: int) -> str:
    noun = "stack" if kind.startswith("HBM") else "channel" if kind == "DDR" else "package"
    return noun if count == 1 else noun + "s"
