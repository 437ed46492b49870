"""Units by their algebra: "USD/(MW·year)" is parsed, multiplied, compared and converted.

Every formula of a plan is checked with it, so that dollars are never added to chips. Things that are counted
(chips, racks, wafers, users, tokens) are dimensions of their own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

# name: (factor to the base units, dimensions)
_BASE: dict[str, tuple[float, dict[str, int]]] = {
    "1": (1.0, {}),
    "%": (0.01, {}),
    "s": (1.0, {"time": 1}),
    "min": (60.0, {"time": 1}),
    "h": (3600.0, {"time": 1}),
    "day": (86400.0, {"time": 1}),
    "week": (7 * 86400.0, {"time": 1}),
    "month": (365.25 * 86400 / 12, {"time": 1}),
    "quarter": (365.25 * 86400 / 4, {"time": 1}),
    "year": (365.25 * 86400, {"time": 1}),
    "J": (1.0, {"energy": 1}),
    "W": (1.0, {"energy": 1, "time": -1}),
    "Wh": (3600.0, {"energy": 1}),
    "MMBtu": (1.055056e9, {"energy": 1}),
    "USD": (1.0, {"money": 1}),
    "g": (1.0, {"mass": 1}),
    "t": (1e6, {"mass": 1}),
    "m": (1.0, {"length": 1}),
    "bit": (0.125, {"data": 1}),
    "byte": (1.0, {"data": 1}),
    "b": (0.125, {"data": 1}),
    "B": (1.0, {"data": 1}),
    "Hz": (1.0, {"time": -1}),
}
_COUNTED = (
    "user",
    "message",
    "request",
    "token",
    "chip",
    "die",
    "wafer",
    "package",
    "stack",
    "substrate",
    "tray",
    "rack",
    "host",
    "switch",
    "port",
    "transceiver",
    "link",
    "person",
    "replica",
    "failure",
)
_BASE |= {name: (1.0, {name: 1}) for name in _COUNTED}
_PREFIX = {
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "B": 1e9,
    "m": 1e-3,
    "u": 1e-6,
    "n": 1e-9,
    "c": 1e-2,
}
_PREFIXED = {"J", "W", "Wh", "USD", "g", "bit", "byte", "b", "B", "Hz", "t", *_COUNTED}
_SPECIAL = {
    "mm": ("m", 1e-3),
    "cm": ("m", 1e-2),
    "um": ("m", 1e-6),
    "km": ("m", 1e3),
    "ms": ("s", 1e-3),
    "us": ("s", 1e-6),
    "ns": ("s", 1e-9),
}
_TOKEN = re.compile(r"\s*([A-Za-z%$]+\d?|\d+(?:\.\d+)?|[()·*/^])")


@dataclass(frozen=True)
class Unit:
    """A factor to the base units (s, J, USD, g, m, byte, and things counted) and exponents of dimensions."""

    factor: float
    dimensions: tuple[tuple[str, int], ...]

    @staticmethod
    def of(factor: float, dimensions: dict[str, int]) -> Unit:
        """A unit from a mapping of exponents."""
        return Unit(factor, tuple(sorted((k, v) for k, v in dimensions.items() if v)))

    def __mul__(self, other: Unit) -> Unit:
        found = dict(self.dimensions)
        for name, power in other.dimensions:
            found[name] = found.get(name, 0) + power
        return Unit.of(self.factor * other.factor, found)

    def __pow__(self, power: int) -> Unit:
        return Unit.of(self.factor**power, {k: v * power for k, v in self.dimensions})

    def __truediv__(self, other: Unit) -> Unit:
        return self * other**-1

    def like(self, other: Unit) -> bool:
        """Whether both measure the same thing."""
        return self.dimensions == other.dimensions

    def __str__(self) -> str:
        up = [k + (f"^{v}" if v > 1 else "") for k, v in self.dimensions if v > 0]
        down = [k + (f"^{-v}" if v < -1 else "") for k, v in self.dimensions if v < 0]
        return ("·".join(up) or "1") + "".join(f"/{d}" for d in down) if up or down else "a pure number"


ONE = Unit(1.0, ())


@cache
def unit(text: str) -> Unit:
    """The unit that `text` names. Raises ValueError, saying what is unknown.

    >>> str(unit("USD/(kW·month)"))
    'money/energy'
    """
    tokens, at = [], 0
    stripped = text.strip()
    while at < len(stripped):
        match = _TOKEN.match(stripped, at)
        if not match:
            raise ValueError(f"{text!r} is not a unit")
        tokens.append(match[1])
        at = match.end()
    found, rest = _product(tokens, text)
    if rest:
        raise ValueError(f"{text!r} is not a unit")
    return found


def _product(tokens: list[str], text: str) -> tuple[Unit, list[str]]:
    found, tokens = _factor(tokens, text)
    while tokens and tokens[0] in "·*/":
        sign = -1 if tokens[0] == "/" else 1
        other, tokens = _factor(tokens[1:], text)
        found = found * other**sign
    return found, tokens


def _factor(tokens: list[str], text: str) -> tuple[Unit, list[str]]:
    if not tokens:
        raise ValueError(f"{text!r} is not a unit")
    if tokens[0] == "(":
        found, rest = _product(tokens[1:], text)
        if not rest or rest[0] != ")":
            raise ValueError(f"{text!r} is not a unit")
        rest = rest[1:]
    else:
        found, rest = _named(tokens[0]), tokens[1:]
    if len(rest) > 1 and rest[0] == "^" and rest[1].isdigit():
        return found ** int(rest[1]), rest[2:]
    return found, rest


def _named(name: str) -> Unit:
    power = 1
    if len(name) > 1 and name[-1].isdigit() and not name[0].isdigit():
        name, power = name[:-1], int(name[-1])
    for candidate in (name, name.removesuffix("s") if len(name) > 3 else name):
        if candidate in _BASE:
            factor, dimensions = _BASE[candidate]
            return Unit.of(factor, dict(dimensions)) ** power
        if candidate in _SPECIAL:
            base, scale = _SPECIAL[candidate]
            return Unit.of(scale, dict(_BASE[base][1])) ** power
        if candidate[:1] in _PREFIX and candidate[1:] in _PREFIXED:
            factor, dimensions = _BASE[candidate[1:]]
            return Unit.of(factor * _PREFIX[candidate[0]], dict(dimensions)) ** power
    raise ValueError(f"{name!r} is no unit known here")
