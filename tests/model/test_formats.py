"""How weights lie in files: names, shapes, bytes."""

from __future__ import annotations

from math import prod

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.errors import InputError
from tapeout.model import from_config, load
from tapeout.model.catalog import names, resolve
from tapeout.model.formats import DTYPE_BYTES, FORMATS, StorageFormat, stored, stored_bytes


@pytest.mark.parametrize("name", names())
def test_bytes_are_those_of_the_files_tensors(name: str) -> None:
    files = list(load(name).stored())
    assert len({t.name for t in files}) == len(files)
    assert sum(t.bytes for t in files) == load(name).bytes


@given(
    st.sampled_from(FORMATS),
    st.integers(1, 5),
    st.integers(1, 300),
    st.integers(1, 300),
    st.booleans(),
)
def test_every_element_has_room(
    fmt: StorageFormat, experts: int, rows: int, columns: int, apart: bool
) -> None:
    """Partial blocks included, stacked or one by one, elements and scales are counted exactly."""
    shape = (experts, rows, columns)
    name = "mlp.experts.*.w.weight" if apart else "mlp.experts.weight"
    files = list(stored(name, shape, fmt))
    total = sum(prod(t.shape) * DTYPE_BYTES[t.dtype] for t in files)
    assert total == stored_bytes(name, shape, fmt)
    bits = {"f32": 32, "i32": 32, "bf16": 16, "f16": 16, "mxfp4": 4, "nvfp4": 4, "int4_group32": 4}.get(
        fmt, 8
    )
    assert total * 8 >= prod(shape) * bits
    if fmt != "int4_group32":  # whose `weight_shape` is one for each matrix
        assert total == stored_bytes("w.weight", shape, fmt)


def test_gpt_oss_layout() -> None:
    """As in openai/gpt-oss-20b."""
    files = {t.name: t for t in load("gpt-oss-20b").stored()}
    layer = {n.removeprefix("model.layers.7."): t[1:] for n, t in files.items() if ".layers.7." in n}
    assert layer["mlp.experts.gate_up_proj_blocks"] == ((32, 5760, 90, 16), "U8")
    assert layer["mlp.experts.gate_up_proj_scales"] == ((32, 5760, 90), "U8")
    assert layer["mlp.experts.gate_up_proj_bias"] == ((32, 5760), "BF16")
    assert layer["mlp.experts.down_proj_blocks"] == ((32, 2880, 90, 16), "U8")
    assert layer["mlp.experts.down_proj_scales"] == ((32, 2880, 90), "U8")
    assert layer["mlp.experts.down_proj_bias"] == ((32, 2880), "BF16")
    assert layer["mlp.router.weight"] == ((32, 2880), "BF16")
    assert layer["self_attn.sinks"] == ((64,), "BF16")
    assert layer["self_attn.q_proj.weight"] == ((4096, 2880), "BF16")
    assert len(layer) == 19
    assert len(files) == 24 * 19 + 3


def test_deepseek_layout() -> None:
    """As in deepseek-ai/DeepSeek-V3: FP8 in blocks of 128 × 128, the rest in BF16."""
    files = {t.name: t for t in load("deepseek-v3").stored()}
    assert files["model.layers.3.mlp.experts.255.down_proj.weight"][1:] == ((7168, 2048), "F8_E4M3")
    assert files["model.layers.3.mlp.experts.255.down_proj.weight_scale_inv"][1:] == ((56, 16), "F32")
    assert files["model.layers.0.self_attn.kv_a_proj_with_mqa.weight"][1:] == ((576, 7168), "F8_E4M3")
    assert files["model.layers.0.self_attn.kv_a_proj_with_mqa.weight_scale_inv"][1:] == ((5, 56), "F32")
    assert files["model.layers.3.mlp.gate.weight"].dtype == "BF16"
    assert files["model.layers.3.mlp.gate.e_score_correction_bias"][1:] == ((256,), "F32")
    assert files["lm_head.weight"].dtype == "BF16"
    assert "model.layers.61.eh_proj.weight" not in files
    assert load("deepseek-v3").approximations == ("the multi-token-prediction layer is left out",)


