"""Which library: a name (`asap7`, `gt2n`, `sky130`) or the path of a Liberty file, and what is known beside it."""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from tapeout.errors import InputError, Phrase
from tapeout.physical.synthesis.library import Library, load

VARIABLE = "TAPEOUT_PDK"


@dataclass(frozen=True)
class Sram:
    """Memory macros beside a library: area, constants of timing, energy per byte at sizes (KiB, pJ)."""

    um2_per_bit: float
    um2_source: str
    clock_to_output_ps: float
    setup_ps: float
    timing_source: str
    pj_per_byte: tuple[tuple[float, float], ...]
    energy_source: str


@dataclass(frozen=True)
class Known:
    """What a Liberty file does not say. `avoid`: cells (shell patterns) that mapping leaves alone.

    `wire_ff_per_um`: of routed signal wire. `target_ps`: the period that mapping aims at if none is asked for.
    """

    name: str
    title: str
    files: tuple[str, ...]
    get: str
    match: str
    avoid: tuple[str, ...]
    wire_ff_per_um: float
    wire_source: str
    clock_slew_ps: float
    clock_slew_source: str
    target_ps: float
    sram: Sram


@dataclass(frozen=True, eq=False)
class Kit:
    """A library with what is known beside it."""

    library: Library
    known: Known


@lru_cache
def known() -> dict[str, Known]:
    """The libraries known by name."""
    table: dict[str, dict[str, Any]] = tomllib.loads((Path(__file__).parent / "libraries.toml").read_text())
    found = {}
    for name, one in table.items():
        fields: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in one.items()}
        sram: dict[str, Any] = {
            k: tuple(map(tuple, v)) if isinstance(v, list) else v for k, v in fields.pop("sram").items()
        }
        found[name] = Known(name=name, sram=Sram(**sram), **fields)
    return found


def folders() -> list[Path]:
    """Where named libraries are looked for: the folders of TAPEOUT_PDK, then the user's data directory."""
    named = [Path(p) for p in os.environ.get(VARIABLE, "").split(os.pathsep) if p]
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    return [*named, data / "tapeout" / "pdk"]


def find(name: str | Path) -> Kit:
    """The library of that name or path. Raises InputError, saying where to get it, if it is not there."""
    text = str(name)
    if text in known():
        one = known()[text]
        for folder in folders():
            for file in one.files:
                if (path := folder / file).is_file():
                    return Kit(load(path), one)
        raise InputError(
            "--lib", text, Phrase(f"none of {', '.join(one.files)} in {', '.join(map(str, folders()))}"),
            f"the path of a Liberty file, or {VARIABLE} set to the folder that has it; get it from {one.get}",
        )  # fmt: skip
    path = Path(text)
    if not path.exists() and "/" not in text and not path.suffix:
        raise InputError("--lib", "", text, f"{', '.join(known())} or the path of a Liberty file")
    library = load(path)
    for one in known().values():
        if one.match in library.name.lower():
            return Kit(library, one)
    return Kit(library, replace(
        known()["asap7"], name=library.name, title=library.name, files=(), get="", match="", avoid=(),
        wire_source="assumption: as ASAP7's; the library is not one known here", clock_slew_ps=20 * library.time_ps,
        target_ps=1000 * library.time_ps,
    ))  # fmt: skip
