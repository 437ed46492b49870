"""Typed, bounded reading of the tables users write (config.json, chip.toml, scenarios).

A `Fields` wraps one table and knows where it came from, so that every complaint names the
file and the dotted path of the field. Bounds are part of reading: an absurd number never
gets past this file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, overload

from tapeout.errors import InputError, Phrase

T = TypeVar("T")
_REQUIRED: Any = object()


class Fields:
    """One table of a file. Each getter checks type and bounds and raises InputError otherwise."""

    def __init__(self, table: Mapping[str, Any], where: object, path: str = "") -> None:
        self.table, self.where, self.path = table, where, path
        self._read: set[str] = set()

    def name(self, key: str) -> str:
        """The dotted path of `key`, for messages."""
        return f"{self.path}.{key}" if self.path else key

    def fail(self, key: str, found: object, expected: str) -> InputError:
        """The error to raise about `key`."""
        return InputError(self.where, self.name(key), found, expected)

    def __contains__(self, key: str) -> bool:
        return self.table.get(key) is not None

    def _get(self, key: str, default: Any, expected: str) -> Any:
        self._read.add(key)
        value = self.table.get(key)
        if value is None:
            if default is _REQUIRED:
                raise self.fail(key, Phrase("nothing"), expected)
            return default
        return value

    @overload
    def integer(self, key: str, *, low: int = ..., high: int = ...) -> int: ...
    @overload
    def integer(self, key: str, default: int, *, low: int = ..., high: int = ...) -> int: ...
    @overload
    def integer(self, key: str, default: None, *, low: int = ..., high: int = ...) -> int | None: ...
    def integer(self, key: str, default: Any = _REQUIRED, *, low: int = 1, high: int = 10**9) -> int | None:
        """An integer from `low` to `high`; true and false are not integers."""
        expected = f"an integer from {low} to {high}"
        value = self._get(key, default, expected)
        if value is None or value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(key, value, expected)
        return value

    @overload
    def number(self, key: str, *, low: float = ..., high: float = ...) -> float: ...
    @overload
    def number(self, key: str, default: float, *, low: float = ..., high: float = ...) -> float: ...
    @overload
    def number(self, key: str, default: None, *, low: float = ..., high: float = ...) -> float | None: ...
    def number(
        self, key: str, default: Any = _REQUIRED, *, low: float = 0.0, high: float = 1e18
    ) -> float | None:
        """A finite number from `low` to `high`; integers count as numbers."""
        expected = f"a number from {low:g} to {high:g}"
        value = self._get(key, default, expected)
        if value is None or value is default:
            return value
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.fail(key, value, expected)
        try:
            real = float(value)
        except OverflowError:
            real = math.inf
        if not math.isfinite(real) or not low <= real <= high:
            raise self.fail(key, value, expected)
        return real

    @overload
    def boolean(self, key: str) -> bool: ...
    @overload
    def boolean(self, key: str, default: bool) -> bool: ...
    def boolean(self, key: str, default: Any = _REQUIRED) -> bool:
        """True or false, and nothing that merely looks like it."""
        value = self._get(key, default, "true or false")
        if not isinstance(value, bool):
            raise self.fail(key, value, "true or false")
        return value

    @overload
    def text(self, key: str, *, choices: Sequence[str] | None = ...) -> str: ...
    @overload
    def text(self, key: str, default: str, *, choices: Sequence[str] | None = ...) -> str: ...
    @overload
    def text(self, key: str, default: None, *, choices: Sequence[str] | None = ...) -> str | None: ...
    def text(self, key: str, default: Any = _REQUIRED, *, choices: Sequence[str] | None = None) -> str | None:
        """A string; one of `choices` where they are given."""
        expected = f"one of {', '.join(choices)}" if choices else "a string"
        value = self._get(key, default, expected)
        if value is None:
            return value
        if not isinstance(value, str) or (choices is not None and value not in choices):
            raise self.fail(key, value, expected)
        return value

    def array(self, key: str, default: Any = _REQUIRED, *, longest: int = 100_000) -> list[Any]:
        """A list, elements unchecked."""
        expected = f"a list of at most {longest} elements"
        value = self._get(key, default, expected)
        if not isinstance(value, list) or len(value) > longest:
            raise self.fail(key, value, expected)
        return value

    def section(self, key: str, *, optional: bool = False) -> Fields:
        """The sub-table `key`; an empty one if absent and `optional`."""
        value = self._get(key, {} if optional else _REQUIRED, "a table")
        if not isinstance(value, dict):
            raise self.fail(key, value, "a table")
        return Fields(value, self.where, self.name(key))

    def sections(self) -> Iterator[tuple[str, Fields]]:
        """Every entry of this table as a sub-table."""
        for key in self.table:
            yield key, self.section(key)

    def done(self) -> None:
        """Raise InputError if the table holds a key that nothing has read: a misspelling, most likely."""
        for key in self.table:
            if key not in self._read:
                known = ", ".join(sorted(self._read))
                raise self.fail(key, Phrase("an unknown field"), f"one of {known}")
