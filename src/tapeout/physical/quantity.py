"""Quantity: a number with its unit, range, source, confidence and origin. A bare number is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from tapeout.errors import InputError, Phrase
from tapeout.fields import Fields

Confidence = Literal["high", "medium", "low"]
Origin = Literal["synthesised", "scaled", "datasheet", "literature", "derived", "assumption"]

# Unit: (dimension, factor to the dimension's first unit). Conversion happens within a dimension only.
UNITS: dict[str, tuple[str, float]] = {
    "1": ("ratio", 1.0),
    "count": ("count", 1.0),
    "mm": ("length", 1.0),
    "um": ("length", 1e-3),
    "mm2": ("area", 1.0),
    "um2": ("area", 1e-6),
    "MTr/mm2": ("transistor density", 1.0),
    "Mb/mm2": ("bit density", 1.0),
    "kTr": ("transistors", 1e-3),
    "MTr": ("transistors", 1.0),
    "J": ("energy", 1.0),
    "pJ": ("energy", 1e-12),
    "fJ": ("energy", 1e-15),
    "J/byte": ("energy per byte", 1.0),
    "pJ/byte": ("energy per byte", 1e-12),
    "pJ/bit": ("energy per byte", 8e-12),
    "J/byte/mm": ("energy per byte and distance", 1.0),
    "fJ/bit/mm": ("energy per byte and distance", 8e-15),
    "W": ("power", 1.0),
    "kW": ("power", 1e3),
    "mW": ("power", 1e-3),
    "W/mm2": ("power density", 1.0),
    "mW/mm2": ("power density", 1e-3),
    "B/s": ("bandwidth", 1.0),
    "GB/s": ("bandwidth", 1e9),
    "TB/s": ("bandwidth", 1e12),
    "GiB": ("capacity", 1.0),
    "GB": ("capacity", 1e9 / 2**30),
    "MB": ("capacity", 1e6 / 2**30),
    "TFLOP/s": ("arithmetic", 1.0),  # two operations per multiply-accumulate
    "s": ("time", 1.0),
    "us": ("time", 1e-6),
    "ns": ("time", 1e-9),
    "ps/mm": ("time per length", 1.0),
    "USD": ("money", 1.0),
    "MUSD": ("money", 1e6),
    "USD/h": ("money per time", 1.0),
    "USD/mm2": ("money per area", 1.0),
    "USD/W": ("money per power", 1.0),
    "1/cm2": ("defect density", 1.0),
    "V": ("voltage", 1.0),
    "GHz": ("frequency", 1.0),
}
_ENTRIES = {"value", "low", "high", "unit", "source", "confidence", "origin"}


@dataclass(frozen=True)
class Quantity:
    """`value` in `unit`, known to lie from `low` to `high` (equal to it where nothing is uncertain)."""

    value: float
    low: float
    high: float
    unit: str
    source: str
    confidence: Confidence
    origin: Origin

    @property
    def uncertain(self) -> bool:
        """Whether the range is wider than a point."""
        return self.high > self.low

    def factor(self, unit: str) -> float:
        """What to multiply by to get `unit`. Raises ValueError across dimensions or for an unknown unit."""
        return factor(self.unit, unit)

    def to(self, unit: str) -> float:
        """The value in `unit`."""
        return self.value * self.factor(unit)


def factor(source: str, target: str) -> float:
    """The factor from unit `source` to unit `target`. Raises ValueError if they measure different things."""
    for unit in (source, target):
        if unit not in UNITS:
            raise ValueError(f"unknown unit {unit}")
    if UNITS[source][0] != UNITS[target][0]:
        raise ValueError(f"{source} is {UNITS[source][0]}, {target} is {UNITS[target][0]}")
    return UNITS[source][1] / UNITS[target][1]


def read_quantity(entry: Fields) -> Quantity:
    """The quantity of one table entry. Raises InputError naming file and field."""
    unit = entry.text("unit", choices=tuple(UNITS))
    value = entry.number("value", low=-1e18)
    low = entry.number("low", value, low=-1e18, high=value)
    high = entry.number("high", value, low=value)
    source = entry.text("source")
    if not source.strip():
        raise entry.fail("source", source, "where the number comes from")
    confidence = entry.text("confidence", choices=get_args(Confidence))
    origin = entry.text("origin", choices=get_args(Origin))
    entry.done()
    return Quantity(value, low, high, unit, source, confidence, origin)  # type: ignore[arg-type]


def read_quantities(table: Mapping[str, Any], where: object, path: str = "") -> dict[str, Quantity]:
    """Every quantity of a table, by dotted name. Raises InputError for anything that is not one."""
    found: dict[str, Quantity] = {}
    for key, value in table.items():
        name = f"{path}.{key}" if path else key
        if not isinstance(value, dict):
            raise InputError(where, name, value, "a table with value, unit, source, confidence and origin")
        if _ENTRIES & value.keys():
            found[name] = read_quantity(Fields(value, where, name))
        elif not value:
            raise InputError(where, name, Phrase("an empty table"), "quantities")
        elif name.count(".") >= 6:
            raise InputError(where, name, Phrase("nesting beyond any use"), "at most 6 levels")
        else:
            found |= read_quantities(value, where, name)
    return found
