"""What a test or a tool holds: a module with its ports by name, stepped or run through streams.

sim = simulate(Fifo(width=8, depth=4))
run = sim.run({"i": data}, {"o": len(data)}, offer=0.5, accept=0.5, seed=1)
assert (run["o"] == data).all()
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.chip.rtl.block import Block, Verilog, verilog
from tapeout.errors import DoesNotHold, InputError, Phrase
from tapeout.simulator.rtl.build import library
from tapeout.simulator.rtl.harness import storage_bytes

U32 = NDArray[np.uint32]
U64 = (1 << 64) - 1


class Stream(ctypes.Structure):
    """The C++ loop's view of one stream; the fields are those of `harness.TEMPLATE`."""

    _fields_ = (
        ("payload", ctypes.c_int32), ("valid", ctypes.c_int32), ("ready", ctypes.c_int32),
        ("words", ctypes.c_int32), ("data", ctypes.c_void_p), ("stamps", ctypes.c_void_p),
        ("count", ctypes.c_int64), ("position", ctypes.c_int64), ("threshold", ctypes.c_uint64),
        ("busy", ctypes.c_int64),
    )  # fmt: skip


@dataclass
class Run:
    """What a run saw. Arrays of a stream narrower than 33 bits are [n], others [n, 32-bit words]."""

    cycles: int
    outputs: dict[str, U32]
    stamps: dict[str, NDArray[np.int64]] = field(default_factory=dict)
    waited: dict[str, int] = field(default_factory=dict)  # cycles a stream's other side was not ready

    def __getitem__(self, name: str) -> U32:
        return self.outputs[name]


