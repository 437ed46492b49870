"""How one weight lies in a checkpoint: its file tensors (name, shape, dtype) and its exact bytes, by format.

A weight is logical (`[..., out, in]`); a block format stores it as elements plus scales. The layouts
are those that public checkpoints use:

| format | file tensors | as published in |
|---|---|---|
| f32, bf16, f16, i32 | the tensor itself | |
| mxfp4 | `_blocks` U8 [..., out, in/32, 16], `_scales` U8 [..., out, in/32] | openai/gpt-oss-120b |
| mxfp8, mxint8 | elements U8 or I8, `_scale` U8 [..., out, in/32] | OCP MX v1.0; compressed-tensors |
| fp8_block128 | F8_E4M3, `_scale_inv` F32 per 128 × 128 | deepseek-ai/DeepSeek-V3, arXiv 2412.19437 §3.3 |
| fp8_tensor | F8_E4M3, `weight_scale` and `input_scale` F32 scalars | nvidia/Llama-3.1-70B-Instruct-FP8 |
| fp8_channel | F8_E4M3, `weight_scale` BF16 [out, 1] | compressed-tensors, FP8-dynamic |
| fp8_row | F8_E4M3, `weight_scale` F32 [out, 1] | meta-llama/Llama-3.1-405B-FP8 (FBGEMM) |
| nvfp4 | U8 [out, in/2], `_scale` F8_E4M3 [out, in/16], `_scale_2`, `input_scale` F32 | DeepSeek-R1-FP4 |
| int4_group32 | `_packed` I32 [out, in/8], `_scale` BF16 [out, in/32], `_shape` | Kimi-K2-Thinking |
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod
from typing import Literal, NamedTuple, get_args

StorageFormat = Literal[
    "f32",
    "bf16",
    "f16",
    "mxfp4",
    "mxfp8",
    "mxint8",
    "fp8_block128",
    "fp8_tensor",
    "fp8_channel",
    "fp8_row",
    "nvfp4",
    "int4_group32",
    "i32",
]
FORMATS: tuple[StorageFormat, ...] = get_args(StorageFormat)

CacheFormat = Literal["f32", "bf16", "f16", "fp8", "mxfp8", "mxint8", "mxfp4", "nvfp4"]
CACHE_BITS: dict[CacheFormat, float] = {  # bits per cached number, block scales included
    "f32": 32,
    "bf16": 16,
    "f16": 16,
    "fp8": 8,
    "mxfp8": 8 + 8 / 32,
    "mxint8": 8 + 8 / 32,
    "mxfp4": 4 + 8 / 32,
    "nvfp4": 4 + 8 / 16,
}

DTYPE_BYTES = {"F32": 4, "BF16": 2, "F16": 2, "I32": 4, "I64": 8, "U8": 1, "I8": 1, "F8_E4M3": 1}

Shape = tuple[int, ...]


class StoredTensor(NamedTuple):
    """One tensor of a safetensors file; `dtype` in that format's words."""

    name: str
    shape: Shape
    dtype: str

    @property
    def bytes(self) -> int:
        """Bytes of data in the file."""
        return prod(self.shape) * DTYPE_BYTES[self.dtype]


@dataclass(frozen=True)
class Part:
    """One file tensor of a format: what is added to the weight's name, its dtype, its shape."""

    suffix: str
    dtype: str
    shape: Callable[[Shape], Shape]
    beside: bool = False  # `module.weight_scale` belongs to the weight, `module.input_scale` to the module

    def name(self, weight: str) -> str:
        """The file tensor's name, for a weight of this name."""
        return (weight.removesuffix(".weight") + "." if self.beside else weight) + self.suffix


def _per(block: int, *tail: int) -> Callable[[Shape], Shape]:
    """The last axis in blocks of `block`, the last one partial."""
    return lambda s: (*s[:-1], -(-s[-1] // block), *tail)


def _same(s: Shape) -> Shape:
    return s


def _tiles128(s: Shape) -> Shape:
    return (*s[:-2], -(-s[-2] // 128), -(-s[-1] // 128))


def _rows(s: Shape) -> Shape:
    return (*s[:-1], 1)


def _scalar(s: Shape) -> Shape:
    return s[:-2]  # one for each matrix of a fused stack


_INPUT_SCALE = Part("input_scale", "F32", _scalar, beside=True)

PARTS: dict[StorageFormat, tuple[Part, ...]] = {
    "f32": (Part("", "F32", _same),),
    "bf16": (Part("", "BF16", _same),),
    "f16": (Part("", "F16", _same),),
    "i32": (Part("", "I32", _same),),
    "mxfp4": (Part("_blocks", "U8", _per(32, 16)), Part("_scales", "U8", _per(32))),
    "mxfp8": (Part("", "F8_E4M3", _same), Part("_scale", "U8", _per(32))),
    "mxint8": (Part("", "I8", _same), Part("_scale", "U8", _per(32))),
    "fp8_block128": (Part("", "F8_E4M3", _same), Part("_scale_inv", "F32", _tiles128)),
    "fp8_tensor": (Part("", "F8_E4M3", _same), Part("_scale", "F32", _scalar), _INPUT_SCALE),
    "fp8_channel": (Part("", "F8_E4M3", _same), Part("_scale", "BF16", _rows)),
    "fp8_row": (Part("", "F8_E4M3", _same), Part("_scale", "F32", _rows)),
    "nvfp4": (
        Part("", "U8", _per(2)),
        Part("_scale", "F8_E4M3", _per(16)),
        Part("_scale_2", "F32", _scalar),
        _INPUT_SCALE,
    ),
    "int4_group32": (
        Part("_packed", "I32", _per(8)),
        Part("_scale", "BF16", _per(32)),
        Part("_shape", "I32", lambda s: (2,)),
    ),
}


def stored(name: str, shape: Shape, fmt: StorageFormat) -> Iterator[StoredTensor]:
    """The file tensors of one weight. A `*` in `name` stands for the index along the first axis, each its own
    file tensor (the experts of most families); without one a stack of matrices is one file tensor."""
    if "*" in name:
        for index in range(shape[0]):
            yield from stored(name.replace("*", str(index), 1), shape[1:], fmt)
        return
    for part in PARTS[fmt]:
        yield StoredTensor(part.name(name), part.shape(shape), part.dtype)


def stored_bytes(name: str, shape: Shape, fmt: StorageFormat) -> int:
    """Exact bytes of `stored(name, shape, fmt)`, without listing it."""
    if "*" in name:
        return shape[0] * stored_bytes(name.replace("*", "0", 1), shape[1:], fmt)
    return sum(prod(part.shape(shape)) * DTYPE_BYTES[part.dtype] for part in PARTS[fmt])
