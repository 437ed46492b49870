"""Names, folders and both spellings of a config.json."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tapeout.errors import InputError
from tapeout.model import load
from tapeout.model.architecture import GroupedQueryAttention
from tapeout.model.catalog import ALIASES, SOURCES, names, resolve

MEASUREMENTS = Path(__file__).parents[3] / "shared" / "validation"


@pytest.mark.parametrize(
    ("source", "name", "fmt"),
    [
        ("gpt-oss-120b", "gpt-oss-120b", None),
        ("OpenAI/GPT-OSS-120B", "gpt-oss-120b", None),
        ("meta-llama/Llama-3.1-70B-Instruct", "llama-3.1-70b", None),
        ("meta-llama/Meta-Llama-3.1-8B", "llama-3.1-8b", None),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.1-70b", None),
        ("meta-llama/Llama-3.1-405B-Instruct-FP8", "llama-3.1-405b", "fp8_row"),
        ("nvidia/Llama-3.1-70B-Instruct-FP8", "llama-3.1-70b", "fp8_tensor"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic", "llama-3.1-8b", "fp8_channel"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b", None),
        ("Qwen/Qwen3-32B-FP8", "qwen3-32b", "fp8_block128"),
        ("Qwen/Qwen3-235B-A22B-Thinking-2507-FP8", "qwen3-235b-a22b", "fp8_block128"),
        ("deepseek-ai/DeepSeek-R1-0528", "deepseek-r1", None),
        ("nvidia/DeepSeek-R1-0528-FP4", "deepseek-r1", "nvfp4"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mixtral-8x7b", None),
        ("moonshotai/Kimi-K2-Instruct-0905", "kimi-k2", None),
        ("moonshotai/Kimi-K2-Thinking", "kimi-k2-thinking", None),
        ("deepseek-ai/DeepSeek-V3.1-Terminus", "deepseek-v3", None),
        ("nvidia/DeepSeek-R1-0528-NVFP4-v2", "deepseek-r1", "nvfp4"),
        ("amd/DeepSeek-R1-MXFP4-Preview", "deepseek-r1", "mxfp4"),
        ("unsloth/gpt-oss-120b-BF16", "gpt-oss-120b", "bf16"),
        ("google/gemma-3-27b-it", "gemma-3-27b", None),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama-4-scout", None),
        ("llama2-70b-99.9", "llama-2-70b", None),
        ("llama3.1-8b", "llama-3.1-8b", None),
    ],
)
def test_names(source: str, name: str, fmt: str | None) -> None:
    assert resolve(source) == (name, fmt)
    assert load(source).name == name


def test_every_model_has_a_source_that_leads_to_it() -> None:
    assert set(SOURCES) == set(names())
    for name, repository in SOURCES.items():
        assert resolve(repository) == (name, None)


def test_aliases_lead_to_shipped_models() -> None:
    assert set(ALIASES.values()) <= set(names())
    assert not set(ALIASES) & set(names())


@pytest.mark.parametrize("file", ["gpu_serving.csv", "gpu_energy.csv", "mlperf_v5.1.csv"])
def test_models_of_published_measurements_resolve(file: str) -> None:
    if not (MEASUREMENTS / file).exists():
        pytest.skip(f"{MEASUREMENTS / file} is absent")
    with (MEASUREMENTS / file).open(newline="") as f:
        found = {row["model"] for row in csv.DictReader(f)}
    assert found
    for name in found:
        resolve(name)


@pytest.mark.parametrize("source", ["gpt-oss-12b", "openai/gpt-oss-120", "lama-3.1-70b"])
def test_close_matches(source: str) -> None:
    with pytest.raises(InputError, match=r"one like (gpt-oss-120b|gpt-oss-20b|llama-3.1-70b)") as e:
        load(source)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("source", ["", "/", "no such model at all", "./missing", "a\0b", "x" * 5000, "-fp8"])
def test_no_match(source: str) -> None:
    with pytest.raises(InputError) as e:
        load(source)
    assert "\n" not in str(e.value)


def test_folder_and_file(tmp_path: Path) -> None:
    folder = tmp_path / "my-model"
    folder.mkdir()
    (folder / "config.json").write_text(resolve("qwen3-4b").text())
    assert load(folder).name == load(str(folder)).name == load(folder / "config.json").name == "my-model"
    assert load(folder).tensors == load("qwen3-4b").tensors


def config(name: str) -> dict:
    return json.loads(resolve(name).text())


def loaded(tmp_path: Path, table: dict):
    (tmp_path / "config.json").write_text(json.dumps(table))
    return load(tmp_path)


def test_new_spelling(tmp_path: Path) -> None:
    """`rope_parameters`, `dtype` and `num_local_experts` mean what older files say otherwise."""
    for name in ("gpt-oss-20b", "llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "kimi-k2"):
        old = config(name)
        new = dict(old)
        new["dtype"] = new.pop("torch_dtype")
        scaling = dict(new.pop("rope_scaling") or {"rope_type": "default"})
        scaling["rope_type"] = scaling.pop("type", scaling.get("rope_type"))
        new["rope_parameters"] = {**scaling, "rope_theta": new.pop("rope_theta")}
        if "num_experts" in new:
            new["num_local_experts"] = new.pop("num_experts")
        assert loaded(tmp_path, new).layers == load(name).layers
        assert loaded(tmp_path, new).tensors == load(name).tensors


def test_what_a_file_may_leave_out(tmp_path: Path) -> None:
    """The kinds of layers that transformers would fill in."""
    for name in ("gpt-oss-20b", "gemma-3-12b", "llama-4-scout", "qwen3.5-27b"):
        short = config(name)
        for part in (short, short.get("text_config", {})):
            for key in ("layer_types", "no_rope_layer_interval", "sliding_window_pattern", "dtype"):
                part.pop(key, None)
        assert loaded(tmp_path, short).tensors == load(name).tensors
        assert loaded(tmp_path, short).layers == load(name).layers


def test_gemma_new_spelling(tmp_path: Path) -> None:
    """One rotary embedding for each kind of layer."""
    old = config("gemma-3-12b")
    text = dict(old["text_config"])
    scaling = text.pop("rope_scaling")
    text["rope_parameters"] = {
        "full_attention": {**scaling, "rope_theta": text.pop("rope_theta")},
        "sliding_attention": {"rope_type": "default", "rope_theta": text.pop("rope_local_base_freq")},
    }
    text["layer_types"] = (["sliding_attention"] * 5 + ["full_attention"]) * 8
    assert loaded(tmp_path, {**old, "text_config": text}).layers == load("gemma-3-12b").layers
    local, full = (load("gemma-3-12b").layers[i].attention for i in (0, 5))
    assert isinstance(local, GroupedQueryAttention)
    assert isinstance(full, GroupedQueryAttention)
    assert local.rope and full.rope
    assert (local.window, local.rope.theta, local.rope.scaling) == (1024, 1e4, "none")
    assert (full.window, full.rope.theta, full.rope.factor) == (None, 1e6, 8.0)


def test_language_part_of_a_multimodal_file(tmp_path: Path) -> None:
    """As Kimi K2.5 has it: names under `language_model.`, the quantisation inside `text_config`."""
    inner = config("kimi-k2-thinking")
    whole = loaded(tmp_path, {"model_type": "kimi_k25", "text_config": inner, "vision_config": {}})
    alone = load("kimi-k2-thinking")
    assert whole.layers == alone.layers
    assert [t.name for t in whole.tensors] == [f"language_model.{t.name}" for t in alone.tensors]
    assert whole.bytes == alone.bytes
    assert any("text only" in line for line in whole.approximations)


def test_rotary_embeddings() -> None:
    rope = load("gpt-oss-120b").layers[0].attention.rope
    assert (rope.scaling, rope.factor, rope.truncate) == ("yarn", 32.0, False)
    assert rope.attention_factor == pytest.approx(1.34657, abs=5e-6)  # 0.1 ln 32 + 1
    mla = load("deepseek-v3").layers[0].attention
    assert mla.rope.attention_factor == 1.0  # mscale cancels mscale_all_dim in cos and sin …
    assert mla.scale == pytest.approx(192**-0.5 * 1.3688879**2, rel=1e-5)  # … and scales the scores
    assert load("glm-4.5").layers[0].attention.rope.rotary_dim == 64
    assert load("minimax-m2.5").layers[0].attention.rope.rotary_dim == 64
    assert load("llama-4-scout").layers[3].attention.rope is None


def test_equal_layers_are_one_object() -> None:
    for name in names():
        model = load(name)
        assert len({id(layer) for layer in model.layers}) == len(set(model.layers)) <= 4
