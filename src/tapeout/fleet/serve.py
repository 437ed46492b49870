"""Who serves what: chips needed at the peak, the share each accelerator serves, how busy it is, what power it draws."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.demand import total
from tapeout.fleet.graph import Graph, Values
from tapeout.fleet.scenario import Scenario
from tapeout.fleet.service import Load, Service

Floats = NDArray[np.float64]


def loads_of(s: Scenario) -> dict[str, Load]:
    """The loads of the scenario's classes, at the values of their quantities."""
    return {
        c: Load(
            model,
            s.value(f"kind.{c}.prompt", "token/request"),
            s.value(f"kind.{c}.cached", "1"),
            s.value(f"kind.{c}.output", "token/request"),
            s.value(f"kind.{c}.tpot", "s/token"),
            s.value(f"kind.{c}.ttft", "s"),
        )
        for c, model in s.classes.items()
    }


def define_service(g: Graph, s: Scenario, found: Mapping[tuple[str, str], Service]) -> None:
    """Requests per second and watts of a chip, by accelerator and class. `found`: (accelerator, class)."""
    nominal = loads_of(s)
    for a in s.accelerators:
        for c in s.classes:
            service, load = found[a, c], nominal[c]
            outputs = {
                f"service.{a}.{c}.rate": (
                    "request/(s·chip)",
                    "scalar",
                    f"of {c} on a chip, within the targets",
                ),
                f"service.{a}.{c}.watts": ("W/chip", "scalar", "of the chip at that rate"),
            }
            parents = (
                f"service.attained_{a}",
                *(f"kind.{c}.{k}" for k in ("prompt", "cached", "output", "tpot", "ttft")),
            )

            def solve(
                v: Values, a: str = a, c: str = c, service: Service = service, load: Load = load
            ) -> dict[str, Floats]:
                rate, watts = service.at(v[f"service.attained_{a}"])
                fresh = (
                    v[f"kind.{c}.prompt"] * (1 - v[f"kind.{c}.cached"]) / (load.prompt * (1 - load.cached))
                )
                output = v[f"kind.{c}.output"] / load.output
                work = service.prefill_share * fresh + (1 - service.prefill_share) * output
                return {f"service.{a}.{c}.rate": rate / work, f"service.{a}.{c}.watts": watts + 0 * rate}

            how = (
                f"steps of prefill and decode replicas ({service.split}; batch {service.batch} on "
                f"{service.chips} chips):"
                " the highest rate whose 90th percentiles of time per token and to first token are within the targets,"
                " at the share of the estimated speed that software attains; other lengths by their share of chip-time"
            )
            g.solve(outputs, parents, how, solve)  # type: ignore[arg-type]


def define_fleet(g: Graph, s: Scenario) -> None:
    """Fleets of each accelerator, what of the demand they serve, and their power. Needs deliveries.own."""
    g.let(
        "fleet.own",
        "chip",
        "cumulative(deliveries.own) - later(cumulative(deliveries.own), finance.accelerator_life)",
        "stock",
        "own chips in service, until the end of their life",
    )
    for a in s.gpus:
        g.let(
            f"deliveries.{a}",
            "chip",
            f"gpu.{a}.added * month * gpu_buying",
            "flow",
            f"{s.vendors[a]} accelerators bought, by contract",
        )
        life = "finance.accelerator_life"
        g.let(
            f"fleet.{a}",
            "chip",
            f"gpu.{a}.installed * max(0, 1 - time / {life})"
            f" + cumulative(deliveries.{a}) - later(cumulative(deliveries.{a}), {life})",
            "stock",
            "in service; those of the start retire evenly over a life",
        )
    for a in s.accelerators:
        _availability(g, a)
        for c in s.classes:
            g.let(
                f"need.{a}.{c}",
                "chip",
                f"requests.{c} * other_work * demand.peak * demand.headroom"
                f" / (service.{a}.{c}.rate * availability)",
                "stock",
                f"{a} chips that all of {c} would take at the peak",
            )
        g.let(
            f"need.{a}",
            "chip",
            total(f"need.{a}.{c}" for c in s.classes),
            "stock",
            "chips of this kind that all demand would take at the peak",
        )
    left = "1"
    for a in s.accelerators:
        g.let(
            f"served.{a}",
            "1",
            f"min({left}, fleet.{a} / max(need.{a}, fleet.least))",
            "stock",
            "share of all demand it serves: the own chip first, then the others as they are listed",
        )
        left = f"({left} - served.{a})" if left != "1" else f"(1 - served.{a})"
    g.let(
        "served", "1", total(f"served.{a}" for a in s.accelerators), "stock", "share of demand that is served"
    )
    for a in s.accelerators:
        g.let(
            f"busy.{a}",
            "1",
            f"served.{a} * need.{a} / (demand.peak * demand.headroom * max(fleet.{a}, fleet.least))",
            "stock",
            "share of its chip-time that is used, over the day",
        )
        weights = " + ".join(f"need.{a}.{c} * service.{a}.{c}.watts" for c in s.classes)
        g.let(
            f"active_power.{a}",
            "W/chip",
            f"min(({weights}) / need.{a}, chip.{a}.power)",
            "stock",
            "of a chip at work, over the kinds of requests by their chip-time",
        )
        g.let(
            f"mean_power.{a}",
            "W/chip",
            f"idle.{a} + busy.{a} * only_if_positive(active_power.{a} - idle.{a}) + system.{a}.other_power",
            "stock",
            "IT power of a chip and what stands around it, over the day",
        )
        g.let(f"idle_share.{a}", "1", f"(idle.{a} + system.{a}.other_power) / mean_power.{a}", "stock")


def _availability(g: Graph, a: str) -> None:
    if "availability" in g.nodes:
        return
    r = "reliability"
    g.let(
        "availability",
        "1",
        f"1 / (1 + {r}.chip_failures * ({r}.blast * {r}.repair + {r}.replica_chips * {r}.restart)"
        f" + {r}.link_failures * {r}.links_per_chip * {r}.blast_of_link * {r}.repair)",
        "scalar",
        "of chips: lost with their tray until repair, and while replicas restart",
    )
