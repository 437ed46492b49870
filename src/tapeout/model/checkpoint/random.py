"""Random checkpoints of any model, in the published layout: for tests and for measuring speed.

The weights are scaled so that the model behaves like a trained one where it matters to a comparison: activations
keep their size through the layers, routers are decided, and the logits are peaked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import InputError
from tapeout.files import write_atomic
from tapeout.model.architecture import MixtureOfExperts, Model, Tensor
from tapeout.model.checkpoint.folder import INDEX, SINGLE
from tapeout.model.checkpoint.safetensors import write_safetensors
from tapeout.model.load import from_config

PEAK = 5.0  # standard deviation of the logits
ROUTER = 6.0  # of the router's scores
ROUTER_SIGMOID = 1.5  # where a sigmoid follows, which would make large ones equal
BRANCH = 0.3  # size of what a layer adds, against an embedding of size one
BRANCH_TIED = 1.0  # against a tied embedding, which otherwise finds itself again
BRANCH_ENDS = ("o_proj", "down_proj", ".w2.")  # the matrices that add to the stream
SHARD_BYTES = 2**30

Stored = dict[str, tuple[str, np.ndarray]]

_E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6], np.float32)


def write_random(
    folder: Path, config: Mapping[str, Any], *, seed: int = 0, shard_bytes: int = SHARD_BYTES
) -> Model:
    """Write config.json and random weights to `folder`; returns the model.

    More than `shard_bytes` of weights are split into shards with an index, each made and written before
    the next, so that memory holds one. Raises InputError for a storage format without a rule here.
    """
    model = from_config(config, folder / "config.json", folder.name)
    rng = np.random.default_rng(seed)
    shards: list[list[str]] = [[]]
    pending: Stored = {}
    for tensor in model.tensors:
        for name, part in _parts(tensor, model, rng):
            if pending and _bytes(pending) + part[1].nbytes > shard_bytes:
                _write_shard(folder, shards, pending)
                shards.append([])
                pending = {}
            pending[name] = part
    if len(shards) == 1:
        write_safetensors(folder / SINGLE, pending, {"format": "pt"})
    else:
        _write_shard(folder, shards, pending)
        index: dict[str, str] = {}
        for i, names in enumerate(shards):
            final = f"model-{i + 1:05}-of-{len(shards):05}.safetensors"
            (folder / f"part-{i + 1:05}.safetensors").replace(folder / final)
            index |= dict.fromkeys(names, final)
        write_atomic(folder / INDEX, json.dumps({"metadata": {}, "weight_map": index}))
    write_atomic(folder / "config.json", json.dumps(dict(config), indent=2) + "\n")
    return model


def _bytes(tensors: Stored) -> int:
    return sum(array.nbytes for _, array in tensors.values())


def _write_shard(folder: Path, shards: list[list[str]], tensors: Stored) -> None:
    shards[-1] = list(tensors)
    write_safetensors(folder / f"part-{len(shards):05}.safetensors", tensors, {"format": "pt"})


def _parts(
    tensor: Tensor, model: Model, rng: np.random.Generator
) -> Iterator[tuple[str, tuple[str, np.ndarray]]]:
    """The file tensors of one weight, one matrix of a stack at a time where the file stores them so."""
    if tensor.format == "mxfp4":
        blocks, scales = (part for part in tensor.stored())
        codes = rng.integers(0, 256, blocks.shape, np.uint8)
        # Uniform codes: the scale brings their deviation near the one wanted, blocks a factor of 2 apart.
        exponent = np.log2(_deviation(tensor, model) / np.sqrt(np.mean(_E2M1**2)))
        spread = rng.integers(-1, 2, scales.shape)
        yield blocks.name, (blocks.dtype, codes)
        yield scales.name, (scales.dtype, (round(float(exponent)) + 127 + spread).astype(np.uint8))
        return
    for part in tensor.stored():
        if part.dtype == "F8_E4M3":
            # Codes of size up to 0x77 (240), uniform in sign and exponent from 2^0 on: no NaN, no zero.
            codes = rng.integers(0x38, 0x78, part.shape, np.uint8) | (
                rng.integers(0, 2, part.shape, np.uint8) << 7
            )
            yield part.name, (part.dtype, codes)
        elif tensor.format == "fp8_block128":
            scale = _deviation(tensor, model) / 76.6  # the codes' root mean square
            yield part.name, ("F32", (scale * rng.uniform(0.7, 1.4, part.shape)).astype(np.float32))
        elif tensor.format in ("bf16", "f16", "f32"):
            yield part.name, (part.dtype, _plain(part.dtype, _values(tensor, part.shape, model, rng)))
        else:
            raise InputError(
                "random weights", tensor.name, tensor.format, "bf16, f16, f32, mxfp4 or fp8_block128"
            )


def _deviation(tensor: Tensor, model: Model) -> float:
    """The standard deviation of a matrix's elements."""
    tied = model.tied_embeddings and tensor.role == "embedding"
    gain = 1.0
    if tensor.role == "lm_head" or tied:
        gain = PEAK
    elif tensor.role == "router":
        parts = (layer.feed_forward for layer in model.layers)
        sigmoid = any(isinstance(p, MixtureOfExperts) and p.scoring == "sigmoid" for p in parts)
        gain = ROUTER_SIGMOID if sigmoid else ROUTER
    elif any(end in tensor.name for end in BRANCH_ENDS):
        gain = BRANCH_TIED if model.tied_embeddings else BRANCH
    return 1.0 if tensor.role == "embedding" and not tied else gain / float(np.sqrt(tensor.shape[-1]))


def _values(tensor: Tensor, shape: tuple[int, ...], model: Model, rng: np.random.Generator) -> np.ndarray:
    values = rng.standard_normal(shape, np.float32)
    if tensor.matrix or tensor.role in ("embedding", "lm_head"):
        values *= np.float32(_deviation(tensor, model))
        return values
    if tensor.role == "norm" or "norm" in tensor.name.rsplit(".", 2)[-2]:
        return 1 + values * np.float32(0.1)
    return values * np.float32(1.0 if tensor.name.endswith("sinks") else 0.1)


def _plain(dtype: str, values: np.ndarray) -> np.ndarray:
    """FP32 values in a plain format, rounded to nearest even."""
    if dtype == "BF16":
        bits = values.view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return values.astype(np.float16 if dtype == "F16" else np.float32)
