"""Every family against transformers: each tensor's name, shape and count, on the meta device and on disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tapeout.model import from_config, load
from tapeout.model.catalog import names, resolve

pytestmark = pytest.mark.torch
torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Shape = tuple[int, ...]
Shapes = dict[str, Shape]


def reference_table(name: str) -> dict[str, Any]:
    """The config of a shipped model as transformers reads it: unquantised, by its own class."""
    table: dict[str, Any] = json.loads(resolve(name).text())
    table.pop("quantization_config", None)
    if table["model_type"] == "kimi_k2":  # the same layers; transformers has no class of that name
        table["model_type"] = "deepseek_v3"
    if "text_config" in table:  # the language part alone
        text = table.pop("text_config")
        table = {**table, **text}
        table.pop("architectures")
    return table


def build(table: dict[str, Any], folder: Path, device: str = "meta"):
    (folder / "config.json").write_text(json.dumps(table))
    config = transformers.AutoConfig.from_pretrained(folder)
    with torch.device(device):
        return transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)


def reference_names(shapes: Shapes, model_type: str) -> Shapes:
    """Our weights, one by one and `[out, in]`, under the names and shapes of transformers' modules.

    transformers 5 stacks experts and joins gate and up; gpt-oss and Llama 4 hold them `[experts, in, out]`.
    """
    found: Shapes = {}
    for name, shape in shapes.items():
        name = name.replace(".block_sparse_moe.", ".mlp.").replace(".experts.*.", ".experts.")
        name = re.sub(r"\.experts\.(w1|w3|gate_proj|up_proj)\.weight$", ".experts.gate_up_proj", name)
        name = re.sub(r"\.experts\.(w2|down_proj)\.weight$", ".experts.down_proj", name)
        if name in found:
            experts, rows, columns = found[name]
            assert shape == (experts, rows, columns)
            shape = (experts, 2 * rows, columns)
        found[name] = shape
    if model_type in ("gpt_oss", "llama4_text"):
        turned = (".experts.gate_up_proj", ".experts.down_proj")
        found = {n: (s[0], s[2], s[1]) if n.endswith(turned) else s for n, s in found.items()}
    return found


@pytest.mark.parametrize("name", names())
def test_names_shapes_and_count(name: str, tmp_path: Path) -> None:
    """At full size: the meta device holds no data."""
    table = reference_table(name)
    theirs = build(table, tmp_path)
    expected = {n: tuple(p.shape) for n, p in theirs.state_dict().items()}
    ours = from_config(table, "test", name)
    found = reference_names({t.name: t.shape for t in ours.tensors}, table["model_type"])
    if ours.tied_embeddings:
        expected.pop("lm_head.weight")
    assert found == expected
    parameters = sum(p.numel() for p in theirs.parameters())
    corrections = sum(t.parameters for t in ours.tensors if t.name.endswith("e_score_correction_bias"))
    assert ours.parameters - corrections == parameters  # transformers keeps the correction as a buffer


SMALL_LAYERS = {"num_hidden_layers": 8, "first_k_dense_replace": 1}


def shorten(table: dict[str, Any], sizes: dict[str, int]) -> None:
    """Set the sizes that the config has, and what depends on them."""
    table.update({key: value for key, value in sizes.items() if key in table})
    for key in ("layer_types", "no_rope_layers"):
        if key in table:
            table[key] = table[key][: table["num_hidden_layers"]]
    for key in ("eos_token_id", "bos_token_id", "pad_token_id"):  # beyond the shortened vocabulary
        table.pop(key, None)


def rotary(theirs: Any, layer_type: str) -> tuple[Any, float]:
    """The inverse frequencies and the factor of cos and sin that transformers computed."""
    modules = {n: m for n, m in theirs.named_modules() if type(m).__name__.endswith("RotaryEmbedding")}
    (module,) = modules.values()
    if hasattr(module, f"{layer_type}_inv_freq"):  # one for each kind of layer
        scaling = getattr(module, f"{layer_type}_attention_scaling")
        return getattr(module, f"{layer_type}_inv_freq"), float(scaling)
    return module.inv_freq, float(module.attention_scaling)


@pytest.mark.parametrize("name", names())
def test_rotary_frequencies(name: str, tmp_path: Path) -> None:
    """One layer of each kind, at the real head size; transformers computes in FP32."""
    table = reference_table(name)
    ours = from_config(table, "test", name)
    heads = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 4}
    wide = ("intermediate_size", "intermediate_size_mlp", "moe_intermediate_size")
    many = ("vocab_size", "num_experts", "num_local_experts", "n_routed_experts")
    shorten(table, {**SMALL_LAYERS, **heads, **dict.fromkeys(wide + many, 16)})
    if "q_lora_rank" not in table:
        table["head_dim"] = ours.layers[3].attention.head_dim
    theirs = build(table, tmp_path, device="cpu")
    for i, layer in enumerate(ours.layers[:8]):
        rope = getattr(layer.attention, "rope", None)
        if rope is None:
            continue
        kind = getattr(theirs.config, "layer_types", None)
        expected, scaling = rotary(theirs, kind[i] if kind else "")
        assert rope.frequencies() == pytest.approx(expected.tolist(), rel=2e-6)
        assert rope.attention_factor == pytest.approx(scaling, rel=1e-12)


def test_text_alone_has_the_layers_of_the_whole() -> None:
    """Multimodal files differ from `reference_table`'s in where the names hang, and in stacked experts."""
    for name in names():
        whole, text = load(name), from_config(reference_table(name), "test", name)
        assert whole.layers == text.layers
        assert whole.parameters == text.parameters


