"""What the plan's quantities are called on its page."""

from __future__ import annotations

LABELS = {
    "npv": "the whole plan",
    "funding": "most money of the owners in at once",
    "service.attained_own": "speed that software attains on the own chip, of what is estimated",
    "revenue.per_user_growth": "growth of revenue per user, a year",
    "revenue.growth_slowing": "rate at which that growth declines",
    "revenue.per_user": "revenue per user",
    "revenue.price_fall": "fall of token prices, a year",
    "demand.users_growth": "growth of users",
    "demand.users_ceiling": "most users ever",
    "demand.slowing": "rate at which growth of use declines",
    "demand.other_work": "all serving over the text modelled",
    "demand.other_growth": "growth of all serving over the text modelled, a year",
    "demand.headroom": "capacity above the expected peak",
    "schedule.tape_out_slip": "delay of the tape-out",
    "schedule.grid_slip": "delay of grid connections",
    "own.stack_price": "price of a stack of memory",
    "own.defect_density": "defect density",
    "nre.partner_margin": "margin of the design and supply partner",
    "finance.wacc": "cost of capital",
    "finance.other_cost_of_revenue": "other cost of revenue",
    "building.mechanical_electrical": "power train and cooling of a site",
    "building.lease": "rent of partner sites",
    "network.switch_price": "price of a switch",
    "network.transceiver_price": "price of an optical module",
    "chip.own.power": "power of the own chip",
}
_KINDS = {
    "growth": "growth of requests, a year",
    "per_user": "requests per user",
    "rate": "requests",
    "prompt": "prompt tokens",
    "cached": "cached share of prompts",
    "output": "output tokens",
}


def words(name: str) -> str:
    """A quantity's name as words."""
    parts = name.split(".")
    if name in LABELS:
        return LABELS[name]
    if parts[0] == "kind" and parts[-1] in _KINDS:
        return f"{parts[1]}: {_KINDS[parts[-1]]}"
    if parts[0] == "gpu" and parts[-1] == "progress":
        return f"{parts[1].upper()} and its successors: yearly fall of cost per unit of work"
    if parts[0] == "service" and parts[1].startswith("attained_"):
        return f"speed that software attains on {parts[1][9:].upper()}, of what is estimated"
    if parts[0] == "versus" and parts[-1] == "npv":
        return f"saving against {parts[1].upper()}"
    return name.replace("_", " ").replace(".", ": ", 1).replace(".", " ")
