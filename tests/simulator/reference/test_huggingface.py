"""The reference itself: every family's random checkpoint loads in transformers, tensor for tensor, and the demo
as it is shipped gives the perplexity that its metrics claim."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parent))

from small import CONFIGS

from tapeout.errors import InputError
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import INDEX, SINGLE, Checkpoint
from tapeout.model.checkpoint.random import write_random
from tapeout.model.checkpoint.safetensors import write_safetensors
from tapeout.model.checkpoint.tokenizer import Tokenizer
from tapeout.simulator.reference.compare import Statistics, log_softmax
from tapeout.simulator.reference.decoded import decode_fp8, e4m3_values
from tapeout.simulator.reference.huggingface import Reference

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_loads_tensor_for_tensor(family: str, tmp_path: Path) -> None:
    model = write_random(tmp_path, CONFIGS[family], seed=1)
    Checkpoint.open(tmp_path).check(model)
    tokens = np.random.default_rng(0).integers(0, model.vocabulary, 64).tolist()
    wide, narrow = (Reference(tmp_path, p).trace(tokens) for p in ("float32", "bfloat16"))
    assert wide.logits.shape == (64, model.vocabulary)
    assert wide.hidden.shape == (len(model.layers), 64, model.hidden)
    probability = np.exp(log_softmax(wide.logits)).max(-1).mean()
    assert 0.3 < probability < 0.98, "logits neither flat nor certain"
    statistics = Statistics()
    statistics.add(tokens, wide, narrow)
    found = statistics.result()
    assert 0 < found.logit_error < 0.2
    assert found.agreement > 0.85
    assert (found.expert_agreement is None) == (not wide.experts)


def test_shards_are_the_same_model(tmp_path: Path) -> None:
    write_random(tmp_path / "one", CONFIGS["gpt_oss"], seed=3)
    write_random(tmp_path / "many", CONFIGS["gpt_oss"], seed=3, shard_bytes=2**19)
    one, many = Checkpoint.open(tmp_path / "one"), Checkpoint.open(tmp_path / "many")
    assert (tmp_path / "many" / INDEX).exists() and len(list((tmp_path / "many").glob("model-*"))) > 3
    assert not list((tmp_path / "many").glob("part-*"))
    assert set(one) == set(many)
    assert all(np.array_equal(one.tensor(n), many.tensor(n)) for n in one)


def test_a_renamed_tensor_is_refused(tmp_path: Path) -> None:
    write_random(tmp_path, CONFIGS["llama"])
    checkpoint = Checkpoint.open(tmp_path)
    tensors = {n: (checkpoint.stored(n).dtype, checkpoint.tensor(n).copy()) for n in checkpoint}
    tensors["model.layers.0.self_attn.query.weight"] = tensors.pop("model.layers.0.self_attn.q_proj.weight")
    write_safetensors(tmp_path / SINGLE, tensors, {"format": "pt"})
    with pytest.raises(InputError, match="self_attn"):
        Reference(tmp_path)


def test_decoding_of_fp8_against_torch() -> None:
    import torch

    theirs = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float().numpy()
    assert np.array_equal(e4m3_values(), theirs, equal_nan=True)
    codes = np.random.default_rng(0).integers(0, 127, (200, 130)).astype(np.uint8)
    scales = np.array([[1, 2], [4, 8]], np.float32)
    decoded = decode_fp8(codes, scales)
    assert decoded[127, 127] == theirs[codes[127, 127]] and decoded[128, 129] == 8 * theirs[codes[128, 129]]
    assert decoded[128, 127] == 4 * theirs[codes[128, 127]] and decoded[0, 128] == 2 * theirs[codes[0, 128]]


def test_the_demo_is_as_good_as_its_metrics_say() -> None:
    """Loaded by transformers as it is shipped, over the first chapters of the shipped sample, in FP32."""
    metrics = json.loads((demo.FOLDER / "metrics.json").read_text())
    Checkpoint.open(demo.FOLDER).check(load("demo"))
    tokenizer, reference = Tokenizer(demo.FOLDER), Reference(demo.FOLDER)
    end = tokenizer.token("<|endoftext|>")
    assert end is not None
    nats, characters = 0.0, 0
    for text in demo.held_out():
        ids = [end, *tokenizer.encode(text)]
        for start in range(0, len(ids) - 1, metrics["context"]):
            window = ids[start : start + metrics["context"] + 1]
            scores = log_softmax(reference.trace(window[:-1]).logits)
            nats -= scores[np.arange(len(window) - 1), window[1:]].sum()
        characters += len(text)
    assert nats / math.log(2) / characters == pytest.approx(
        metrics["shipped_sample"]["bits_per_character"], abs=2e-3
    )
    assert metrics["held_out"]["bits_per_character"] < 1.51
