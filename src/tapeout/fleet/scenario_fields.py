"""The fields of a scenario: the unit each is like, and which must be above nil."""

from __future__ import annotations

# The fields of a scenario beyond those of the tables, with a unit each is like; * is a name of the scenario's own.
FORMS = {
    "demand.users_start": "user",
    "demand.users_growth": "1/year",
    "demand.users_ceiling": "user",
    "demand.slowing": "1/year",
    "demand.other_work": "1",
    "demand.other_growth": "1/year",
    "demand.headroom": "1",
    "kind.*.per_user": "request/(user·day)",
    "kind.*.rate": "request/s",
    "kind.*.growth": "1/year",
    "kind.*.prompt": "token/request",
    "kind.*.cached": "1",
    "kind.*.output": "token/request",
    "kind.*.tpot": "s/token",
    "kind.*.ttft": "s",
    "region.*.share": "1",
    "region.*.longitude": "1",
    "region.*.swing": "1",
    "service.*": "1",
    "target.*": "W",
    "schedule.tape_out_slip": "month",
    "schedule.grid_slip": "month",
    "gpu.*.installed": "chip",
    "gpu.*.added": "chip/year",
    "gpu.*.progress": "1/year",
    "revenue.per_user": "USD/(user·year)",
    "revenue.per_user_growth": "1/year",
    "revenue.growth_slowing": "1/year",
    "revenue.input_price": "USD/token",
    "revenue.cached_price": "USD/token",
    "revenue.output_price": "USD/token",
    "revenue.price_fall": "1/year",
    # Of the own chip, instead of what `physical` says of it.
    "own.die_area": "mm2/die",
    "own.wafer_price": "USD/wafer",
    "own.defect_density": "1/cm2",
    "own.stack_price": "USD/stack",
    "own.interposer_price": "USD/mm2",
    "own.substrate_price": "USD/chip",
    "own.assembly_yield": "1",
    "chip.own.power": "W/chip",
    "nre.design": "USD",
    "nre.masks": "USD",
    "site.*.connection.*.power": "W",
    "site.*.build.solar": "W",
    "site.*.build.wind": "W",
    "site.*.build.battery": "W",
}
# What others are divided by: whole names, and last parts of names.
POSITIVE = {
    "network.switch_capacity",
    "network.port_speed",
    "network.oversubscription",
    "network.scale_out_endpoints",
    "demand.users_start",
    "demand.users_ceiling",
    "demand.slowing",
    "demand.other_work",
    "demand.headroom",
    "revenue.growth_slowing",
    "finance.debt_term",
    "finance.accelerator_life",
    "chips_per_tray",
    "trays_per_rack",
    "rack_limit",
    "peak",
    "pue",
    "life",
    "peak_load",
    "output",
    "prompt",
    "tpot",
    "ttft",
    "efficiency",
    "hours",
    "available",
    "yield",
    "own.assembly_yield",
    "own.die_area",
    "chip.own.power",
    "packages",
}
_OPEN = ("kind", "region", "service", "target", "gpu", "site")


def form_of(name: str) -> str:
    """The name with what the scenario calls things replaced by *."""
    parts = name.split(".")
    if parts[0] in _OPEN and len(parts) > 1:
        parts[1] = "*"
    if parts[0] == "site" and len(parts) == 5:
        parts[3] = "*"
    return ".".join(parts)
