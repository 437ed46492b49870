"""Whatever the file holds: a Model, or one line that names file, field, what was found and expected."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tapeout.errors import InputError
from tapeout.files import parse_json
from tapeout.model import Model, from_config, load
from tapeout.model.catalog import names, resolve


def table(name: str) -> dict[str, Any]:
    return parse_json(resolve(name).text(), name)


def refused(value: Any, where: object = "config.json") -> InputError:
    with pytest.raises(InputError) as e:
        from_config(value, where, "hostile")
    message = str(e.value)
    assert "\n" not in message
    assert len(message) < 1500
    assert message.startswith("config.json: ")
    return e.value


MANY_GLOBS = {"quant_method": "mxfp4", "modules_to_not_convert": ["*a"] * 999}
ABSURD: list[tuple[str, str, Any]] = [
    ("gpt-oss-120b", "num_hidden_layers", 0),
    ("gpt-oss-120b", "num_hidden_layers", 1_000_000),
    ("gpt-oss-120b", "num_hidden_layers", -36),
    ("gpt-oss-120b", "num_hidden_layers", "36"),
    ("gpt-oss-120b", "num_hidden_layers", 36.5),
    ("gpt-oss-120b", "num_hidden_layers", True),
    ("gpt-oss-120b", "num_hidden_layers", None),
    ("gpt-oss-120b", "num_hidden_layers", [36]),
    ("gpt-oss-120b", "num_local_experts", 10**12),
    ("gpt-oss-120b", "num_local_experts", 0),
    ("gpt-oss-120b", "num_experts_per_tok", 129),
    ("gpt-oss-120b", "hidden_size", -2880),
    ("gpt-oss-120b", "hidden_size", 10**400),
    ("gpt-oss-120b", "hidden_size", float("nan")),
    ("gpt-oss-120b", "vocab_size", 2**63),
    ("gpt-oss-120b", "num_key_value_heads", 7),
    ("gpt-oss-120b", "head_dim", 63),
    ("gpt-oss-120b", "layer_types", ["full_attention"] * 35),
    ("gpt-oss-120b", "layer_types", ["full_attention"] * 35 + ["no_attention"]),
    ("gpt-oss-120b", "layer_types", [["full_attention"]] * 36),
    ("gpt-oss-120b", "rope_theta", float("inf")),
    ("gpt-oss-120b", "rope_scaling", {"rope_type": "magic"}),
    ("gpt-oss-120b", "rope_scaling", "yarn"),
    ("gpt-oss-120b", "rope_scaling", {"rope_type": "yarn", "factor": -32}),
    ("gpt-oss-120b", "torch_dtype", "int3"),
    ("gpt-oss-120b", "swiglu_alpha", 1.0),
    ("gpt-oss-120b", "eos_token_id", "<|end|>"),
    ("gpt-oss-120b", "eos_token_id", [[1]]),
    ("gpt-oss-120b", "tie_word_embeddings", "yes"),
    ("gpt-oss-120b", "rms_norm_eps", "1e-5"),
    ("gpt-oss-120b", "text_config", 3),
    ("gpt-oss-120b", "quantization_config", {"quant_method": "secret"}),
    ("gpt-oss-120b", "quantization_config", {"quant_method": "mxfp4", "modules_to_not_convert": [3]}),
    (
        "gpt-oss-120b",
        "quantization_config",
        MANY_GLOBS,
    ),
    ("gpt-oss-120b", "quantization_config", {"quant_method": "compressed-tensors", "config_groups": {}}),
    ("gpt-oss-120b", "model_type", "gpt_unknown"),
    ("gpt-oss-120b", "model_type", None),
    ("gemma-3-4b", "model_type", "llava"),
    ("gemma-3-4b", "model_type", "qwen3"),
    ("llama-3.1-8b", "rope_theta", 1),
    ("gpt-oss-120b", "model_type", ["gpt_oss"]),
    ("deepseek-v3", "quantization_config", {"quant_method": "fp8", "weight_block_size": [1, 0]}),
    ("deepseek-v3", "n_group", 7),
    ("deepseek-v3", "topk_group", 9),
    ("deepseek-v3", "q_lora_rank", 0),
    ("deepseek-v3", "qk_rope_head_dim", 0),
    ("deepseek-v3", "scoring_func", "softmax"),
    ("deepseek-v3.2", "q_lora_rank", None),
    ("deepseek-v3.2", "indexer_types", ["full"]),
    ("llama-3.1-8b", "num_attention_heads", 33),
    ("qwen3-30b-a3b", "decoder_sparse_step", 0),
    ("qwen3-30b-a3b", "mlp_only_layers", "all"),
    ("minimax-m2.5", "rotary_dim", 256),
    ("qwen3-8b", "use_sliding_window", True),
]


@pytest.mark.parametrize(("name", "field", "value"), ABSURD)
def test_absurd_values_are_named(name: str, field: str, value: Any) -> None:
    error = refused({**table(name), field: value})
    known = {"num_local_experts", "quantization_config", "rope_scaling"}
    assert field in str(error) or (field in known and field.split("_")[0] in str(error))


def test_an_unknown_architecture_is_told_before_its_fields() -> None:
    """A GPT-2 config has none of the fields read here; the message is about what it is."""
    error = refused({"model_type": "gpt2", "n_embd": 768, "n_layer": 12})
    assert str(error).startswith("config.json: model_type: found 'gpt2', expected one of deepseek_v3, ")


def test_too_large_as_a_whole() -> None:
    vast = {
        **table("llama-3.1-8b"),
        "hidden_size": 2**20,
        "intermediate_size": 2**20,
        "num_hidden_layers": 2048,
    }
    assert "parameters" in str(refused(vast))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        '"gpt_oss"',
        "{",
        resolve("gpt-oss-20b").text()[:-20],
        '{"hidden_size": NaN}',
        '{"hidden_size": 1e999}',
        '{"hidden_size": ' + "9" * 5000 + "}",
        "[" * 100_000,
        '{"a":' * 100_000,
        '{"model_type": "llama", "model_type": "llama"}',
        "\ufeff{}",
        "{}",
    ],
    ids=range(14),
)
def test_files_that_are_no_config(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as e:
        load(tmp_path)
    assert str(e.value).startswith(str(path)) and "\n" not in str(e.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(b"\x80\x02}q\x00.")  # a pickle, for one
    with pytest.raises(InputError, match="UTF-8"):
        load(tmp_path)


def test_folder_without_a_config(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config\.json: found nothing there"):
        load(tmp_path)


def test_a_pattern_built_to_hang_is_refused() -> None:
    value = {"quant_method": "mxfp4", "modules_to_not_convert": ["re:(a+)+$"]}
    assert "modules_to_not_convert" in str(refused({**table("gpt-oss-20b"), "quantization_config": value}))


STRANGE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**13), 10**13),
    st.integers(0, 300),
    st.floats(),
    st.text(max_size=30),
    st.lists(st.integers(-3, 300), max_size=5),
    st.dictionaries(
        st.sampled_from(["rope_type", "factor", "quant_method", "a"]), st.text(max_size=8), max_size=3
    ),
)


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_mutated_configs(data: st.DataObject) -> None:
    """Any few fields replaced, removed or swapped with another model's: a Model or an InputError."""
    value = json.loads(json.dumps(table(data.draw(st.sampled_from(names())))))
    other = table(data.draw(st.sampled_from(names())))
    for _ in range(data.draw(st.integers(1, 4))):
        target = value
        while True:
            key = data.draw(st.sampled_from(sorted(target)))
            if isinstance(target[key], dict) and target[key] and data.draw(st.booleans()):
                target = target[key]
                continue
            break
        match data.draw(st.sampled_from(["replace", "remove", "swap"])):
            case "replace":
                target[key] = data.draw(STRANGE)
            case "remove":
                target.pop(key)
            case _:
                target[key] = other.get(key, 0)
        if not value or not target:
            break
    try:
        model = from_config(value, "config.json", "mutated")
    except InputError as e:
        assert "\n" not in str(e) and str(e).startswith("config.json: ")
    else:
        assert isinstance(model, Model)
        assert 0 < model.active_parameters <= model.parameters + model.vocabulary * model.hidden
        assert model.bytes > 0
        assert len(model.tensors) < 40 * (len(model.layers) + 1)  # whatever the number of experts
        assert model.describe().count("\n") == 0
        assert model.cache_bytes(10) >= 0
        for layer in set(model.layers):
            rope = getattr(layer.attention, "rope", None)
            assert rope is None or len(rope.frequencies()) == rope.rotary_dim // 2


@settings(max_examples=300, deadline=None)
@given(
    st.recursive(
        STRANGE, lambda inner: st.dictionaries(st.text(max_size=20), inner, max_size=6), max_leaves=20
    )
)
def test_arbitrary_tables(value: Any) -> None:
    refused(value if isinstance(value, dict) else {"model_type": value})
