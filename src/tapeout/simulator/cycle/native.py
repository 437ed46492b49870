"""The native model, found and declared: `run` hands it a program and takes its totals, records and samples.

It is a shared library that `pip install` builds where there is a C compiler, called through ctypes, which releases
the GIL. The structures mirror those of `native/model.h`.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import ARGUMENTS, Engine
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.registry import instructions
from tapeout.chip.spec import Core
from tapeout.errors import TapeoutError
from tapeout.numerics.formats import BLOCK
from tapeout.simulator.cycle.ports import ports

ENGINES = tuple(Engine)
# The order is that of `enum reason`; the semaphores' five say whose token came last.
REASONS = ("active", "fill", "memory", "bank", *(f"token of {e.name.lower()}" for e in Engine), "queue")
END_HALTED, END_TRAPPED, END_STUCK, END_TOO_LONG, END_NO_MEMORY = range(5)
MAX_PORTS, REGIONS = 16, 64
# Vector instructions: `enum kind_of_vector`; cycles from operands to a result that can be written, by tap (of sums,
# maxima and conversion those beside the beats that depend on the lanes).
VECTOR_KINDS = {
    "vmaximum": 0, "vminimum": 0, "vcompare": 0, "vadd": 1, "vsub": 1, "vmul": 2, "vexp2": 3, "vreciprocal": 3,
    "vrsqrt": 3, "vsigmoid": 3, "vselect": 4, "vrope": 5, "vtotal": 6, "vgreatest": 7, "vquantise": 8,
    "vdequantise": 9, "vconvert": 10, "vtopk": 11, "vtake": 12, "vwindow": 13,
}  # fmt: skip
TAPS = {
    "quick": 3, "add": 6, "mul": 7, "chain": 11, "function": 20, "sum": 20, "greatest": 3, "quantise": 4, "topk": 2,
    "take": 8,
}  # fmt: skip
WINDOW = 128  # instructions that the sequencer keeps (`rtl.sequencer_fetch`)
KINDS = (
    "", "add", "sub", "mul", "and", "or", "xor", "shl", "shr", "min", "max", "less", "equal", "argument", "read",
    "write", "branch", "loop", "sync", "interrupt", "halt", "load", "gather", "transpose", "matmul", "vector",
    "store", "scatter",
)  # fmt: skip
# Columns of the table of operators: kinds of cycles, then counts.
CYCLES = ("matrix", "memory", "vector", "bank", "latency", "pipeline", "sequencer")
COLUMNS = (*CYCLES, "words_loaded", "words_stored", "beats", "row_beats")
SAMPLES = ("fetch", "load", "store", "matrix")

RECORD = np.dtype(
    [("pc", "i4"), ("engine", "i4"), ("giver", "i4"), ("room", "i4"), ("queued", "i8"), ("head", "i8"),
     ("taken", "i8"), ("start", "i8"), ("done", "i8"), ("active", "i8"), ("memory", "i8"), ("bank", "i8"),
     ("amount", "i8")]
)  # fmt: skip


class Settings(ctypes.Structure):
    """What a run depends on beside the program; see `native/model.h` for each field."""

    _fields_ = (
        *((n, ctypes.c_int64) for n in ("port_bytes", "pad_bytes", "word_bytes", "banks", "outstanding")),
        *((n, ctypes.c_int64) for n in ("rows", "columns", "ways", "vector_lanes", "tiles")),
        ("base", ctypes.c_int64),
        ("count", ctypes.c_int64),
        ("arguments", ctypes.c_int64 * ARGUMENTS),
        *(
            (n, ctypes.c_int64)
            for n in ("latency", "cost", "phase", "limit", "record", "window", "operators")
        ),
        *((n, ctypes.c_int64) for n in ("multiply", "matrix_result", "matrix_loop", "fetch_window")),
        *((n, ctypes.c_int64) for n in ("channels", "banks_per_channel", "row_bytes", "burst_bytes")),
        *((n, ctypes.c_int64) for n in ("t_burst", "t_row_miss", "t_row_cycle")),
        *((n, ctypes.c_int64) for n in ("t_refresh_interval", "t_refresh")),
        *((n, ctypes.c_int64 * 2) for n in ("beat_bytes", "scale_bytes", "pitch")),
        *((n, ctypes.c_int64) for n in ("ports", "vector_port")),
        *((n, ctypes.c_int64 * MAX_PORTS) for n in ("port_words", "port_urgent", "port_answers")),
        ("vector_kind", ctypes.c_int64 * 32),
        ("vector_latency", ctypes.c_int64 * len(TAPS)),
        ("vector_sums", ctypes.c_int64),
        ("region_cost", ctypes.c_int64 * REGIONS),
        ("slack", ctypes.c_int64),
        ("plain", ctypes.c_int64),
    )


class Totals(ctypes.Structure):
    """What a run counted."""

    _fields_ = (
        *((n, ctypes.c_int64) for n in ("cycles", "end", "pc", "cause", "instructions")),
        *((n, ctypes.c_int64) for n in ("load_beats", "store_beats", "fetch_beats", "reads_used")),
        *((n, ctypes.c_int64) for n in ("matrix_beats", "vector_beats")),
        ("reasons", ctypes.c_int64 * len(REASONS) * len(ENGINES)),
        ("records", ctypes.c_int64),
        ("windows", ctypes.c_int64),
    )


@dataclass(frozen=True, eq=False)
class Ran:
    """Totals; `records` of RECORD; `samples` int32 [windows, SAMPLES]; `table` int64 [operators + 1, COLUMNS]."""

    totals: Totals
    records: NDArray[Any]
    samples: NDArray[np.int32]
    table: NDArray[np.int64]


@lru_cache(maxsize=1)
def library() -> ctypes.CDLL:
    """The shared library. Raises TapeoutError where it was not built."""
    found = sorted(Path(__file__).parent.glob("_native*.so"))
    if not found:
        raise TapeoutError(
            "the cycle simulator is native code that was not built: install a C compiler and tapeout again"
        )
    lib = ctypes.CDLL(str(found[0]))
    for name in ("run", "records", "samples"):
        getattr(lib, f"cycle_{name}").restype = ctypes.c_void_p
    return lib


@lru_cache(maxsize=1)
def kinds() -> NDArray[np.uint8]:
    """`enum kind` of each opcode, 0 where there is no instruction."""
    table = np.zeros(256, np.uint8)
    for name, one in instructions().items():
        table[one.opcode] = KINDS.index("vector" if one.engine == Engine.VECTOR else name)
    return table


def settings(core: Core) -> Settings:
    """The fields that follow from the core and the ISA's constants of time."""
    g, s = Geometry.of(core), Settings()
    s.port_bytes, s.pad_bytes, s.word_bytes = g.port_bytes, g.pad_bytes, g.word_bytes
    s.banks, s.outstanding = core.scratchpad.banks, core.outstanding
    s.rows, s.columns, s.ways, s.vector_lanes, s.tiles = g.rows, g.columns, g.ways, g.lanes, g.tiles
    s.multiply, s.fetch_window = timing.MULTIPLY, WINDOW
    s.matrix_result, s.matrix_loop = timing.MATRIX_RESULT, timing.MATRIX_LOOP
    for k, name in enumerate(("mxfp4", "mxint8")):
        s.beat_bytes[k], s.scale_bytes[k], s.pitch[k] = g.beat_bytes(name), g.scale_bytes(name), g.pitch(name)
    declared = ports(core)
    s.ports = len(declared)
    s.vector_port = [p.engine for p in declared].index(Engine.VECTOR)
    for name, kind in VECTOR_KINDS.items():
        s.vector_kind[instructions()[name].opcode & 31] = kind
    width = timing.reduced(g.lanes)
    trees = {
        "sum": timing.halving(width), "greatest": width.bit_length() - 1, "quantise": timing.passes(BLOCK, g.lanes),
    }  # fmt: skip
    for k, (name, latency) in enumerate(TAPS.items()):
        s.vector_latency[k] = latency + trees.get(name, 0)
    s.vector_sums = timing.sums_room(width)
    for k, p in enumerate(declared):
        s.port_words[k], s.port_urgent[k], s.port_answers[k] = p.words, p.urgent, p.answers
    return s


