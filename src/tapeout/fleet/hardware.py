"""Chips → trays → racks → network → power train: what one accelerator needs around it, in dollars and watts.

The same formulas build every accelerator, ours and others', from the price and power of its parts; their totals are
compared with published ones in the tests.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.accelerators import Accelerator
from tapeout.fleet.graph import Graph, Values
from tapeout.fleet.network import clos
from tapeout.physical.quantity import Quantity

Floats = NDArray[np.float64]


def define_fabric(g: Graph) -> None:
    """The scale-out fabric, the same for every accelerator: switch ports and optics per 800 Gb/s link."""

    def fabric(v: Values) -> dict[str, Floats]:
        radix = v["network.switch_capacity"] / v["network.port_speed"]
        links = v["network.scale_out_endpoints"] * 0.5  # a link of 800 Gb/s serves two chips of 400
        f = clos(links, radix, v["network.oversubscription"], optical_leaf=False)
        return {"fabric.tiers": f.tiers, "fabric.ports": f.ports, "fabric.transceivers": f.transceivers}

    g.let("network.radix", "port/switch", "network.switch_capacity / network.port_speed", "scalar")
    g.solve(
        {
            "fabric.tiers": ("1", "scalar", "tiers of the folded Clos"),
            "fabric.ports": ("port/link", "scalar", "switch ports on all tiers for a link into the fabric"),
            "fabric.transceivers": (
                "transceiver/link",
                "scalar",
                "optical modules for a link into the fabric",
            ),
        },
        (
            "network.switch_capacity",
            "network.port_speed",
            "network.scale_out_endpoints",
            "network.oversubscription",
        ),
        "the smallest folded Clos for the links of scale_out_endpoints chips; copper to the leaf, optics above",
        fabric,
    )
    g.let(
        "fabric.price",
        "USD/link",
        "fabric.ports * network.switch_price / network.radix + fabric.transceivers * network.transceiver_price",
        "scalar",
        "switches and optics for a link into the fabric",
    )
    g.let(
        "fabric.power",
        "W/link",
        "fabric.ports * network.switch_power / network.radix + fabric.transceivers * network.transceiver_power",
    )
    g.let("fabric.link_speed", "Gb/(s·link)", "network.port_speed * fabric.one_port_per_link")


def define_constants(g: Graph) -> None:
    """Units that turn one count into another, one to one."""
    g.input(
        "fabric.one_port_per_link", _fixed(1.0, "port/link", "an endpoint's link takes one port of a leaf")
    )


def _fixed(value: float, unit_text: str, source: str) -> Quantity:
    return Quantity(value, value, value, unit_text, source, "high", "derived")


def datasheet(g: Graph, key: str, sheet: Accelerator) -> None:
    """The inputs of an accelerator of others: power and scale-out bandwidth as its vendor states them."""
    tdp = sheet.quantities["power.tdp"]
    g.input(
        f"chip.{key}.power",
        Quantity(tdp.value, tdp.low, tdp.high, "W/chip", tdp.source, tdp.confidence, tdp.origin),
        f"{sheet.name}: what the vendor designs cooling for",
    )
    out = sheet.quantities["network.scale_out"]
    factor = out.factor("GB/s")
    g.input(
        f"chip.{key}.scale_out",
        Quantity(
            out.value * factor,
            out.low * factor,
            out.high * factor,
            "GB/(s·chip)",
            out.source,
            out.confidence,
            out.origin,
        ),
        "bandwidth to the scale-out network, one direction",
    )


def define_system(g: Graph, key: str, cooling: str) -> None:
    """Trays, racks, networks and provisioned power of one accelerator. Needs `chip.KEY.power`,
    `chip.KEY.scale_out` and the table system.KEY."""
    s, c = f"system.{key}", f"chip.{key}"

    def racked(v: Values) -> dict[str, Floats]:
        room = (v[f"{s}.rack_limit"] - v[f"{s}.rack_other_power"]) / v[f"{s}.tray_power"]
        trays = np.minimum(v[f"{s}.trays_per_rack"], np.floor(room + 1e-9))
        return {f"{s}.trays": np.maximum(trays, 1.0)}

    g.let(f"{s}.tray_power", "W/tray", f"{s}.chips_per_tray * {c}.power + {s}.tray_other_power")
    g.solve(
        {f"{s}.trays": ("tray/rack", "scalar", "as many as there is room for, and power and cooling")},
        (f"{s}.rack_limit", f"{s}.rack_other_power", f"{s}.tray_power", f"{s}.trays_per_rack"),
        "the least of trays_per_rack and the whole trays that rack_limit feeds and cools, at least one",
        racked,
    )
    g.let(f"{s}.rack_power", "W/rack", f"{s}.trays * {s}.tray_power + {s}.rack_other_power")
    g.let(f"{s}.chips_per_rack", "chip/rack", f"{s}.trays * {s}.chips_per_tray")
    g.let(
        f"{s}.tray_price",
        "USD/chip",
        f"{s}.tray_other_price / {s}.chips_per_tray",
        "scalar",
        "host, boards and tray, for each chip",
    )
    g.let(f"{s}.rack_price", "USD/chip", f"{s}.rack_other_price / {s}.chips_per_rack")
    g.let(f"{s}.links", "link/chip", f"{c}.scale_out / fabric.link_speed", "scalar", "800 Gb/s links out")
    g.let(f"{s}.scale_out_price", "USD/chip", f"{s}.links * fabric.price + {s}.adapter_price")
    g.let(f"{s}.scale_out_power", "W/chip", f"{s}.links * fabric.power")
    g.let(
        f"{s}.network_price",
        "USD/chip",
        f"{s}.scale_up_price + {s}.scale_out_price",
        "scalar",
        "scale-up and scale-out networks",
    )
    g.let(f"{s}.storage_price", "USD/chip", "network.storage_price")
    g.let(
        f"{s}.other_power",
        "W/chip",
        f"{s}.rack_power / {s}.chips_per_rack - {c}.power + {s}.scale_up_power + {s}.scale_out_power"
        " + network.storage_power",
        "scalar",
        "all IT power that is not the chip's",
    )
    g.let(f"{s}.it_power", "W/chip", f"{c}.power + {s}.other_power", "scalar", "IT power at full load")
    g.let(
        f"{s}.provisioned",
        "W/chip",
        f"{s}.it_power * cooling.{cooling}.peak",
        "scalar",
        "power of the site that is kept for a chip",
    )
    g.let(
        f"{s}.it_price",
        "USD/chip",
        f"{s}.chip_price + {s}.tray_price + {s}.rack_price + {s}.network_price + {s}.storage_price",
        "scalar",
        "all IT equipment for a chip",
    )
    g.let(
        f"{s}.site_price",
        "USD/chip",
        f"{s}.provisioned * (building.mechanical_electrical + building.shell_land)",
        "scalar",
        "building and power train for a chip",
    )
    g.let(f"{s}.all_in", "USD/chip", f"{s}.it_price + {s}.site_price")
    g.let(
        f"{s}.hourly",
        "USD/(h·chip)",
        f"annuity({s}.it_price, finance.wacc, finance.accelerator_life)"
        f" + annuity({s}.site_price, finance.wacc, building.life)"
        f" + {s}.site_price * building.maintenance"
        f" + ({s}.tray_price + {s}.rack_price + {s}.network_price) * finance.maintenance"
        f" + {s}.it_power * cooling.{cooling}.pue * energy.reference * energy.load",
        "scalar",
        "owning and running a chip: capital at the cost of capital, building, upkeep, energy",
    )


def define_own_scale_up(g: Graph) -> None:
    """The own chip's all-Ethernet scale-up network: one tier of switches in the rack, copper."""
    g.let(
        "system.own.scale_up_price",
        "USD/chip",
        "chip.own.scale_up * (network.switch_price / network.switch_capacity + network.copper_price)",
        "scalar",
        "switch capacity and copper for the chip's scale-up bandwidth, one tier",
    )
    g.let(
        "system.own.scale_up_power",
        "W/chip",
        "chip.own.scale_up * network.switch_power / network.switch_capacity",
    )


def whole(x: float) -> int:
    """`x` rounded up."""
    return math.ceil(x - 1e-9)
