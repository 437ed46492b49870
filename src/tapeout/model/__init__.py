"""What the chip is for: a Hugging Face folder or a shipped config.json becomes a `Model`.

`architecture` holds the types, `formats` how a weight is stored, `families/` one file per model
family, `catalog/` the shipped configurations, `checkpoint/` the tensors on disk. Imports nothing of
the other folders.
"""

from __future__ import annotations

from tapeout.model.architecture import Model
from tapeout.model.catalog import names
from tapeout.model.load import from_config, load

__all__ = ["Model", "available", "from_config", "load"]


def available() -> tuple[tuple[str, str], ...]:
    """The shipped models: name and one line about each."""
    return tuple((name, load(name).describe()) for name in names())
