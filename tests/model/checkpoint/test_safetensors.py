"""One safetensors file: what is written is read back, another library agrees, and every lie is one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapeout.errors import InputError
from tapeout.model.checkpoint.safetensors import NUMPY, SafetensorsFile, write_safetensors

fresh = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)


def raw(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> Path:
    """A file of this header, whatever it says."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def refused(path: Path) -> str:
    with pytest.raises(InputError) as e:
        SafetensorsFile(path)
    message = str(e.value)
    assert message.startswith(str(path)) and "\n" not in message and len(message) < 600 + len(str(path))
    return message


def entry(dtype: str, shape: Any, *offsets: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


@given(data=st.data())
@fresh
def test_what_is_written_is_read(data: st.DataObject, tmp_path: Path) -> None:
    names = data.draw(st.lists(st.text(min_size=1, max_size=20), max_size=5, unique=True))
    tensors: dict[str, tuple[str, np.ndarray]] = {}
    for name in names:
        dtype = data.draw(st.sampled_from(sorted(set(NUMPY) - {"BOOL"})))
        shape = data.draw(st.lists(st.integers(0, 4), max_size=4))
        size = int(np.prod(shape)) * np.dtype(NUMPY[dtype]).itemsize
        bits = np.frombuffer(data.draw(st.binary(min_size=size, max_size=size)), NUMPY[dtype]).reshape(shape)
        if name != "__metadata__":
            tensors[name] = (dtype, bits)
    write_safetensors(tmp_path / "x.safetensors", tensors, {"format": "pt"})
    read = SafetensorsFile(tmp_path / "x.safetensors")
    assert read.metadata == {"format": "pt"}
    assert set(read) == set(tensors)
    for name, (dtype, bits) in tensors.items():
        assert read.stored(name) == (name, bits.shape, dtype)
        assert read.tensor(name).tobytes() == bits.tobytes()
        assert not read.tensor(name).flags.writeable or not read.tensor(name).flags.aligned


@pytest.mark.torch
def test_the_reference_library_reads_it_and_is_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    library = pytest.importorskip("safetensors.torch")
    bits = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    write_safetensors(
        tmp_path / "a.safetensors", {"odd": ("U8", bits.view(np.uint8)[0, :3]), "w": ("BF16", bits)}
    )
    theirs = library.load_file(tmp_path / "a.safetensors")
    assert torch.equal(theirs["w"].view(torch.int16), torch.from_numpy(bits.view(np.int16)))
    library.save_file({"odd": torch.zeros(3, dtype=torch.uint8), **theirs}, tmp_path / "b.safetensors")
    assert np.array_equal(SafetensorsFile(tmp_path / "b.safetensors").tensor("w"), bits)


def test_a_tensor_off_its_alignment_is_still_right(tmp_path: Path) -> None:
    bits = np.array([1.5, -2.5], np.float32)
    header = {"a": entry("U8", [1], 0, 1), "b": entry("F32", [2], 1, 9)}
    for pad in range(8):
        text = json.dumps(header).encode() + b" " * pad
        read = SafetensorsFile(raw(tmp_path / "x", text, b"\7" + bits.tobytes()))
        assert np.array_equal(read.tensor("b"), bits) and read.tensor("b").flags.aligned


LIES: dict[str, tuple[Any, bytes, str]] = {
    "gap": ({"a": entry("U8", [1], 1, 2)}, b"xx", "gap"),
    "overlap": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 1, 3)}, b"xxx", "overlap"),
    "same bytes": ({"a": entry("U8", [2], 0, 2), "b": entry("U8", [2], 0, 2)}, b"xx", "overlap"),
    "past the end": ({"a": entry("U8", [4], 0, 4)}, b"xxx", "truncated"),
    "trailing": ({"a": entry("U8", [1], 0, 1)}, b"xx", "after the last tensor"),
    "wrong size": ({"a": entry("F32", [2], 0, 4)}, b"xxxx", "8 bytes"),
    "negative": ({"a": entry("U8", [1], -1, 0)}, b"", "offsets"),
    "backwards": ({"a": entry("U8", [1], 1, 0)}, b"x", "offsets"),
    "huge offsets": ({"a": entry("U8", [1], 2**70, 2**70 + 1)}, b"x", "offsets"),
    "huge shape": ({"a": entry("U8", [2**61, 2**61], 0, 1)}, b"x", "bytes"),
    "true": ({"a": entry("U8", [True], 0, 1)}, b"x", "shape"),
    "negative shape": ({"a": entry("U8", [-1, -1], 0, 1)}, b"x", "shape"),
    "deep shape": ({"a": entry("U8", [1] * 99, 0, 1)}, b"x", "shape"),
    "float shape": ({"a": entry("U8", [1.0], 0, 1)}, b"x", "shape"),
    "dtype": ({"a": entry("F7", [1], 0, 1)}, b"x", "F7"),
    "dtype number": ({"a": {**entry("U8", [1], 0, 1), "dtype": 3}}, b"x", "dtype"),
    "dtype list": ({"a": {**entry("U8", [1], 0, 1), "dtype": []}}, b"x", "dtype"),
    "missing field": ({"a": {"dtype": "U8", "shape": [1]}}, b"x", "data_offsets"),
    "unknown field": ({"a": {**entry("U8", [1], 0, 1), "pickle": 1}}, b"x", "data_offsets"),
    "not a table": ({"a": 3}, b"x", "table"),
    "metadata": ({"__metadata__": {"a": 1}}, b"", "__metadata__"),
    "list": (b"[]", b"", "object"),
    "not json": (b"{'a': 1}", b"", "JSON"),
    "not utf-8": (b'{"\xff": 1}', b"", "UTF-8"),
    "twice": (b'{"a": 1, "a": 2}', b"", "twice"),
    "nested": (b'{"a":' + b"[" * 100_000, b"", "nesting"),
    "long integer": (b'{"a":' + b"9" * 10_000 + b"}", b"", "JSON"),
}


@pytest.mark.parametrize("name", LIES)
def test_a_lie_is_one_line(name: str, tmp_path: Path) -> None:
    header, data, says = LIES[name]
    assert says in refused(raw(tmp_path / "x.safetensors", header, data))


def test_lengths_of_the_header(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    assert "100000000" in refused(raw(path, {}, length=2**63))
    assert "truncated" in refused(raw(path, {}, length=1000))
    for size in range(8):
        path.write_bytes(b"\0" * size)
        assert f"{size} bytes" in refused(path)
    assert "JSON" in refused(raw(path, b""))
    assert not list(SafetensorsFile(raw(path, {})))
    assert "nothing there" in refused(tmp_path / "absent")
    assert refused(tmp_path)  # a folder


@given(data=st.data())
@fresh
def test_a_damaged_file_is_read_or_refused_in_one_line(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    tensors = {"a": ("F32", np.ones((3, 2), "<f4")), "b.c": ("U8", np.zeros(5, np.uint8))}
    write_safetensors(path, tensors, {"k": "v"})
    blob = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 4))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(blob[: data.draw(st.integers(0, len(blob)))])
    try:
        read = SafetensorsFile(path)
    except InputError as e:
        assert "\n" not in str(e)
    else:
        for name in read:
            assert read.tensor(name).shape == read.stored(name).shape


def test_a_writer_is_told_of_a_wrong_type(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="BF16"):
        write_safetensors(tmp_path / "x", {"a": ("BF16", np.zeros(2, np.float32))})