def pack(values: Sequence[int], width: int) -> U32:
    """Integers (or bit fields) of `width` bits as the words a stream takes: uint32 [n, words]."""
    words = -(-width // 32)
    raw = b"".join((int(v) & ((1 << width) - 1)).to_bytes(4 * words, "little") for v in values)
    return np.frombuffer(raw, np.uint32).reshape(len(values), words)


def unpack(words: U32) -> list[int]:
    """The integers of uint32 [n, words] or [n]."""
    rows = np.ascontiguousarray(words, np.uint32)
    if rows.ndim == 1:
        return [int(v) for v in rows]
    return [int.from_bytes(row.tobytes(), "little") for row in rows]


class Simulation:
    """A verilated module. Ports are named as in Verilog (`i__payload`); streams by their prefix (`i`)."""

    def __init__(self, design: Verilog, library_path: str, random_start: int = 1) -> None:
        self.design = design
        self.ports = {p.name: (i, p.width) for i, p in enumerate(design.ports)}
        self._lib = ctypes.CDLL(library_path)
        for name, result in (("new", ctypes.c_void_p), ("run", ctypes.c_int64), ("cycle", ctypes.c_int64)):
            getattr(self._lib, f"model_{name}").restype = result
        self._lib.model_extension.restype = ctypes.c_void_p
        self._model = ctypes.c_void_p(self._lib.model_new(random_start))
        self.reset()

    def __del__(self) -> None:
        model = getattr(self, "_model", None)
        if model:
            self._lib.model_delete(model)
            del self._model

    @property
    def cycle(self) -> int:
        """Cycles since the start."""
        return int(self._lib.model_cycle(self._model))

    @property
    def extension(self) -> int:
        """Address of the C++ extension, for its own functions in `foreign`."""
        return int(self._lib.model_extension(self._model))

    @property
    def foreign(self) -> ctypes.CDLL:
        """The library, for functions that an extension exports."""
        return self._lib

    def reset(self, cycles: int = 4) -> None:
        """Assert reset for some cycles with every input at 0."""
        for port in self.design.ports:
            if port.is_input:
                self.poke(port.name, 0)
        self._lib.model_reset(self._model, cycles)

    def _port(self, name: str) -> tuple[int, int]:
        try:
            return self.ports[name]
        except KeyError:
            raise KeyError(f"{self.design.top} has no port {name}; it has {', '.join(self.ports)}") from None

    def poke(self, name: str, value: int) -> None:
        """Set an input; it takes effect at the next `eval` or `step`."""
        index, width = self._port(name)
        raw = (int(value) & ((1 << width) - 1)).to_bytes(max(4, storage_bytes(width)), "little")
        self._lib.model_poke(self._model, index, raw)

    def peek(self, name: str) -> int:
        """The value of a port, as of the last `eval` or `step`."""
        index, width = self._port(name)
        raw = ctypes.create_string_buffer(max(4, storage_bytes(width)))
        self._lib.model_peek(self._model, index, raw)
        return int.from_bytes(raw.raw, "little") & ((1 << width) - 1)

    def eval(self) -> None:
        """Settle the combinational logic."""
        self._lib.model_eval(self._model)

    def step(self, cycles: int = 1) -> None:
        """Advance the clock."""
        self._lib.model_step(self._model, ctypes.c_int64(cycles))

    def waveform(self, path: Path | None, origin: int = 0) -> None:
        """From here on write every signal to a VCD file (None: no more; the file is complete then). A cycle is a
        nanosecond, cycle number `origin` time 0. Only for a library built with `trace`."""
        raw = None if path is None else str(path).encode()
        if not self._lib.model_trace(self._model, raw, ctypes.c_int64(origin)):
            raise InputError(path, "", Phrase("cannot be written"), "a file in a folder that is there")

    def table(
        self, inputs: Mapping[str, ArrayLike], outputs: Sequence[str], latency: int = 0
    ) -> dict[str, U32]:
        """One row of inputs per cycle: ports → uint32 [n] or [n, words]; returns outputs of the same n rows.

        For blocks without handshake: row i of an output is what the port shows `latency` cycles after row i
        went in (0: combinationally, in the same cycle).
        """
        widths = {n: -(-self._port(n)[1] // 32) for n in (*inputs, *outputs)}
        data = {}
        for name, values in inputs.items():
            array = np.asarray(values)
            rows = pack([int(v) for v in array], 32 * widths[name]) if array.dtype == object else array
            rows = np.ascontiguousarray(rows, np.uint32).reshape(len(rows), widths[name])
            data[name] = np.concatenate([rows, np.repeat(rows[-1:], latency, axis=0)])
        n = len(next(iter(data.values())))
        got = {name: np.zeros((n, widths[name]), np.uint32) for name in outputs}
        self._lib.model_table(
            self._model, ctypes.c_int64(n),
            len(data), _ints(self.ports[x][0] for x in data), _addresses(data.values()),
            _ints(widths[x] for x in data),
            len(got), _ints(self.ports[x][0] for x in got), _addresses(got.values()),
            _ints(widths[x] for x in got),
        )  # fmt: skip
        return {x: v[latency:, 0] if v.shape[1] == 1 else v[latency:] for x, v in got.items()}

    def _words(self, name: str) -> int:
        return -(-self._port(f"{name}__payload")[1] // 32) if f"{name}__payload" in self.ports else 1

    def _stream(self, name: str, data: U32, stamps: NDArray[np.int64], probability: float) -> Stream:
        payload = self.ports[f"{name}__payload"][0] if f"{name}__payload" in self.ports else -1
        return Stream(
            payload=payload,
            valid=self._port(f"{name}__valid")[0],
            ready=self._port(f"{name}__ready")[0],
            words=data.shape[1],
            data=data.ctypes.data,
            stamps=stamps.ctypes.data,
            count=data.shape[0],
            threshold=min(int(probability * 2**32), 2**32),
        )

    def run(
        self,
        inputs: Mapping[str, ArrayLike] | None = None,
        outputs: Mapping[str, int] | None = None,
        offer: float | Mapping[str, float] = 1.0,
        accept: float | Mapping[str, float] = 1.0,
        seed: int = 1,
        limit: int = 1_000_000,
        partial: bool = False,
    ) -> Run:
        """Send arrays, capture counts, until all outputs are there (without outputs: all inputs sent).

        inputs: stream → integers [n] or uint32 [n, words]. outputs: stream → number of transfers to capture.
        offer, accept: probability per cycle that an idle input offers, that an output is ready, for all or by
        stream. Raises DoesNotHold after `limit` cycles unless `partial`, when what came is returned.
        """
        ins, outs, kept, stamps = [], [], {}, {}
        for name, values in (inputs or {}).items():
            data = self._payloads(name, values)
            stamps[name] = np.zeros(len(data), np.int64)
            kept[name] = data
            ins.append(self._stream(name, data, stamps[name], _of(offer, name)))
        for name, count in (outputs or {}).items():
            kept[name] = np.zeros((count, self._words(name)), np.uint32)
            stamps[name] = np.zeros(count, np.int64)
            outs.append(self._stream(name, kept[name], stamps[name], _of(accept, name)))
        c_in, c_out = (Stream * max(len(ins), 1))(*ins), (Stream * max(len(outs), 1))(*outs)
        cycles = self._lib.model_run(
            self._model, c_in, len(ins), c_out, len(outs), ctypes.c_int64(limit), ctypes.c_uint64(seed)
        )
        names_in, names_out = list(inputs or {}), list(outputs or {})
        awaited = zip(names_out, c_out, strict=False) if names_out else zip(names_in, c_in, strict=False)
        missing = [f"{n} {s.position}/{s.count}" for n, s in awaited if s.position < s.count]
        if missing and not partial:
            sent = [f"{n} {s.position}/{s.count}" for n, s in zip(names_in, c_in, strict=False)]
            raise DoesNotHold(f"{self.design.top}: after {limit} cycles {missing} came; sent {sent}")
        result, counts = {}, {}
        for name, s in [*zip(names_in, c_in, strict=False), *zip(names_out, c_out, strict=False)]:
            counts[name] = int(s.busy)
            stamps[name] = stamps[name][: s.position]
            if name in names_out:
                words = kept[name][: s.position]
                result[name] = words[:, 0] if words.shape[1] == 1 else words
        return Run(int(cycles), result, stamps, counts)

    def _payloads(self, name: str, values: ArrayLike) -> U32:
        words = self._words(name)
        array = np.asarray(values) if not isinstance(values, list) else np.asarray(values, dtype=object)
        if array.ndim == 2:
            data = np.ascontiguousarray(array, np.uint32)
        elif words == 1 and array.dtype != object:
            data = np.ascontiguousarray(array.astype(np.int64) & 0xFFFFFFFF, np.uint32).reshape(-1, 1)
        else:
            data = pack([int(v) for v in array], 32 * words)
        if data.shape[1] != words:
            raise ValueError(f"stream {name} takes {words} words, not {data.shape[1]}")
        return data


def _ints(values: Iterable[int]) -> Any:
    items = list(values)
    return (ctypes.c_int32 * max(len(items), 1))(*items)


def _addresses(arrays: Iterable[U32]) -> Any:
    items = [a.ctypes.data for a in arrays]
    return (ctypes.c_void_p * max(len(items), 1))(*items)


def _of(probability: float | Mapping[str, float], name: str) -> float:
    return probability if isinstance(probability, int | float) else probability.get(name, 1.0)


def simulate(design: Block | Verilog, random_start: int = 1, **build: Any) -> Simulation:
    """Compile (or find in the cache) and reset. A block is taken in its form for simulation; for the form that is
    synthesised pass `verilog(block)`. `build`: the keywords of `build.library`."""
    text = verilog(design, simulation=True) if isinstance(design, Block) else design
    return Simulation(text, str(library(text, **build)), random_start)
