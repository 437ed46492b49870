"""Reading and writing files so that a failure loses nothing and is told in one line."""

from __future__ import annotations

import json
import os
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from tapeout.errors import InputError, Phrase, TapeoutError

MAX_TEXT_BYTES = 64 * 2**20  # larger than any config, index or scenario; guards against the wrong file


def read_text(path: Path) -> str:
    """The UTF-8 text of `path`. Raises InputError if it is absent, too large or not UTF-8."""
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise InputError(path, "", Phrase("a folder"), "a file")
        if size > MAX_TEXT_BYTES:
            raise InputError(path, "", Phrase(f"{size} bytes"), f"at most {MAX_TEXT_BYTES}")
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise InputError(path, f"byte {e.start}", Phrase("bytes that are not UTF-8"), "UTF-8 text") from None
    except FileNotFoundError:
        raise InputError(path, "", Phrase("nothing there"), "a file") from None
    except OSError as e:
        raise InputError(path, "", Phrase(e.strerror or str(e)), "a readable file") from None


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in `path`. Raises InputError, naming line and column, if it is not one."""
    return parse_json(read_text(path), path)


def parse_json(text: str, where: object) -> dict[str, Any]:
    """The JSON object in `text`; NaN, Infinity and duplicate keys are refused."""

    def refuse(token: str) -> Any:
        raise InputError(where, "", Phrase(token), "standard JSON (no NaN or Infinity)")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in pairs:
            if key in seen:
                raise InputError(where, key, Phrase("the key twice"), "each key once")
            seen[key] = value
        return seen

    try:
        value = json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except json.JSONDecodeError as e:
        raise InputError(where, f"line {e.lineno} column {e.colno}", Phrase(e.msg), "valid JSON") from None
    except RecursionError:
        raise InputError(where, "", Phrase("nesting beyond any use"), "valid JSON") from None
    except ValueError as e:  # integers of more digits than Python converts
        raise InputError(where, "", Phrase(e), "valid JSON") from None
    if not isinstance(value, dict):
        raise InputError(where, "", Phrase(f"a JSON {type(value).__name__}"), "a JSON object")
    return value


def read_toml(path: Path) -> dict[str, Any]:
    """The TOML table in `path`. Raises InputError if it does not parse."""
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as e:
        raise InputError(path, "", Phrase(e), "valid TOML") from None
    except RecursionError:
        raise InputError(path, "", Phrase("nesting beyond any use"), "valid TOML") from None
    except ValueError as e:  # integers of more digits than Python converts
        raise InputError(path, "", Phrase(e), "valid TOML") from None


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write `data` to `path` whole or not at all: an earlier file stays until the new one is complete."""
    blob = data.encode("utf-8") if isinstance(data, str) else data
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "wb") as f:
            f.write(blob)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as e:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)
        raise TapeoutError(
            f"{path}: cannot be written: {e.strerror or e}; earlier results are intact"
        ) from None
