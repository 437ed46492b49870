"""Numbers as people read them: three figures, the unit's own prefix, ranges beside the value."""

from __future__ import annotations

import math

from tapeout.report.markup import Markup, tag, text

_PREFIXES = tuple((10.0**e, p) for e, p in zip(range(15, -15, -3), (*"PTGMk", "", *"mµnp"), strict=True))


def figures(value: float, digits: int = 3) -> str:
    """`value` to `digits` significant figures, thousands apart by a thin space.

    >>> figures(1234.5), figures(0.01234), figures(float("nan"))
    ('1 230', '0.0123', '–')
    """
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    places = digits - 1 - math.floor(math.log10(abs(rounded)))
    if abs(rounded) >= 10**15 or abs(rounded) < 1e-6:
        return f"{value:.{digits - 1}e}"
    return f"{rounded:,.{max(places, 0)}f}".replace(",", "\u202f")


def si(value: float, unit: str = "", digits: int = 3) -> str:
    """`value` with an SI prefix on its unit.

    >>> si(4.8e12, "B/s"), si(0.0075, "s"), si(0, "W")
    ('4.80 TB/s', '7.50 ms', '0 W')
    """
    if not math.isfinite(value):
        return "–"
    size = abs(float(f"{value:.{digits - 1}e}"))
    scale, prefix = next(((s, p) for s, p in _PREFIXES if size >= s), _PREFIXES[-1]) if value else (1.0, "")
    return f"{figures(value / scale, digits)} {prefix}{unit}".rstrip()


def percent(share: float, digits: int = 0) -> str:
    """A share as per cent."""
    return f"{share * 100:.{digits}f} %" if math.isfinite(share) else "–"


def times(ratio: float) -> str:
    """A ratio: 2.4×."""
    return f"{figures(ratio, 2)}×" if math.isfinite(ratio) else "–"


def ranged(value: str, low: str, high: str) -> Markup:
    """A value with the range it may lie in beneath it."""
    if low == high:
        return text(value)
    return Markup(text(value) + tag("span", f"{low} – {high}", class_="range"))