def run(
    s: Settings,
    words: NDArray[np.uint64],
    reads: NDArray[np.uint64],
    gathered: NDArray[np.uint32],
    scattered: NDArray[np.uint32],
    origin: NDArray[np.int32],
    operators: int,
) -> Ran:
    """Run `words` (uint64 [instructions, 2]). `origin` int32 [instructions]: row of the table, below `operators`, or
    -1 for none. Values are those of `simulate.Values`."""
    lib, totals = library(), Totals()
    words, origin = np.ascontiguousarray(words, np.uint64), np.ascontiguousarray(origin, np.int32)
    table = np.zeros((operators + 1, len(COLUMNS)), np.int64)
    s.count, s.operators = len(words), operators

    def given(values: NDArray[Any]) -> tuple[ctypes.c_void_p, ctypes.c_int64]:
        return ctypes.c_void_p(values.ctypes.data), ctypes.c_int64(len(values))

    handle = ctypes.c_void_p(
        lib.cycle_run(
            ctypes.byref(s), given(words)[0], given(kinds())[0], *given(reads), *given(gathered),
            *given(scattered), given(origin)[0], given(table)[0], ctypes.byref(totals),
        )
    )  # fmt: skip
    if not handle or totals.end == END_NO_MEMORY:
        lib.cycle_free(handle)
        raise MemoryError("cycle simulator")
    try:
        records = _copied(lib.cycle_records(handle), totals.records, RECORD)
        samples = _copied(lib.cycle_samples(handle), totals.windows * len(SAMPLES), np.dtype("i4"))
    finally:
        lib.cycle_free(handle)
    return Ran(totals, records, samples.reshape(-1, len(SAMPLES)), table)


def _copied(address: int | None, count: int, kind: np.dtype[Any]) -> NDArray[Any]:
    if not address or not count:
        return np.zeros(0, kind)
    return np.frombuffer(ctypes.string_at(address, count * kind.itemsize), kind)
