"""One safetensors file: eight bytes of header length, a JSON header, the tensors end to end.

Format: https://huggingface.co/docs/safetensors, section "Format". The header maps each name to dtype, shape and
the pair of byte offsets of its data, counted from the end of the header. The offsets of all tensors
together must cover the rest of the file without a gap or an overlap; the header is at most 100 MB.
"""

from __future__ import annotations

import json
import mmap
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tapeout.errors import InputError, Phrase
from tapeout.files import parse_json, write_atomic
from tapeout.model.formats import StoredTensor

MAX_HEADER = 100_000_000  # bytes; the limit of the reference implementation
MAX_RANK = 8

# BF16 and the 8-bit floats have no NumPy type: their bits are handed out as unsigned integers.
NUMPY: dict[str, str] = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "F8_E4M3": "|u1",
    "F8_E5M2": "|u1",
    "F8_E8M0": "|u1",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}


class Entry(NamedTuple):
    """One tensor of a file and where its data lies, in bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class SafetensorsFile:
    """A safetensors file, header checked, data mapped and read only when used.

    Raises InputError, naming the file and the tensor, for anything that the format does not allow.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as f:
                size = f.seek(0, 2)
                if size < 8:
                    raise InputError(
                        path, "", Phrase(f"{size} bytes"), "a safetensors file (8 bytes or more)"
                    )
                self._map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise InputError(path, "", Phrase("nothing there"), "a safetensors file") from None
        except OSError as e:
            raise InputError(path, "", Phrase(e.strerror or str(e)), "a readable file") from None
        length = int.from_bytes(self._map[:8], "little")
        if length > MAX_HEADER:
            raise InputError(path, "header", Phrase(f"a length of {length} bytes"), f"at most {MAX_HEADER}")
        if 8 + length > size:
            raise InputError(path, "header", Phrase(f"{size - 8} bytes"), f"the {length} it says: truncated?")
        try:
            text = self._map[8 : 8 + length].decode("utf-8")
        except UnicodeDecodeError as e:
            raise InputError(
                path, f"header byte {e.start}", Phrase("bytes that are not UTF-8"), "JSON"
            ) from None
        table = parse_json(text, path)
        self.metadata = _metadata(table.pop("__metadata__", None), path)
        self._entries = {name: _entry(path, name, value, 8 + length) for name, value in table.items()}
        self._check_cover(8 + length, size)

    def _check_cover(self, start: int, size: int) -> None:
        """The tensors' byte ranges follow each other from `start` to the end of the file."""
        position = start
        for name, entry in sorted(self._entries.items(), key=lambda item: (item[1].begin, item[1].end)):
            if entry.begin != position:
                what = "a gap" if entry.begin > position else "an overlap"
                found = Phrase(f"{what}: data from byte {entry.begin - start}")
                raise InputError(self.path, name, found, f"data from byte {position - start}")
            if entry.end > size:
                found = Phrase(f"{max(size - entry.begin, 0)} bytes")
                raise InputError(self.path, name, found, f"{entry.end - entry.begin} bytes: truncated?")
            position = entry.end
        if position != size:
            raise InputError(self.path, "", Phrase(f"{size - position} bytes after the last tensor"), "none")

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def stored(self, name: str) -> StoredTensor:
        """Name, shape and dtype of a tensor."""
        entry = self._entries[name]
        return StoredTensor(name, entry.shape, entry.dtype)

    def tensor(self, name: str) -> np.ndarray:
        """The tensor as a read-only view of the file, of the NumPy type in `NUMPY`; nothing is read yet.

        A tensor that the writer did not align to its element size is copied instead.
        """
        entry = self._entries[name]
        view = np.ndarray(entry.shape, NUMPY[entry.dtype], buffer=self._map, offset=entry.begin)
        return view if view.flags.aligned else view.copy()


def _metadata(value: object, path: Path) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise InputError(path, "__metadata__", value, "a table of strings")
    return value


def _entry(path: Path, name: str, value: Any, start: int) -> Entry:
    """Check one entry of the header against the format and against itself."""
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise InputError(path, name, value, "a table of dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in NUMPY:
        raise InputError(path, f"{name}.dtype", dtype, f"one of {', '.join(NUMPY)}")
    if not _naturals(shape) or len(shape) > MAX_RANK:
        raise InputError(path, f"{name}.shape", shape, f"a list of at most {MAX_RANK} sizes, none negative")
    if not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise InputError(path, f"{name}.data_offsets", offsets, "two offsets, first ≤ last")
    length, needed = offsets[1] - offsets[0], prod(shape) * np.dtype(NUMPY[dtype]).itemsize
    if length != needed:
        found = Phrase(f"{length} bytes")
        raise InputError(path, f"{name}.data_offsets", found, f"{needed} bytes for {dtype} {shape}")
    return Entry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(v) is int and 0 <= v < 2**62 for v in value)


def write_safetensors(
    path: Path, tensors: Mapping[str, tuple[str, np.ndarray]], metadata: Mapping[str, str] | None = None
) -> None:
    """Write `tensors`, name to (dtype, array of the NumPy type in `NUMPY`), in the given order, whole or not at all.

    The header is padded so that data starts at a multiple of 8 bytes; wider elements come first for the
    same reason when the order given mixes sizes. Raises ValueError for an array of another type.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    position, chunks = 0, []
    for name, (dtype, array) in sorted(tensors.items(), key=lambda item: -item[1][1].itemsize):
        if array.dtype != np.dtype(NUMPY[dtype]):
            raise ValueError(f"{name}: {array.dtype} given for {dtype}, which is {NUMPY[dtype]}")
        end = position + array.nbytes
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [position, end]}
        chunks.append(np.ascontiguousarray(array).tobytes())
        position = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    write_atomic(path, b"".join([len(text).to_bytes(8, "little"), text, *chunks]))
