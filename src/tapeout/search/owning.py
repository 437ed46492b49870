"""What a chip costs to own, by the hour: the same sum for every chip, ours and those one can buy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

from tapeout.workload.operators import Number

HOURS_PER_YEAR = 8766.0


def assume(value: float, low: float, high: float, unit: str, source: str, confidence: str = "low") -> Any:
    """An assumption: a value with the range it may lie in, its unit and where it comes from."""
    about = {"low": low, "high": high, "unit": unit, "source": source, "confidence": confidence}
    return field(default=value, metadata=about)


@dataclass(frozen=True)
class Owning:
    """Assumptions about owning; each can be changed, and the report prints them with their ranges."""

    partner_margin: float = assume(
        0.6, 0.4, 1.0, "of unit cost", "design partners report gross margins of 30-50 % on custom silicon"
    )
    engineering_dollars: float = assume(
        5.4e8, 5.0e8, 1.0e9, "$", "NRE at 3 nm 500-580 M$, all-in 0.5-1 B$ (press)"
    )
    volume: float = assume(300_000, 100_000, 1_000_000, "chips", "chips that share the engineering")
    system_dollars: float = assume(
        9_000,
        6_000,
        14_000,
        "$ per chip",
        "host, board, network, rack: non-accelerator part of an NVL72 rack",
    )
    years: float = assume(5, 4, 6, "years", "depreciation of accelerators by cloud operators: 4 to 6")
    interest: float = assume(0.10, 0.07, 0.13, "per year", "cost of capital of a data-centre operator")
    maintenance: float = assume(0.03, 0.02, 0.05, "of capital per year", "spares and service")
    overhead_watts: float = assume(
        350, 250, 500, "W per chip", "host, network, fans: B200 1.0 kW chip, 1.3 kW wall"
    )
    facility: float = assume(130, 100, 180, "$ per kW and month", "colocation without power, wholesale")
    pue: float = assume(1.2, 1.1, 1.4, "", "power usage effectiveness of new sites", "medium")
    dollars_per_kwh: float = assume(0.08, 0.05, 0.12, "$ per kWh", "industrial power, US", "medium")

    @property
    def annuity(self) -> float:
        """Yearly payment for one dollar of capital."""
        r, n = self.interest, self.years
        return r / (1 - (1 + r) ** -n) if r > 0 else 1 / n

    def capital(self, unit_dollars: Number) -> Any:
        """Dollars for a chip of ours in its rack: unit cost, the partner's margin, its part of the engineering,
        the system around it."""
        bought = unit_dollars * (1 + self.partner_margin)
        return bought + self.engineering_dollars / self.volume + self.system_dollars

    def dollars_per_hour(self, capital: Number, provisioned_watts: Number, watts: Number) -> Any:
        """Dollars for an hour of a chip whose place is built for `provisioned_watts` and which draws `watts`,
        overheads of its server not included in either."""
        place = (provisioned_watts + self.overhead_watts) / 1e3 * self.facility * 12
        energy = (watts + self.overhead_watts) / 1e3 * self.pue * self.dollars_per_kwh
        return (capital * (self.annuity + self.maintenance) + place) / HOURS_PER_YEAR + energy

    def rows(self) -> Iterator[tuple[str, float, float, float, str, str, str]]:
        """Each assumption: name, value, low, high, unit, source, confidence."""
        for f in fields(self):
            m = f.metadata
            yield f.name, getattr(self, f.name), m["low"], m["high"], m["unit"], m["source"], m["confidence"]