SMALL: dict[str, int] = {
    "hidden_size": 64, "intermediate_size": 96, "intermediate_size_mlp": 128, "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48, "vocab_size": 160, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16,
    "num_experts": 8, "num_local_experts": 8, "n_routed_experts": 8, "num_experts_per_tok": 2,
    "n_group": 2, "topk_group": 1, "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8, "v_head_dim": 12, "index_n_heads": 2, "index_head_dim": 16, "index_topk": 4,
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "rotary_dim": 8, **SMALL_LAYERS,
}  # fmt: skip
FAMILIES = (
    "gpt-oss-20b", "llama-3.2-1b", "qwen2.5-7b", "qwen3-8b", "qwen3-30b-a3b", "mixtral-8x7b",
    "deepseek-v3",     "deepseek-v3.2", "glm-5", "glm-4.5", "minimax-m2.5", "gemma-3-12b", "llama-4-scout",
    "qwen3.5-27b", "qwen3.5-35b-a3b",
)  # fmt: skip


def small(name: str) -> dict[str, Any]:
    table = reference_table(name)
    shorten(table, SMALL)
    if table["model_type"] == "deepseek_v3":
        table["num_key_value_heads"] = table["num_attention_heads"]
    if "rope_parameters" in table:
        table["rope_parameters"].pop("mrope_section", None)
    return table


@pytest.mark.parametrize("name", FAMILIES)
def test_file_that_transformers_writes(name: str, tmp_path: Path) -> None:
    """A small model saved by transformers in the checkpoint's layout, then read back from its folder."""
    from safetensors import safe_open

    written = build(small(name), tmp_path, device="cpu")
    written.save_pretrained(tmp_path / "saved")
    with safe_open(tmp_path / "saved" / "model.safetensors", framework="np") as f:
        expected = {key: (tuple((s := f.get_slice(key)).get_shape()), s.get_dtype()) for key in f.keys()}  # noqa: SIM118
    model = load(tmp_path / "saved")
    found = {t.name: (t.shape, t.dtype) for t in model.stored()}
    if table_type(tmp_path) == "gpt_oss":  # saved unquantised, `[experts, in, out]`
        found = {
            n: ((s[0], s[2], s[1]), d) if n.endswith(("gate_up_proj", "down_proj")) else (s, d)
            for n, (s, d) in found.items()
        }
    correction = "e_score_correction_bias"  # F32 in the published files
    assert {n: s for n, (s, _) in found.items()} == {n: s for n, (s, _) in expected.items()}
    assert {n: d for n, (_, d) in found.items() if correction not in n} == {
        n: d for n, (_, d) in expected.items() if correction not in n
    }


def table_type(folder: Path) -> str:
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    assert isinstance(kind, str)
    return kind