def test_kimi_layout() -> None:
    """As in moonshotai/Kimi-K2-Thinking: routed experts alone in INT4, by the patterns in its config."""
    formats = {t.name: t.format for t in load("kimi-k2-thinking").tensors if t.matrix}
    for name, fmt in formats.items():
        assert fmt == ("int4_group32" if ".mlp.experts." in name else "bf16"), name
    files = {t.name: t for t in load("kimi-k2-thinking").stored()}
    experts = "model.layers.1.mlp.experts.0.up_proj"
    assert files[f"{experts}.weight_packed"][1:] == ((2048, 896), "I32")
    assert files[f"{experts}.weight_scale"][1:] == ((2048, 224), "BF16")
    assert files[f"{experts}.weight_shape"][1:] == ((2,), "I32")


def test_scales_of_a_module_and_of_its_weight() -> None:
    """As in nvidia/Llama-3.1-70B-Instruct-FP8 and nvidia/DeepSeek-R1-FP4."""
    found = [t.name for t in stored("m.q_proj.weight", (64, 32), "fp8_tensor")]
    assert found == ["m.q_proj.weight", "m.q_proj.weight_scale", "m.q_proj.input_scale"]
    found = [(t.name, t.shape) for t in stored("m.up.weight", (64, 32), "nvfp4")]
    assert found == [
        ("m.up.weight", (64, 16)),
        ("m.up.weight_scale", (64, 2)),
        ("m.up.weight_scale_2", ()),
        ("m.up.input_scale", ()),
    ]


def test_stacked_experts_in_the_order_of_the_file() -> None:
    """Llama 4 stores experts `[experts, in, out]`; the model is told `[experts, out, in]`."""
    tensor = next(t for t in load("llama-4-scout").tensors if t.role == "experts")
    assert tensor.shape == (16, 16384, 5120)
    assert [f[1:] for f in tensor.stored()] == [((16, 5120, 16384), "BF16")]


QUANTISED = {
    "fp8": {"quant_method": "fp8", "weight_block_size": [128, 128]},
    "fbgemm": {"quant_method": "fbgemm_fp8", "modules_to_not_convert": ["model.layers.1.mlp.up_proj"]},
    "modelopt": {"quant_method": "modelopt", "quant_algo": "FP8", "exclude_modules": ["lm_head", "*.k_proj"]},
    "nvfp4": {"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["model.layers.0*"]},
    "compressed": {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"weights": {"type": "float", "num_bits": 8, "strategy": "channel"}}},
        "ignore": ["lm_head", r"re:.*self_attn\.(q|k)_proj.*"],
    },
}


@pytest.mark.parametrize(
    ("key", "fmt", "kept"),
    [
        ("fp8", "fp8_block128", lambda n: False),
        ("fbgemm", "fp8_row", lambda n: n == "model.layers.1.mlp.up_proj.weight"),
        ("modelopt", "fp8_tensor", lambda n: "k_proj" in n),
        ("nvfp4", "nvfp4", lambda n: ".layers.0." in n),
        ("compressed", "fp8_channel", lambda n: "q_proj" in n or "k_proj" in n),
    ],
)
def test_quantisation_configs(key, fmt, kept) -> None:
    from tapeout.files import parse_json

    table = parse_json(resolve("llama-3.2-1b").text(), "test")
    model = from_config({**table, "quantization_config": QUANTISED[key]}, "test", "quantised")
    for t in model.tensors:
        linear = t.matrix and t.role in ("attention", "dense")
        assert t.format == (fmt if linear and not kept(t.name) else "bf16"), t.name
    assert model.parameters == load("llama-3.2-1b").parameters


def test_requantised() -> None:
    model = load("llama-3.1-70b")
    fp8 = model.requantised("fp8_block128")
    assert fp8.parameters == model.parameters
    assert {t.role for t in fp8.tensors if t.format == "fp8_block128"} == {"attention", "dense"}
    linear = sum(t.parameters for t in fp8.tensors if t.format == "fp8_block128")
    assert model.bytes - fp8.bytes == linear - linear * 4 // 128**2  # every shape is a multiple of 128
    with pytest.raises(InputError, match="fp9"):
        model.requantised("fp9")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="attentions"):
        model.requantised({"attentions": "bf16"})  # type: ignore[dict-item]
    mixed = load("gpt-oss-20b").requantised({"attention": "mxint8", "lm_head": "mxint8"})
    assert set(mixed.bytes_by_format) == {"mxfp4", "mxint8", "bf16"}
    attention = [t for t in mixed.tensors if t.role == "attention"]
    assert {t.format for t in attention if t.name.endswith((".bias", ".sinks"))} == {"bf16"}
    assert load("nvidia/Llama-3.1-70B-Instruct-FP8").tensors == model.requantised("fp8_tensor").tensors
