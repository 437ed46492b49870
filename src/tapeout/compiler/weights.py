"""From the tensors of a checkpoint to operands: published MX blocks where they lie, the rest converted once.

What was converted is dropped from memory again (its pages go back to the page cache), so that loading never
holds two copies of a checkpoint.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import Model, Tensor
from tapeout.model.formats import stored
from tapeout.numerics import fast, fp32
from tapeout.numerics.formats import FORMATS, MXFP8, Mx, MxFormat

Array = NDArray[Any]
ROWS = 4096  # converted at a time; a multiple of 16


class Source(Protocol):
    """Where tensors come from: `model.checkpoint.folder.Checkpoint`, or anything that maps names to arrays as
    it does (BF16 as uint16, 8-bit floats and scales as uint8)."""

    def tensor(self, name: str) -> Array:
        """The tensor of this name."""
        ...


def release(view: Array) -> None:
    """Let the pages of a mapped array go; they are read again if it is used again."""
    base: object = view
    while isinstance(base, np.ndarray | memoryview):
        base = base.obj if isinstance(base, memoryview) else base.base
    if not isinstance(base, mmap.mmap) or not hasattr(mmap, "MADV_DONTNEED"):
        return
    offset = view.ctypes.data - np.frombuffer(base, np.uint8, 1).ctypes.data
    first = -(-offset // mmap.PAGESIZE) * mmap.PAGESIZE
    last = (offset + view.nbytes) // mmap.PAGESIZE * mmap.PAGESIZE
    if last > first:
        base.madvise(mmap.MADV_DONTNEED, first, last - first)


class Loader:
    """Reads the weights of one model. Raises InputError for a storage format that it does not know."""

    def __init__(self, model: Model, source: Source) -> None:
        self.model, self.source = model, source

    def of_layer(self, layer: int | None) -> dict[str, Tensor]:
        """The tensors of one layer by their name within it (`self_attn.q_proj.weight`), or those outside."""
        found = [t for t in self.model.tensors if t.layer == layer]
        return {t.name.split(f"layers.{layer}.", 1)[-1]: t for t in found}

    def vector(self, tensor: Tensor | None) -> fp32.F32 | None:
        """A tensor as float32 of its logical shape; None for None."""
        if tensor is None:
            return None
        return np.ascontiguousarray(_floats(self._read(tensor)[0]).reshape(tensor.shape), np.float32)

    def published(self, tensor: Tensor) -> Mx | None:
        """The tensor's blocks as published in an MX format, [experts, out, in] or [out, in]; None otherwise."""
        if tensor.format not in FORMATS or tensor.transposed or "*" in tensor.name or tensor.shape[-1] % 32:
            return None
        codes, scales = (np.asarray(self.source.tensor(s.name)) for s in tensor.stored())
        return _blocks(tensor.format, codes, scales)

    def weights(self, tensors: Sequence[Tensor], format: MxFormat) -> fast.Weights:
        """One or more matrices [out, in] (or [experts, out, in]), their rows one after another."""
        if len(tensors) == 1 and (mx := self.published(tensors[0])) is not None:
            return fast.as_weights(mx)
        stacked = len(tensors[0].shape) == 3
        experts = tensors[0].shape[0] if stacked else 1
        rows, k = sum(t.shape[-2] for t in tensors), tensors[0].shape[-1]
        builder = fast.WeightsBuilder(format, experts, rows, k)
        aligned = all(t.shape[-2] % fast.TILE == 0 for t in tensors[:-1])
        for expert in range(experts):
            pieces = [self._read(t, expert if stacked else None) for t in tensors]
            if not aligned:
                pieces = [(np.concatenate([_floats(p) for p, _ in pieces]), pieces[0][1])]
            row = 0
            for values, view in pieces:
                for at in range(0, len(values), ROWS):
                    builder.add(expert, row + at, values[at : at + ROWS])
                row += len(values)
                release(view)
        return builder.done()

    def matrix(self, tensor: Tensor) -> Array:
        """A whole matrix [out, in] as BF16 bits (uint16) or float32."""
        return self._read(tensor)[0]

    def rows(self, tensor: Tensor) -> Callable[[NDArray[np.int64]], fp32.F32]:
        """A function from indices to rows of a matrix as float32, left as stored and decoded when asked for."""
        if tensor.format == "bf16":
            stored_bits = self.source.tensor(next(iter(tensor.stored())).name)
            return lambda index: fp32.bf16_to_f32(stored_bits[index])
        if (mx := self.published(tensor)) is not None:
            return lambda index: mx[index].decode()
        values = np.ascontiguousarray(_floats(self._read(tensor)[0]))
        return lambda index: values[index]

    def _read(self, t: Tensor, expert: int | None = None) -> tuple[Array, Array]:
        """A tensor, or one of its experts, as BF16 bits or float32; and the view of the file, to release."""
        if "*" in t.name and expert is not None:
            name = t.name.replace("*", str(expert), 1)
            parts = [np.asarray(self.source.tensor(s.name)) for s in stored(name, t.shape[1:], t.format)]
        else:
            parts = [np.asarray(self.source.tensor(s.name)) for s in t.stored()]
            if expert is not None:
                parts = [p[expert] for p in parts]
        values = decode(t, parts, self.model)
        return (np.swapaxes(values, -1, -2) if t.transposed else values), parts[0]


def _floats(x: Array) -> fp32.F32:
    return fp32.bf16_to_f32(x) if x.dtype == np.uint16 else np.asarray(x, np.float32)


def _blocks(format: str, codes: Array, scales: Array) -> Mx:
    codes = codes.view(np.int8) if format == "mxint8" else codes
    return Mx(FORMATS[format], codes.reshape(*scales.shape[:-1], -1), scales.view(np.uint8))


def decode(t: Tensor, parts: Sequence[Array], model: Model) -> Array:
    """File tensors to BF16 bits or float32. 8-bit floats are multiplied by their scales in FP32."""
    kind, x = t.format, parts[0]
    if kind in ("bf16", "f32"):
        return x
    if kind == "f16":
        return x.astype(np.float32)
    if kind in FORMATS and t.shape[-1] % 32 == 0:
        return _blocks(kind, x, parts[1]).decode()
    if kind in ("fp8_block128", "fp8_tensor", "fp8_channel", "fp8_row"):
        values = fp32.scaled(MXFP8.table[x], -MXFP8.fraction)
        values = np.where((x & 0x7F) == 0x7F, np.float32(np.nan), values)
        scale = _floats(parts[1])
        if kind == "fp8_block128":
            scale = scale.repeat(128, -2)[..., : x.shape[-2], :].repeat(128, -1)[..., : x.shape[-1]]
        elif kind == "fp8_tensor":
            scale = scale.reshape(*scale.shape, 1, 1)
        return fp32.mul(values, scale)
    raise InputError(model.name, t.name, Phrase(f"weights stored as {kind}"), "a format the simulator reads")
