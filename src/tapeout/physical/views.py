"""Tables of quantities, and views of them: every entry at its value, its low or high end, or sampled.

Models take a `View`. Its numbers are floats, or arrays of shape (samples, 1) that broadcast against
arrays of designs (n,) to (samples, n): uncertainty propagates through any model without its knowing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import InputError, Phrase
from tapeout.files import read_toml
from tapeout.physical.quantity import Quantity, factor, read_quantities

Number = Any  # float or NumPy array


@dataclass(frozen=True)
class View:
    """Numbers by name, each in the unit of its quantity."""

    tables: Tables
    values: Mapping[str, Number]

    def get(self, name: str, unit: str) -> Number:
        """The number called `name` in `unit`. Raises KeyError for an unknown name, ValueError for a unit of
        another dimension (both are mistakes of the program, not of a user)."""
        return self.values[name] * factor(self.tables[name].unit, unit)

    def pick(self, family: str, choices: Sequence[str], code: Any, entry: str, unit: str) -> Number:
        """`family.CHOICE.entry` for each design, where `code` (n,) indexes `choices`: (n,) or (samples, n)."""
        column = [self.get(f"{family}.{choice}.{entry}", unit) for choice in choices]
        if any(np.ndim(c) for c in column):
            count = max(np.size(c) for c in column)
            return np.stack([np.broadcast_to(np.ravel(c), (count,)) for c in column], axis=-1)[:, code]
        return np.asarray(column)[code]

    def replaced(self, **changes: Number) -> View:
        """This view with some numbers changed; a dot in a name is written as two underscores."""
        named = {key.replace("__", "."): value for key, value in changes.items()}
        return self.changed(named)

    def changed(self, changes: Mapping[str, Number]) -> View:
        """This view with the numbers of `changes` (by dotted name, in the quantity's unit)."""
        for name in changes:
            if name not in self.tables:
                raise InputError("technology", name, Phrase("an unknown quantity"), "a name in the tables")
        return View(self.tables, {**self.values, **changes})


class Tables(Mapping[str, Quantity]):
    """Quantities by dotted name: `nodes.N5.wafer_price`, `memories.hbm3e.bandwidth`, …"""

    def __init__(self, quantities: Mapping[str, Quantity]) -> None:
        self._quantities = dict(quantities)

    def __getitem__(self, name: str) -> Quantity:
        return self._quantities[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._quantities)

    def __len__(self) -> int:
        return len(self._quantities)

    @property
    def uncertain(self) -> tuple[str, ...]:
        """Names of the quantities that have a range, in a fixed order: the axes of a Monte-Carlo sample."""
        return tuple(sorted(name for name, q in self._quantities.items() if q.uncertain))

    def nominal(self) -> View:
        """Every quantity at its value."""
        return View(self, {name: q.value for name, q in self._quantities.items()})

    def low(self) -> View:
        """Every quantity at the low end of its range."""
        return View(self, {name: q.low for name, q in self._quantities.items()})

    def high(self) -> View:
        """Every quantity at the high end of its range."""
        return View(self, {name: q.high for name, q in self._quantities.items()})

    def sampled(self, u: np.ndarray, names: Sequence[str] | None = None) -> View:
        """Each of `names` (all uncertain ones if absent) sampled; others at their value.

        `u`: (samples, len(names)) in [0, 1], from any sequence, pseudo-random or quasi-random. A column is
        mapped through the inverse of the triangular distribution on [low, high] with its mode at the value.
        """
        names = self.uncertain if names is None else tuple(names)
        u = np.asarray(u, float)
        if u.ndim != 2 or u.shape[1] != len(names):
            raise ValueError(f"u has shape {u.shape}; expected (samples, {len(names)})")
        values: dict[str, Number] = {name: q.value for name, q in self._quantities.items()}
        for column, name in zip(u.T, names, strict=True):
            values[name] = triangular(self._quantities[name], column)[:, None]
        return View(self, values)

    def merged(self, other: Mapping[str, Quantity]) -> Tables:
        """These tables with those of `other` in place of the ones of the same name."""
        return Tables({**self._quantities, **other})


def triangular(q: Quantity, u: np.ndarray) -> np.ndarray:
    """The inverse cumulative distribution at u in [0, 1]; `q.value` everywhere if it is certain."""
    span = q.high - q.low
    if span <= 0:
        return np.full(np.shape(u), q.value)
    peak = (q.value - q.low) / span
    rising = q.low + span * np.sqrt(u * peak)
    falling = q.high - span * np.sqrt((1.0 - u) * (1.0 - peak))
    return np.where(u < peak, rising, falling)


@cache
def shipped() -> Tables:
    """The shipped tables."""
    found: dict[str, Quantity] = {}
    for path in sorted(resources.files("tapeout.physical.tables").iterdir(), key=lambda p: p.name):
        if path.name.endswith(".toml"):
            stem = path.name.removesuffix(".toml")
            with resources.as_file(path) as real:
                found |= read_quantities(read_toml(real), f"tables/{path.name}", stem)
    return Tables(found)


def load(path: str | Path) -> Tables:
    """The shipped tables with those of the TOML file `path` in their place: [nodes.N5.wafer_price] and so on.

    Raises InputError for a quantity that no table has, or in a unit of another dimension.
    """
    base, given = shipped(), read_quantities(read_toml(Path(path)), path)
    for name, q in given.items():
        if name not in base:
            raise InputError(path, name, Phrase("an unknown quantity"), "the name of a shipped one")
        try:
            factor(q.unit, base[name].unit)
        except ValueError:
            raise InputError(path, f"{name}.unit", q.unit, f"a unit like {base[name].unit}") from None
    return base.merged(given)
