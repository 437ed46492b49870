"""Writing a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tapeout.errors import InputError, Phrase, TapeoutError

MANIFEST = "manifest.json"


def check_target(folder: Path) -> None:
    """Raise InputError unless `folder` is nothing, empty, or an earlier package (which is replaced)."""
    if not folder.exists() and not folder.is_symlink():
        return
    if not folder.is_dir() or folder.is_symlink():
        raise InputError(folder, "", Phrase("a file"), "a folder, or nothing")
    if any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise InputError(
            folder, "", Phrase("a folder with other files"), "nothing, an empty folder or a package"
        )


def write_folder(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write `files` (path → contents) to `folder`: made beside it, then renamed. On any failure or interruption
    nothing of it is left and an earlier folder is as it was."""
    check_target(folder)
    target = folder.absolute()
    aside = old = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
        for name, contents in files.items():
            path = aside / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.encode() if isinstance(contents, str) else contents)
            path.chmod(0o644)
        aside.chmod(0o755)
        if target.exists():
            old = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}."))
            os.rename(target, old / "old")
        os.rename(aside, target)
        aside = None
    except OSError as e:
        raise TapeoutError(f"{folder}: cannot be written: {e.strerror or e}; nothing was changed") from None
    finally:
        if aside is not None:
            shutil.rmtree(aside, ignore_errors=True)
            if old is not None and (old / "old").exists() and not target.exists():
                os.rename(old / "old", target)
        if old is not None:
            shutil.rmtree(old, ignore_errors=True)
