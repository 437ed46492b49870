"""The native kernels, found and declared; `LIBRARY` is None where they could not be built.

They are a shared library inside an importable module without contents, so that `pip install` builds and finds
them; ctypes calls them and releases the GIL. TAPEOUT_NATIVE=0 turns them off, TAPEOUT_NATIVE=scalar, avx2 or
avx512 limits the instruction set.
"""

from __future__ import annotations

import ctypes
import importlib
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from tapeout.numerics import functions

LEVELS = ("scalar", "avx2", "avx512")
_P, _I, _L, _F = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64, ctypes.c_float
SIGNATURES: dict[str, tuple[Sequence[Any], Any]] = {
    "tp_set_threads": ((_I,), None),
    "tp_set_level": ((_I,), _I),
    "tp_best_level": ((), _I),
    "tp_set_tables": ((_P, _P, _P), None),
    "tp_map": ((_I, _P, _P, _L), None),
    "tp_quantise": ((_I, _I, _P, _L, _L, _L, _P, _P), None),
    "tp_matmul": (
        (_I, _P, _P, _L, _I, _P, _P, _L, _L, _L, _L, _L, _L, _P, _P, _P, _L, _L, _P, _P),
        None,
    ),
    "tp_rms_norm": ((_P, _P, _F, _L, _L, _P, _I, _P, _P), None),
    "tp_rope": ((_P, _P, _P, _L, _L, _L, _L, _I), None),
    "tp_softmax": ((_P, _L, _L, _P), None),
    "tp_gate": ((_I, _I, _P, _F, _L, _L, _P, _I, _P, _P), None),
    "tp_combine": ((_P, _P, _P, _P, _L, _L, _L, _P), None),
    "tp_top_k": ((_P, _L, _L, _L, _P), None),
    "tp_add": ((_P, _P, _L, _P), None),
    "tp_attention": ((_P,) * 8 + (_L,) * 8 + (_I, _I, _F, _P), None),
}
_TABLES = tuple(
    np.ascontiguousarray(t, dtype=np.int64) for t in (functions.EXP2, functions.RECIPROCAL, functions.RSQRT)
)


def _load() -> ctypes.CDLL | None:
    wanted = os.environ.get("TAPEOUT_NATIVE", "")
    if wanted == "0":
        return None
    try:
        module = importlib.import_module("tapeout.numerics._native")
        library = ctypes.CDLL(str(module.__file__))
    except (ImportError, OSError):
        return None
    for name, (arguments, result) in SIGNATURES.items():
        function = getattr(library, name)
        function.argtypes, function.restype = list(arguments), result
    library.tp_set_tables(*(t.ctypes.data for t in _TABLES))
    library.tp_set_level(LEVELS.index(wanted) if wanted in LEVELS else len(LEVELS) - 1)
    library.tp_set_threads(os.cpu_count() or 1)
    return library


LIBRARY = _load()


def set_threads(count: int) -> None:
    """Use this many threads (1 to 64) in every kernel of the process."""
    if LIBRARY is not None:
        LIBRARY.tp_set_threads(count)


def set_level(name: str) -> str:
    """Use this instruction set, or the best the machine has below it; returns the one in use."""
    return LEVELS[LIBRARY.tp_set_level(LEVELS.index(name))] if LIBRARY is not None else "numpy"


def level() -> str:
    """What computes: avx512, avx2, scalar, or numpy."""
    if LIBRARY is None:
        return "numpy"
    return LEVELS[ctypes.c_int.in_dll(LIBRARY, "tp_level").value]
