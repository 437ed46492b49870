"""ChipSpec as TOML: in, with every complaint naming file and field; out, with a unit beside every value."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from tapeout.chip.spec import ChipSpec, check_combinations
from tapeout.errors import InputError, Phrase
from tapeout.fields import Fields
from tapeout.files import read_toml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+-]{0,63}")


def available() -> tuple[str, ...]:
    """Names of the shipped presets, smallest chip first."""
    found = {p.name.removesuffix(".toml") for p in _presets().iterdir() if p.name.endswith(".toml")}
    return tuple(sorted(found, key=lambda name: (load(name).cores, name)))


def load(source: str | Path) -> ChipSpec:
    """The chip of `source`: a shipped name ("tiny") or a path to a chip.toml.

    Raises InputError naming file and field for anything else.
    """
    if isinstance(source, str) and _NAME.fullmatch(source) and not source.endswith(".toml"):
        preset = _presets() / f"{source}.toml"
        if preset.is_file():
            return from_toml(preset.read_text(encoding="utf-8"), f"preset {source}")
    path = Path(source)
    try:
        if path.is_dir():
            path = path / "chip.toml"
        present = path.is_file()
    except (OSError, ValueError):  # a name that cannot be a path
        present = False
    if not present:
        names = ", ".join(sorted(p.name[:-5] for p in _presets().iterdir() if p.name.endswith(".toml")))
        raise InputError("chip", "", str(source), f"a chip.toml or one of {names}")
    return from_table(whole(read_toml(path), path), path)


def from_toml(text: str, where: object) -> ChipSpec:
    """The chip of a TOML document. Raises InputError."""
    try:
        table = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as e:
        raise InputError(where, "", Phrase(e), "valid TOML") from None
    except ValueError as e:  # integers of more digits than Python converts
        raise InputError(where, "", Phrase(e), "valid TOML") from None
    return from_table(whole(table, where), where)


def whole(table: dict[str, Any], where: object) -> dict[str, Any]:
    """`table`, which must have every part of a chip: what is left of a truncated file is not a chip."""
    for f in fields(ChipSpec):
        if f.name not in table:
            raise InputError(
                where, f.name, Phrase("nothing"), "every part of a chip; `tapeout chips NAME` lists them"
            )
    return table


def from_table(table: Mapping[str, Any], where: object) -> ChipSpec:
    """The chip of a parsed table; fields that are absent have their defaults. Raises InputError."""
    spec = _read(ChipSpec, Fields(table, where))
    if not _NAME.fullmatch(spec.name):
        raise InputError(where, "name", spec.name, "1 to 64 letters, digits, spaces or ._+-")
    check_combinations(spec, where)
    return spec


def to_table(value: Any) -> dict[str, Any]:
    """The nested table of a spec (or of a part of one)."""
    table: dict[str, Any] = {}
    for f in fields(value):
        v = getattr(value, f.name)
        table[f.name] = to_table(v) if is_dataclass(v) else list(v) if isinstance(v, tuple) else v
    return table


def to_toml(spec: ChipSpec) -> str:
    """The TOML document of a spec; `from_toml` of it gives the same spec exactly."""
    return "\n".join(_lines(spec, "")).strip() + "\n"


def _lines(part: Any, path: str) -> list[str]:
    leaves: list[str] = []
    below: list[str] = []
    for f in fields(part):
        value = getattr(part, f.name)
        if is_dataclass(value):
            below += _lines(value, f"{path}.{f.name}" if path else f.name)
        else:
            written = f"{f.name} = {_written(value)}"
            leaves.append(f"{written:<38} # {f.metadata['about']}")
    return ([f"\n[{path}]"] if path else []) + leaves + below


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_written(v) for v in value) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _read(kind: type, table: Fields) -> Any:
    read: dict[str, Any] = {}
    hints = _hints(kind)
    for f in fields(kind):
        if is_dataclass(hints[f.name]):
            read[f.name] = _read(hints[f.name], table.section(f.name, optional=True))
        else:
            read[f.name] = _value(f, hints[f.name], table)
    table.done()
    return kind(**read)


def _value(f: Field[Any], hint: Any, table: Fields) -> Any:
    assert f.default is not MISSING
    low, high = f.metadata["low"], f.metadata["high"]
    if hint is bool:
        return table.boolean(f.name, f.default)
    if hint is int:
        value = table.integer(f.name, f.default, low=int(low), high=int(high))
        if f.metadata["power_of_two"] and value & (value - 1):
            raise table.fail(f.name, value, f"a power of two from {low} to {high}")
        return value
    if hint is float:
        return table.number(f.name, f.default, low=low, high=high)
    if get_origin(hint) is tuple:
        return _choices(f.name, list(f.default), get_args(get_args(hint)[0]), table)
    return table.text(f.name, f.default, choices=get_args(hint) or None)


def _choices(name: str, default: list[str], choices: tuple[str, ...], table: Fields) -> tuple[str, ...]:
    values = table.array(name, default, longest=len(choices))
    expected = f"a list of different ones of {', '.join(choices)}"
    if not values or not all(isinstance(v, str) and v in choices for v in values):
        raise table.fail(name, values, expected)
    if len(set(values)) < len(values):
        raise table.fail(name, values, expected)
    return tuple(c for c in choices if c in values)  # one order, so that equal engines compare equal


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _presets() -> Any:
    return resources.files("tapeout.chip.presets")
