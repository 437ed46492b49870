"""Where the weights of a model are."""

from __future__ import annotations

from pathlib import Path

from tapeout.errors import InputError, Phrase
from tapeout.model import catalog, demo


def folder_of(source: str | Path) -> Path:
    """The folder with the checkpoint that the user means: "demo", or a path.

    Raises InputError for a model that is shipped without weights, and for what is neither.
    """
    if source == demo.NAME:  # the shipped one, even where a folder is called so: that is ./demo
        return demo.FOLDER
    path = Path(source)
    try:
        if path.is_dir():
            return path
        found = "a file" if path.exists() else "nothing there"
    except (OSError, ValueError):  # a name that cannot be a path
        found = "no path"
    if str(source) in catalog.names():
        raise InputError(
            source, "", Phrase("a model shipped without its weights"), "a folder with its checkpoint"
        )
    raise InputError(source, "", Phrase(found), f"a folder with a checkpoint, or {demo.NAME!r}")
