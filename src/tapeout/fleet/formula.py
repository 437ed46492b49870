"""The language of the plan's formulas: names, + - * / **, and a few functions of series, with their units."""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.units import ONE, Unit, unit

Array = NDArray[np.float64]
MONTH = unit("month").factor
YEAR = unit("year").factor


@dataclass(frozen=True, order=True)
class Month:
    """A calendar month."""

    year: int
    month: int

    @staticmethod
    def parse(text: str) -> Month:
        """From "2026-10". Raises ValueError."""
        year, month = text.split("-")
        if not (len(year) == 4 and 1 <= int(month) <= 12):
            raise ValueError(text)
        return Month(int(year), int(month))

    def plus(self, months: int) -> Month:
        """`months` later."""
        n = self.year * 12 + self.month - 1 + months
        return Month(n // 12, n % 12 + 1)

    def since(self, other: Month) -> int:
        """Months from `other` to this one."""
        return (self.year - other.year) * 12 + self.month - other.month

    def __str__(self) -> str:
        return f"{self.year}-{self.month:02d}"


@dataclass(frozen=True)
class Function:
    """What it computes on arrays [samples, months] in base units, and the unit of the result from those of the
    arguments (raises ValueError)."""

    evaluate: Callable[..., Any]
    unit: Callable[..., Unit]
    about: str


def _alike(*units: Unit) -> Unit:
    if not all(u.like(units[0]) for u in units):
        raise ValueError("needs arguments alike, has " + ", ".join(map(str, units)))
    return units[0]


def _pure(u: Unit) -> Unit:
    if u.dimensions:
        raise ValueError(f"needs a pure number, has {u}")
    return ONE


def _with_time(u: Unit, t: Unit) -> Unit:
    if not t.like(unit("s")):
        raise ValueError(f"needs a time, has {t}")
    return u


def _with_rate(u: Unit, r: Unit) -> Unit:
    if not r.like(unit("1/s")):
        raise ValueError(f"needs a rate per time, has {r}")
    return u


def shifted(x: Array, by: Array) -> Array:
    """[S, T] later by `by` seconds [S, 1]: linear between months, the part before the first month taken as zero.
    The sum over months is kept, apart from what leaves at the end: what a negative `by` would put before the first
    month falls in it."""
    if np.all(by <= 0) and np.any(by < 0):
        return _ahead(x, -np.atleast_2d(by)[:, :1] / MONTH)
    months = np.atleast_2d(by)[:, :1] / MONTH
    whole = np.floor(months)
    part = months - whole
    rows = max(x.shape[0], months.shape[0])
    wide = np.broadcast_to(x, (rows, x.shape[1]))
    index = np.arange(x.shape[1])[None, :] - whole.astype(int)

    def at(i: NDArray[np.int64]) -> Array:
        rowed = np.broadcast_to(i, (rows, x.shape[1]))
        taken = np.take_along_axis(wide, np.clip(rowed, 0, x.shape[1] - 1), axis=1)
        return np.where((rowed >= 0) & (rowed < x.shape[1]), taken, 0.0)

    if not np.any(part):
        return at(index)
    return at(index) * (1 - part) + at(index - 1) * part


def _ahead(x: Array, months: Array) -> Array:
    """[S, T] earlier by `months` [S, 1], through the running sum."""
    rows, length = max(x.shape[0], months.shape[0]), x.shape[1]
    running = np.broadcast_to(np.cumsum(x, axis=1), (rows, length))
    at = np.minimum(np.arange(length)[None, :] + np.broadcast_to(months, (rows, 1)), length - 1)
    low = np.floor(at).astype(int)
    part = at - low
    below = np.take_along_axis(running, low, axis=1)
    above = np.take_along_axis(running, np.minimum(low + 1, length - 1), axis=1)
    return np.diff(below * (1 - part) + above * part, axis=1, prepend=0.0)


def discounted(x: Array, rate: Array) -> Array:
    """Present value of what happens in each month, at its middle: × (1 + rate) ^ -years."""
    years = (np.arange(x.shape[1]) + 0.5)[None, :] / 12
    return x * (1 + rate * YEAR) ** -years


def annuity(amount: Array, rate: Array, life: Array) -> Array:
    """The constant payment per second that repays `amount` over `life` at `rate` (monthly instalments)."""
    monthly = (1 + rate * YEAR) ** (1 / 12) - 1
    count = life / MONTH
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.where(np.abs(monthly) < 1e-12, 1 / count, monthly / -np.expm1(-count * np.log1p(monthly)))
    return amount * factor / MONTH


FUNCTIONS: dict[str, Function] = {
    "min": Function(lambda *a: _fold(np.minimum, a), _alike, "least of its arguments"),
    "max": Function(lambda *a: _fold(np.maximum, a), _alike, "greatest of its arguments"),
    "exp": Function(np.exp, _pure, "e to the power"),
    "log": Function(np.log, _pure, "natural logarithm"),
    "ceil": Function(lambda x: np.ceil(x - 1e-9), lambda u: u, "whole number, upwards"),
    "cumulative": Function(lambda x: np.cumsum(x, axis=1), lambda u: u, "sum up to each month"),
    "highest": Function(lambda x: np.maximum.accumulate(x, axis=1), lambda u: u, "greatest so far"),
    "increase": Function(
        lambda x: np.diff(x, axis=1, prepend=0.0), lambda u: u, "change since the month before"
    ),
    "later": Function(shifted, _with_time, "the series delayed by a time"),
    "horizon": Function(lambda x: x.sum(axis=1, keepdims=True), lambda u: u, "sum over all months"),
    "final": Function(lambda x: x[:, -1:], lambda u: u, "value at the end"),
    "peak": Function(lambda x: x.max(axis=1, keepdims=True), lambda u: u, "greatest over all months"),
    "discounted": Function(discounted, _with_rate, "present value"),
    "annuity": Function(
        annuity, lambda a, r, t: _with_rate(_with_time(a, t), r) / unit("s"), "level payment"
    ),
    "only_if_positive": Function(
        lambda x: np.maximum(x, 0.0), lambda u: u, "x, or nothing where it is negative"
    ),
}


def _fold(operation: Callable[[Any, Any], Any], arguments: tuple[Any, ...]) -> Any:
    found = arguments[0]
    for a in arguments[1:]:
        found = operation(found, a)
    return found


def names_of(tree: ast.AST) -> list[str]:
    """The dotted names a formula uses, once each, in order of appearance."""
    found: dict[str, None] = {}

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.Attribute | ast.Name):
            found[ast.unparse(node)] = None
        elif isinstance(node, ast.Call):
            for a in node.args:
                walk(a)
        else:
            for child in ast.iter_child_nodes(node):
                walk(child)

    walk(tree)
    return list(found)


