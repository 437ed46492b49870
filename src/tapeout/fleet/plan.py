"""A plan: the scenario's whole graph, from demand to money, ready to be evaluated for one sample or thousands."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tapeout.chip.spec import ChipSpec
from tapeout.errors import InputError, Phrase
from tapeout.estimate.accelerators import accelerator
from tapeout.fleet import demand, hardware, money, own, serve, versus
from tapeout.fleet.deploy import Supply, define_sites
from tapeout.fleet.energy import Energy
from tapeout.fleet.formula import Month
from tapeout.fleet.graph import Graph, Values
from tapeout.fleet.scenario import Scenario, load_scenario
from tapeout.fleet.service import Service, solve_all
from tapeout.model import load
from tapeout.physical.quantity import Quantity


@dataclass
class Plan:
    """A scenario's graph with what its solvers found at the nominal inputs."""

    scenario: Scenario
    chip: ChipSpec
    graph: Graph
    services: Mapping[tuple[str, str], Service]
    supply: Supply
    energy: Energy
    nominal: Values
    screened: tuple[str, ...] | None = None  # uncertain inputs, those that matter most first

    def year(self, name: str, year: int, values: Values | None = None) -> np.ndarray:
        """[samples] a flow summed over a calendar year, a stock at its end, a scalar as it is; base units."""
        v = (values or self.nominal)[name]
        kind = self.graph.nodes[name].kind
        if kind == "scalar" or v.shape[1] == 1:
            return v[:, 0]
        first = Month(year, 1).since(self.graph.first)
        last = min(first + 12, v.shape[1])
        if last <= 0 or first >= v.shape[1]:
            raise InputError("--why", name, Phrase(str(year)), f"a year from {self.graph.first.year}")
        return v[:, max(first, 0) : last].sum(axis=1) if kind == "flow" else v[:, last - 1]

    def shortfall(self) -> str | None:
        """Why the plan misses its last target, in words, or None if it does not."""
        schedule, limits = self.supply.nominal, self.supply.limits
        assert schedule is not None and limits is not None
        s = self.scenario
        worst: str | None = None
        for year in s.targets:
            q = min(Month(year, 12).plus(1).since(s.start) // 3, self.supply.quarters) - 1
            short, wanted = float(schedule.short[q]), float(limits.target[q])
            if short > 0.005 * wanted:
                watts = short * float(self.nominal["system.own.provisioned"][0, 0])
                worst = (
                    f"target.y{year}: {watts / 1e9:.2f} GW ({short:,.0f} chips, {short / wanted:.0%}) "
                    f"short at the end of "
                    f"{year}; what binds is {schedule.binding(q)}"
                )
                if year == max(s.targets):
                    return worst
        return worst if worst and s.targets and worst.startswith(f"target.y{max(s.targets)}") else None


def build(
    s: Scenario,
    chip: str | Path | None = None,
    model: str | None = None,
    pool: Executor | None = None,
    progress: Callable[[str], None] = lambda _: None,
    services: Mapping[tuple[str, str], Service] | None = None,
) -> Plan:
    """Build and evaluate the plan of a scenario. `chip`: instead of the scenario's; `model`: serves every class.

    `services`: solved before, for the same accelerators and loads.
    """
    if model is not None:
        s = Scenario(**{**s.__dict__, "classes": dict.fromkeys(s.classes, model)})
    source = chip if chip is not None else s.chip
    spec = own.load_chip(source)
    own.check(spec, "--chip" if chip is not None else f"{s.where}: own.chip")
    for wanted in dict.fromkeys(s.classes.values()):
        load(wanted)
    for a in s.gpus:
        accelerator(a)
    if services is None:
        progress("what each accelerator serves at equal latency")
        targets = {"own": str(source)} | {a: a for a in s.gpus}
        services = solve_all(targets, serve.loads_of(s), pool)
    progress("the plan's graph")
    graph = Graph(s.start, s.months)
    supply, energy = Supply(s), Energy(s)
    _define(graph, s, spec, services, supply, energy)
    progress("supply, power and money at the nominal inputs")
    nominal = graph.evaluate()
    return Plan(s, spec, graph, services, supply, energy, nominal)


def plan(
    scenario: str | Path = "ten-gigawatts", chip: str | Path | None = None, model: str | None = None
) -> Plan:
    """The plan of a shipped scenario or a TOML file, at the nominal inputs. Raises InputError naming the field that is
    wrong. Samples, sensitivity and stress of it are in `tapeout.fleet.risk` and `tapeout.fleet.stress`."""
    return build(load_scenario(scenario), chip, model)


def _certain(value: float, unit: str, source: str) -> Quantity:
    return Quantity(value, value, value, unit, source, "high", "derived")


def _define(
    g: Graph,
    s: Scenario,
    spec: ChipSpec,
    services: Mapping[tuple[str, str], Service],
    supply: Supply,
    energy: Energy,
) -> None:
    for name, q in s.quantities.items():
        g.input(name, q)
    g.time()
    _calendar(g, s)
    small = "keeps a division by nothing from happening"
    for name, value, unit in (
        ("sites.least", 1.0, "W"),
        ("fleet.least", 1e-6, "chip"),
        ("versus.least", 1e-6, "USD/chip"),
    ):
        g.input(name, _certain(value, unit, small))
    g.input("reliability.chip_per_failure", _certain(1.0, "chip/failure", "a failure takes one chip"))
    g.input(
        "reliability.blast_of_link", _certain(1.0, "chip/failure", "a link that fails takes its chip out")
    )
    g.input("reliability.links_per_chip", _certain(1.0, "link/chip", "optical links out of a chip"))
    g.let("energy.gpu_price", "USD/MWh", "energy.reference", "scalar", "of energy at partner sites")
    own.define_chip(g, spec)
    own.define_cost(g)
    hardware.define_constants(g)
    hardware.define_fabric(g)
    hardware.define_own_scale_up(g)
    for a in s.gpus:
        hardware.datasheet(g, a, accelerator(a))
    for a in s.accelerators:
        if f"system.{a}.chips_per_tray" not in g.nodes:
            known = sorted({n.split(".")[1] for n in s.quantities if n.startswith("system.")} - {"own"})
            raise InputError(
                s.where, f"gpu.{a}", a, f"one of {', '.join(known)}, or tables system.{a} with its parts"
            )
        hardware.define_system(g, a, s.cooling[a])
        first = next(iter(s.classes))
        g.input(
            f"idle.{a}",
            _certain(services[a, first].idle_watts, "W/chip", "estimate of the accelerator's idle power"),
        )
    demand.define(g, s)
    serve.define_service(g, s, services)
    define_sites(g, s)
    supply.define(g)
    serve.define_fleet(g, s)
    energy.define(g)
    money.define(g, s)
    versus.define(g, s)


def _calendar(g: Graph, s: Scenario) -> None:
    years = s.months / 12
    until = Month(max(s.targets), 12).plus(1).since(s.start)
    buying = (np.arange(s.months) < until)[None, :] * 1.0
    g.solve(
        {
            "plan.length": ("year", "scalar", "of the plan"),
            "plan.middle": ("year", "scalar", "when buildings were built, on the mean"),
            "gpu_buying": ("1", "stock", "1 while accelerators of others are bought: to the last target"),
        },
        (),
        "the calendar",
        lambda _: {"plan.length": years, "plan.middle": until / 12 * 0.7, "gpu_buying": buying},
    )
    g.input("plan.one_year", _certain(1.0, "year", "the period that yearly rates are of"))
    g.let(
        "plan.last_discount",
        "1",
        "exp(-log(1 + finance.wacc * plan.one_year) * plan.length / plan.one_year)",
        "scalar",
        "present value of a dollar at the end",
    )
