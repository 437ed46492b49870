"""A copy of an FP8 checkpoint with its weights decoded to FP32, for a reference that cannot read FP8 on CPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapeout.files import read_json, write_atomic
from tapeout.model.checkpoint.folder import SINGLE, Checkpoint
from tapeout.model.checkpoint.safetensors import write_safetensors

_SCALE = "_scale_inv"


def e4m3_values() -> NDArray[np.float32]:
    """The value of each of the 256 codes of E4M3 without infinities (OCP OFP8: bias 7, S.1111.111 is NaN)."""
    code = np.arange(256)
    exponent, mantissa = (code >> 3) & 15, code & 7
    size = np.where(exponent == 0, mantissa / 8 * 2.0**-6, (1 + mantissa / 8) * 2.0 ** (exponent - 7.0))
    size = np.where(code & 0x7F == 0x7F, np.nan, size)
    return np.where(code & 0x80, -size, size).astype(np.float32)


def decode_fp8(codes: NDArray[np.uint8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """A matrix of E4M3 codes `[out, in]` times its scales, one for each tile of 128 × 128."""
    tiles = scales.repeat(128, 0)[: codes.shape[0]].repeat(128, 1)[:, : codes.shape[1]]
    return e4m3_values()[codes] * tiles


def write_decoded(source: Path, target: Path) -> None:
    """Write the checkpoint of `source` to `target` with FP8 weights as FP32 and no `quantization_config`."""
    checkpoint = Checkpoint.open(source)
    tensors: dict[str, tuple[str, np.ndarray]] = {}
    for name in checkpoint:
        if name.endswith(_SCALE):
            continue
        if f"{name}{_SCALE}" in checkpoint:
            tensors[name] = ("F32", decode_fp8(checkpoint.tensor(name), checkpoint.tensor(f"{name}{_SCALE}")))
        else:
            tensors[name] = (checkpoint.stored(name).dtype, checkpoint.tensor(name))
    write_safetensors(target / SINGLE, tensors, {"format": "pt"})
    config = read_json(source / "config.json")
    config.pop("quantization_config", None)
    write_atomic(target / "config.json", json.dumps(config))
    if (source / "generation_config.json").exists():
        shutil.copy(source / "generation_config.json", target)
