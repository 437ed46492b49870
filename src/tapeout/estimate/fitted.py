"""The fitted parameters as shipped: one TOML file, written by `tapeout calibrate`, read here."""

from __future__ import annotations

import json
import tomllib
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from tapeout.errors import InputError, Phrase
from tapeout.estimate.parameters import ALL, Parameters
from tapeout.fields import Fields
from tapeout.files import read_toml, write_atomic

NAME = "fitted.toml"


@lru_cache(maxsize=1)
def fitted() -> Parameters:
    """The shipped parameters."""
    text = files("tapeout.estimate.fits").joinpath(NAME).read_text(encoding="utf-8")
    return parse(tomllib.loads(text), NAME)


def read(path: Path) -> Parameters:
    """The parameters in `path`. Raises InputError naming the field that is wrong."""
    return parse(read_toml(path), path)


def parse(table: dict[str, Any], where: object) -> Parameters:
    """The parameters of a parsed file; every parameter must be there, and no other."""
    top = Fields(table, where)
    values: dict[str, float] = {}
    deviations: dict[str, float] = {}
    listed = top.section("parameters")
    for name, entry in listed.sections():
        if name not in ALL:
            raise listed.fail(name, Phrase("an unknown parameter"), "one of the model's parameters")
        values[name] = entry.number("value", low=1e-15, high=1e9)
        deviations[name] = entry.number("deviation", low=0.0, high=10.0)
    for name in ALL:
        if name not in values:
            raise InputError(where, f"parameters.{name}", Phrase("nothing"), "a value")
    provenance = {k: v for k, v in table.items() if k != "parameters"}
    return Parameters(values, deviations, provenance)


def write(path: Path, parameters: Parameters) -> None:
    """Write `parameters` as TOML, same input same bytes."""
    lines = [
        "# Written by `tapeout calibrate`. `deviation` is the standard deviation of the value's logarithm."
    ]
    for key, value in parameters.provenance.items():
        if isinstance(value, dict):
            lines += ["", f"[{key}]"] + [f"{json.dumps(str(k))} = {_toml(v)}" for k, v in value.items()]
    for name in ALL:
        p = ALL[name]
        lines += [
            "",
            f'[parameters."{name}"]',
            f"value = {parameters.values[name]:.6g}",
            f"deviation = {parameters.deviations.get(name, p.spread):.4g}",
            f"unit = {json.dumps(p.unit)}",
            f"prior = {p.prior:.6g}",
            f"prior_deviation = {p.spread:.4g}",
            f"fitted = {'true' if p.fitted else 'false'}",
            f"meaning = {json.dumps(p.meaning, ensure_ascii=False)}",
            f"source = {json.dumps(p.source, ensure_ascii=False)}",
        ]
    write_atomic(path, "\n".join(lines) + "\n")


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(v) for v in value) + "]"
    return json.dumps(str(value), ensure_ascii=False)
