"""A checkpoint: opened whole or sharded, and held against the model that its config.json describes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import InputError
from tapeout.model import Model, from_config
from tapeout.model.checkpoint.folder import INDEX, SINGLE, Checkpoint
from tapeout.model.checkpoint.safetensors import NUMPY, write_safetensors

CONFIGS: dict[str, dict[str, Any]] = {
    "gpt_oss": {
        "model_type": "gpt_oss", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32, "vocab_size": 128,
        "num_local_experts": 4, "num_experts_per_tok": 2, "max_position_embeddings": 512,
        "sliding_window": 8, "rope_theta": 10000.0, "quantization_config": {"quant_method": "mxfp4"},
    },
    "llama": {
        "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128, "rope_theta": 10000.0,
        "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "torch_dtype": "float32", "tie_word_embeddings": True,
    },
    "mixtral": {
        "model_type": "mixtral", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 128, "rope_theta": 10000.0,
        "max_position_embeddings": 512, "num_local_experts": 4, "num_experts_per_tok": 2,
    },
    "deepseek_v3": {
        "model_type": "deepseek_v3", "hidden_size": 256, "intermediate_size": 384, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 128, "rope_theta": 10000.0,
        "q_lora_rank": 64, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 32, "v_head_dim": 32,
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "moe_intermediate_size": 128,
        "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1, "max_position_embeddings": 512,
        "scoring_func": "sigmoid", "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    },
}  # fmt: skip

Tensors = dict[str, tuple[str, np.ndarray]]


def built(family: str) -> tuple[Model, Tensors]:
    model = from_config(CONFIGS[family], "config.json", family)
    rng = np.random.default_rng(0)
    tensors: Tensors = {}
    for tensor in model.tensors:
        for part in tensor.stored():
            size = np.dtype(NUMPY[part.dtype]).itemsize
            blob = rng.integers(0, 256, (*part.shape, size), np.uint8)
            tensors[part.name] = (part.dtype, blob.view(NUMPY[part.dtype])[..., 0])
    return model, tensors


def sharded(folder: Path, tensors: Tensors, count: int) -> dict[str, str]:
    names = sorted(tensors)
    index = {}
    for i in range(count):
        file = f"model-{i + 1:05}-of-{count:05}.safetensors"
        write_safetensors(folder / file, {n: tensors[n] for n in names[i::count]})
        index |= dict.fromkeys(names[i::count], file)
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return index


def refused(folder: Path, model: Model | None = None) -> str:
    with pytest.raises(InputError) as e:
        checkpoint = Checkpoint.open(folder)
        if model:
            checkpoint.check(model)
    assert "\n" not in str(e.value)
    return str(e.value)


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("shards", [0, 1, 3])
def test_every_family_whole_and_sharded(family: str, shards: int, tmp_path: Path) -> None:
    model, tensors = built(family)
    if shards:
        sharded(tmp_path, tensors, shards)
    else:
        write_safetensors(tmp_path / SINGLE, tensors)
    checkpoint = Checkpoint.open(tmp_path)
    checkpoint.check(model)
    assert len(checkpoint) == len(tensors) and set(checkpoint) == set(tensors)
    assert (
        checkpoint.bytes == sum(a.nbytes for _, a in tensors.values()) == sum(t.bytes for t in model.tensors)
    )
    for name, (dtype, array) in tensors.items():
        assert checkpoint.stored(name) == (name, array.shape, dtype)
        assert checkpoint.tensor(name).tobytes() == array.tobytes()


def test_the_files_are_mapped_not_read(tmp_path: Path) -> None:
    """Opening and viewing 256 MiB of tensors adds next to nothing to the memory of the process."""
    resource = pytest.importorskip("resource")
    size = 2**28
    header = json.dumps({"w": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    with (tmp_path / SINGLE).open("wb") as f:
        f.write(len(header).to_bytes(8, "little") + header)
        f.truncate(8 + len(header) + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    view = Checkpoint.open(tmp_path).tensor("w")
    assert view[-1] == 0 and not view.flags.owndata and not view.flags.writeable
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024  # KiB on Linux


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_one_change_is_named(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("checkpoint")
    model, tensors = built(data.draw(st.sampled_from(sorted(CONFIGS))))
    name = data.draw(st.sampled_from(sorted(tensors)))
    dtype, array = tensors[name]
    change = data.draw(st.sampled_from(["missing", "shape", "dtype", "unexpected"]))
    if change == "missing":
        del tensors[name]
    elif change == "shape":
        tensors[name] = (dtype, array[:-1])
    elif change == "dtype":
        other = {1: "I8", 2: "F16", 4: "I32"}[array.itemsize]
        other = "BOOL" if other == dtype else other
        tensors[name] = (other, array.view(NUMPY[other]))
    else:
        name = f"{name}.extra"
        tensors[name] = (dtype, array)
    write_safetensors(folder / SINGLE, tensors)
    assert name in refused(folder, model)


def test_what_published_checkpoints_carry_besides_is_passed_over(tmp_path: Path) -> None:
    model, tensors = built("llama")
    assert model.tied_embeddings
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"]
    tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = ("F32", np.zeros(8, np.float32))
    write_safetensors(tmp_path / SINGLE, tensors)
    Checkpoint.open(tmp_path).check(model)


def test_modules_that_a_description_leaves_out_are_passed_over(tmp_path: Path) -> None:
    """The layer of DeepSeek-V3 that predicts a second token; but nothing unknown inside a described layer."""
    model, tensors = built("deepseek_v3")
    extra = ("BF16", np.zeros(4, np.uint16))
    write_safetensors(tmp_path / SINGLE, tensors | {"model.layers.2.enorm.weight": extra})
    assert "model.layers.2.enorm.weight" in refused(tmp_path, model)
    config = CONFIGS["deepseek_v3"] | {"num_nextn_predict_layers": 1}
    described = from_config(config, "config.json", "deepseek_v3")
    assert described.approximations
    Checkpoint.open(tmp_path).check(described)
    write_safetensors(tmp_path / SINGLE, tensors | {"model.layers.1.enorm.weight": extra})
    assert "model.layers.1.enorm.weight" in refused(tmp_path, described)


def test_an_index_that_lies(tmp_path: Path) -> None:
    _, tensors = built("llama")
    index = sharded(tmp_path, tensors, 2)
    name = sorted(index)[0]
    bad: dict[str, Any] = {
        "absent": index | {name: "model-00009-of-00002.safetensors"},
        "other shard": index | {name: index[sorted(index)[1]]},
        "no such tensor": index | {"ghost": index[name]},
        "outside": index | {name: "../x.safetensors"},
        "absolute": index | {name: "/etc/passwd"},
        "pickle": index | {name: "pytorch_model.bin"},
        "number": index | {name: 3},
        "empty": {},
        "list": [],
    }
    for weight_map in bad.values():
        (tmp_path / INDEX).write_text(json.dumps({"weight_map": weight_map}))
        assert INDEX in refused(tmp_path)
    (tmp_path / INDEX).write_text("{}")
    assert "weight_map" in refused(tmp_path)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    _, tensors = built("llama")
    index = sharded(tmp_path, tensors, 2)
    first = sorted(tensors)[0]
    second = next(f for f in index.values() if f != index[first])
    write_safetensors(tmp_path / second, {n: tensors[n] for n in tensors if index[n] == second or n == first})
    assert "each tensor in one file" in refused(tmp_path)


def test_a_folder_without_weights(tmp_path: Path) -> None:
    assert "neither" in refused(tmp_path)
    assert "nothing there" in refused(tmp_path / "absent")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    assert "pickled" in refused(tmp_path)
    write_safetensors(tmp_path / "model-00001-of-00002.safetensors", {})
    assert "1 shards without an index" in refused(tmp_path)


def test_an_unknown_name(tmp_path: Path) -> None:
    write_safetensors(tmp_path / SINGLE, {})
    checkpoint = Checkpoint.open(tmp_path)
    assert "x" not in checkpoint
    for read in (checkpoint.tensor, checkpoint.stored):
        with pytest.raises(InputError, match="no such tensor"):
            read("x")
