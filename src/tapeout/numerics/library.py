"""The native kernels, found and declared; `LIBRARY` is None where they could not be built.

They are an extension module that `pip install` builds where there is a C compiler; calls release the GIL.
TAPEOUT_NATIVE=0 turns them off, TAPEOUT_NATIVE=scalar, avx2 or
avx512 limits the instruction set.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import numpy as np

from tapeout.numerics import functions

LEVELS = ("scalar", "avx2", "avx512")
_TABLES = tuple(
    np.ascontiguousarray(t, dtype=np.int64) for t in (functions.EXP2, functions.RECIPROCAL, functions.RSQRT)
)


def _load() -> Any:
    wanted = os.environ.get("TAPEOUT_NATIVE", "")
    if wanted == "0":
        return None
    try:
        library = importlib.import_module("tapeout.numerics._native")
        library.set_tables(*_TABLES)
    except (ImportError, AttributeError):  # not built, or left over from another version
        return None
    library.set_level(LEVELS.index(wanted) if wanted in LEVELS else len(LEVELS) - 1)
    library.set_threads(os.cpu_count() or 1)
    return library


LIBRARY = _load()


def set_threads(count: int) -> None:
    """Use this many threads (1 to 64) in every kernel of the process."""
    if LIBRARY is not None:
        LIBRARY.set_threads(count)


def set_level(name: str) -> str:
    """Use this instruction set, or the best the machine has below it; returns the one in use."""
    return LEVELS[LIBRARY.set_level(LEVELS.index(name))] if LIBRARY is not None else "numpy"


def level() -> str:
    """What computes: avx512, avx2, scalar, or numpy."""
    return "numpy" if LIBRARY is None else LEVELS[LIBRARY.set_level(-1)]