def dimension(node: ast.expr, unit_of: Callable[[str], Unit], where: str) -> Unit:
    """The unit of a formula. Raises ValueError, naming `where`, if it adds what cannot be added."""
    try:
        return _dimension(node, unit_of)
    except ValueError as e:
        raise ValueError(f"{where}: {ast.unparse(node)}: {e}") from None


def _dimension(node: ast.expr, unit_of: Callable[[str], Unit]) -> Unit:
    match node:
        case ast.Name() | ast.Attribute():
            return unit_of(ast.unparse(node))
        case ast.Constant(value=int() | float()):
            return ONE
        case ast.UnaryOp(op=ast.USub(), operand=inner):
            return _dimension(inner, unit_of)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, power = _dimension(left, unit_of), _dimension(right, unit_of)
            _pure(power)
            if not base.dimensions:
                return ONE
            if isinstance(right, ast.Constant) and float(right.value).is_integer():  # type: ignore[arg-type]
                return base ** int(right.value)  # type: ignore[arg-type]
            raise ValueError(f"{base} to a power that is not a whole number")
        case ast.BinOp(left=left, op=op, right=right):
            a, b = _dimension(left, unit_of), _dimension(right, unit_of)
            if isinstance(op, ast.Mult):
                return a * b
            if isinstance(op, ast.Div):
                return a / b
            if isinstance(op, ast.Add | ast.Sub):
                if not a.like(b):
                    raise ValueError(f"{ast.unparse(left)} is {a}, {ast.unparse(right)} is {b}")
                return a
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in FUNCTIONS:
            return FUNCTIONS[name].unit(*[_dimension(a, unit_of) for a in arguments])
    raise ValueError(f"{ast.unparse(node)} is not part of the language")


def finite(x: Array) -> bool:
    """Whether all of it is finite."""
    return bool(math.isfinite(float(np.sum(np.abs(x)))))
