"""From a name, a folder or a config.json to a `Model`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tapeout.errors import InputError, Phrase
from tapeout.files import parse_json, read_json
from tapeout.model import catalog, demo
from tapeout.model.architecture import Model
from tapeout.model.families import read

MAX_PARAMETERS = 10**14  # a hundred times the largest model announced


def load(source: str | Path) -> Model:
    """The model of `source`: a shipped name ("gpt-oss-120b", "demo"), a Hugging Face id of a shipped model
    ("openai/gpt-oss-120b", see `catalog.resolve`), a folder with a config.json, or a config.json.

    A shipped name means the shipped model even where a folder happens to be called the same: that is `./NAME`.
    Weights are not needed and not read. Raises InputError, naming file and field, for anything else.
    """
    if source == demo.NAME:
        return from_config(read_json(demo.FOLDER / "config.json"), demo.FOLDER / "config.json", demo.NAME)
    if source in catalog.names():
        return _shipped(str(source))
    path = Path(source)
    try:
        if path.is_dir():
            return from_config(read_json(path / "config.json"), path / "config.json", path.resolve().name)
        if path.is_file():
            name = path.resolve().parent.name if path.name == "config.json" else path.stem
            return from_config(read_json(path), path, name)
    except (OSError, ValueError):  # a name that cannot be a path
        raise InputError("model", "", str(source), "a shipped model, a folder or a config.json") from None
    if isinstance(source, Path) or str(source).endswith(".json") or str(source).startswith((".", "/", "~")):
        raise InputError(source, "", Phrase("nothing there"), "a folder with a config.json, or a config.json")
    return _shipped(str(source))


def _shipped(source: str) -> Model:
    entry = catalog.resolve(source)
    model = from_config(parse_json(entry.text(), entry.file), entry.file, entry.name)
    return model.requantised(entry.format) if entry.format else model


def from_config(table: Mapping[str, Any], where: object, name: str) -> Model:
    """The model of a parsed config.json; `where` names it in messages."""
    model = replace(read(table, where), name=name)
    if model.parameters > MAX_PARAMETERS:
        raise InputError(where, "", Phrase(f"{model.parameters} parameters"), f"at most {MAX_PARAMETERS}")
    return model
