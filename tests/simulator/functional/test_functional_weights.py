"""Every storage format a checkpoint may have, read to the values it means; published MX used where it lies."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from tapeout.errors import InputError
from tapeout.model.architecture import Tensor
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.model.checkpoint.safetensors import write_safetensors
from tapeout.numerics import convert, fast
from tapeout.numerics.formats import FORMATS
from tapeout.simulator.functional.weights import Loader, release

RNG = np.random.default_rng(0)
SHAPE = (48, 320)


class Named:
    """A model as far as the loader looks at it."""

    name = "test"

    def __init__(self, *tensors: Tensor) -> None:
        self.tensors = tensors


class Arrays(dict):
    """Tensors by name."""

    def tensor(self, name: str) -> np.ndarray:
        """The array of this name."""
        return self[name]


def bf16(x: np.ndarray) -> np.ndarray:
    return x.astype(ml_dtypes.bfloat16).view(np.uint16)


def fp8(x: np.ndarray) -> np.ndarray:
    return x.astype(ml_dtypes.float8_e4m3fn).view(np.uint8)


def stored(format: str, shape: tuple[int, int]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """(parts by suffix, values as float64) of a random matrix."""
    x = RNG.standard_normal(shape).astype(np.float32)
    if format in ("bf16", "f16", "f32"):
        kind = {"bf16": ml_dtypes.bfloat16, "f16": np.float16, "f32": np.float32}[format]
        y = x.astype(kind)
        return {"": y.view(np.uint16) if format == "bf16" else y}, y.astype(np.float64)
    if format in FORMATS:
        q = convert.quantise(x, FORMATS[format])
        codes = q.codes.reshape(*q.scales.shape, 16) if format == "mxfp4" else q.codes
        suffix = ("_blocks", "_scales") if format == "mxfp4" else ("", "_scale")
        return {suffix[0]: codes, suffix[1]: q.scales}, q.decode().astype(np.float64)
    y = fp8(x)
    values = y.view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    if format == "fp8_block128":
        tiles = tuple(-(-n // 128) for n in shape)
        scale = RNG.uniform(0.5, 2, tiles).astype(np.float32)
        full = scale.repeat(128, 0)[: shape[0]].repeat(128, 1)[:, : shape[1]]
        return {"": y, "_scale_inv": scale}, values * full
    if format == "fp8_tensor":
        scale = np.float32(0.37)
        return {"": y, "_scale": np.array(scale), "input_scale": np.array(np.float32(1))}, values * float(
            scale
        )
    scale = RNG.uniform(0.5, 2, (shape[0], 1)).astype(np.float32)
    if format == "fp8_channel":
        codes = bf16(scale)
        return {"": y, "_scale": codes}, values * codes.view(ml_dtypes.bfloat16).astype(np.float64)
    return {"": y, "_scale": scale}, values * scale


FORMATS_READ = [
    "bf16",
    "f16",
    "f32",
    "mxfp4",
    "mxint8",
    "mxfp8",
    "fp8_block128",
    "fp8_tensor",
    "fp8_channel",
    "fp8_row",
]


def place(t: Tensor, parts: dict[str, np.ndarray]) -> Arrays:
    """The parts under the names that the tensor says they have."""
    return Arrays({s.name: part for s, part in zip(t.stored(), parts.values(), strict=True)})


@pytest.mark.parametrize("format", FORMATS_READ)
def test_a_matrix_in_every_storage_format(format: str) -> None:
    parts, values = stored(format, SHAPE)
    t = Tensor("layers.0.w.weight", SHAPE, format, "attention", 0, True)  # type: ignore[arg-type]
    source = place(t, parts)
    loader = Loader(Named(t), source)  # type: ignore[arg-type]
    for target in ("mxint8", "mxint15", "mxfp8"):
        w = loader.weights([t], FORMATS[target])
        if format in FORMATS:
            assert w.format.name == format
            assert np.shares_memory(w.codes, next(iter(source.values())))
            np.testing.assert_array_equal(w.mx().decode(), values.astype(np.float32))
        else:
            expected = convert.quantise(values.astype(np.float32), FORMATS[target])
            assert (w.mx().codes == expected.codes).all() and (w.mx().scales == expected.scales).all()
    rows = loader.rows(t)(np.array([3, 0, 47]))
    np.testing.assert_array_equal(rows, values[[3, 0, 47]].astype(np.float32))


@pytest.mark.parametrize("format", ["bf16", "fp8_block128"])
@pytest.mark.parametrize("first", [32, 40])
def test_experts_of_their_own_files_side_by_side(format: str, first: int) -> None:
    shapes = {"gate": (3, first, 320), "up": (3, 48, 320)}
    source, truth, tensors = Arrays(), {}, []
    for name, shape in shapes.items():
        t = Tensor(f"layers.0.experts.*.{name}.weight", shape, format, "experts", 0, True)  # type: ignore[arg-type]
        tensors.append(t)
        names = iter(t.stored())
        values = []
        for _ in range(3):
            parts, v = stored(format, shape[1:])
            values.append(v)
            for part in parts.values():
                source[next(names).name] = part
        truth[name] = np.stack(values)
    loader = Loader(Named(*tensors), source)  # type: ignore[arg-type]
    w = loader.weights(tensors, FORMATS["mxint8"])
    both = np.concatenate([truth["gate"], truth["up"]], axis=1).astype(np.float32)
    for e in range(3):
        expected = convert.quantise(both[e], FORMATS["mxint8"])
        assert (w.mx(e).codes == expected.codes).all()


def test_a_transposed_stack() -> None:
    x = RNG.standard_normal((2, 64, 48)).astype(np.float32)  # [experts, in, out]
    t = Tensor("layers.0.experts.w", (2, 48, 64), "f32", "experts", 0, True, True)
    w = Loader(Named(t), Arrays({"layers.0.experts.w": x})).weights([t], FORMATS["mxint8"])  # type: ignore[arg-type]
    expected = convert.quantise(x[1].T, FORMATS["mxint8"])
    assert (w.mx(1).codes == expected.codes).all()


def test_what_cannot_be_read_is_one_line() -> None:
    t = Tensor("w", (32, 64), "nvfp4", "experts", 0, True)
    arrays = Arrays({s.name: np.zeros(s.shape, np.uint8) for s in t.stored()})
    with pytest.raises(InputError, match="nvfp4"):
        Loader(Named(t), arrays).weights([t], FORMATS["mxint8"])  # type: ignore[arg-type]


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs Linux's view of memory")
def test_converted_weights_leave_memory(tmp_path: Path) -> None:
    x = bf16(RNG.standard_normal((2048, 2048)).astype(np.float32))
    write_safetensors(tmp_path / "model.safetensors", {"w": ("BF16", x)})
    view = Checkpoint.open(tmp_path).tensor("w")
    assert view.sum() > 0
    before = resident(view)
    release(view)
    assert before > 7 * 2**20 and resident(view) < 2**20
    assert (view == x).all()
    release(np.zeros(10))  # not a map: nothing happens


def resident(x: np.ndarray) -> int:
    """Bytes of the array's pages that this process has mapped."""
    page = mmap.PAGESIZE
    start, inside, total = x.ctypes.data, False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split(" ", 1)[0]
        if "-" in head and not head.endswith(":"):
            a, b = (int(v, 16) for v in head.split("-"))
            inside = a <= start + page < b
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_addresses_are_not_needed_by_the_kernels_to_be_aligned() -> None:
    """Published blocks may start at any byte of a file."""
    q = fast.quantise(RNG.standard_normal((40, 96)).astype(np.float32), FORMATS["mxfp4"])
    buffer = ctypes.create_string_buffer(q.codes.nbytes + 64)
    a = fast.quantise(RNG.standard_normal((3, 96)).astype(np.float32), FORMATS["mxint8"])
    expected = fast.matmul(a, fast.as_weights(q))
    for offset in (1, 3, 17):
        moved = np.frombuffer(buffer, np.uint8, q.codes.size, offset).reshape(q.codes.shape)
        moved[...] = q.codes
        w = fast.as_weights(type(q)(q.format, moved, q.scales))
        assert (fast.matmul(a, w) == expected).all()
