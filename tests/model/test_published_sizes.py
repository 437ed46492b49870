"""Parameter counts and checkpoint sizes against what the publishers state."""

from __future__ import annotations

import pytest

from tapeout.model import available, load
from tapeout.model.catalog import names

# name, parameters, half of the last digit stated, source
PARAMETERS = [
    ("gpt-oss-20b", 20.91e9, 0.005e9, "arXiv 2508.10925, table 1"),
    ("gpt-oss-120b", 116.83e9, 0.005e9, "arXiv 2508.10925, table 1"),
    ("llama-2-70b", 68_976_648_192, 0, "safetensors of meta-llama/Llama-2-70b-hf"),
    ("llama-3.1-8b", 8_030_261_248, 0, "safetensors of meta-llama/Llama-3.1-8B"),
    ("llama-3.1-70b", 70_553_706_496, 0, "safetensors of meta-llama/Llama-3.1-70B"),
    ("llama-3.1-405b", 405_853_388_800, 0, "safetensors of meta-llama/Llama-3.1-405B"),
    ("llama-3.2-1b", 1_235_814_400, 0, "safetensors of meta-llama/Llama-3.2-1B"),
    ("llama-3.2-3b", 3_212_749_824, 0, "safetensors of meta-llama/Llama-3.2-3B"),
    ("mixtral-8x7b", 46_702_792_704, 0, "safetensors of mistralai/Mixtral-8x7B-v0.1"),
    ("mixtral-8x22b", 140_620_634_112, 0, "safetensors of mistralai/Mixtral-8x22B-v0.1"),
    ("qwen2.5-7b", 7_615_616_512, 0, "safetensors of Qwen/Qwen2.5-7B"),
    ("qwen2.5-72b", 72_706_203_648, 0, "safetensors of Qwen/Qwen2.5-72B"),
    ("qwen3-coder-480b-a35b", 480e9, 0.5e9, "model card of Qwen/Qwen3-Coder-480B-A35B-Instruct"),
    ("qwen3-0.6b", 0.596e9, 0.0005e9, "0.44 B without embeddings: model card of Qwen/Qwen3-0.6B"),
    ("qwen3-4b", 4_022_468_096, 0, "safetensors of Qwen/Qwen3-4B"),
    ("qwen3-8b", 8_190_735_360, 0, "safetensors of Qwen/Qwen3-8B"),
    ("qwen3-14b", 14_768_307_200, 0, "safetensors of Qwen/Qwen3-14B"),
    ("qwen3-32b", 32_762_123_264, 0, "safetensors of Qwen/Qwen3-32B"),
    ("qwen3-30b-a3b", 30_532_122_624, 0, "safetensors of Qwen/Qwen3-30B-A3B"),
    ("qwen3-235b-a22b", 235_093_634_560, 0, "safetensors of Qwen/Qwen3-235B-A22B"),
    ("deepseek-v3", 671e9, 0.5e9, "arXiv 2412.19437: 671 B, without the 14 B of the prediction layer"),
    ("kimi-k2", 1.04e12, 0.02e12, "arXiv 2507.20534: 1.04 T; the model card says 1 T"),
    ("glm-4.5-air", 106e9, 1e9, "arXiv 2508.06471: 106 B"),
    ("glm-4.5", 355e9, 3e9, "arXiv 2508.06471: 355 B; a prediction layer of 5 B counted or not"),
    ("glm-5", 744e9, 0.5e9, "model card of zai-org/GLM-5"),
    ("minimax-m2.5", 229e9, 0.5e9, "model card of MiniMaxAI/MiniMax-M2.5"),
    ("llama-4-scout", 109e9, 1.5e9, "model card of meta-llama/Llama-4-Scout-17B-16E, encoder included"),
    ("llama-4-maverick", 400e9, 1e9, "model card of meta-llama/Llama-4-Maverick-17B-128E"),
    ("gemma-3-27b", 27.016e9, 0.01e9, "arXiv 2503.19786, table 1: 25.600 B + 1.416 B of embeddings"),
    ("gemma-3-12b", 11.771e9, 0.006e9, "arXiv 2503.19786, table 1: 10.759 B + 1.012 B of embeddings"),
    ("gemma-3-4b", 3.884e9, 0.006e9, "arXiv 2503.19786, table 1: 3.209 B + 0.675 B of embeddings"),
    ("qwen3.5-27b", 27e9, 0.5e9, "model card of Qwen/Qwen3.5-27B"),
    ("qwen3.5-35b-a3b", 35e9, 0.5e9, "model card of Qwen/Qwen3.5-35B-A3B"),
    ("qwen3.5-122b-a10b", 122e9, 0.5e9, "model card of Qwen/Qwen3.5-122B-A10B"),
    ("qwen3.5-397b-a17b", 397e9, 1e9, "model card of Qwen/Qwen3.5-397B-A17B"),
]


@pytest.mark.parametrize(("name", "parameters", "within", "source"), PARAMETERS)
def test_parameters(name: str, parameters: float, within: float, source: str) -> None:
    assert abs(load(name).parameters - parameters) <= within, source


@pytest.mark.parametrize(
    ("name", "active", "within", "source"),
    [
        ("gpt-oss-20b", 3.61e9, 0.005e9, "arXiv 2508.10925, table 1"),
        ("gpt-oss-120b", 5.13e9, 0.005e9, "arXiv 2508.10925, table 1"),
        ("mixtral-8x7b", 12.9e9, 0.2e9, "arXiv 2401.04088: 13 B"),
        ("deepseek-v3", 37e9, 0.5e9, "arXiv 2412.19437: 37 B"),
        ("kimi-k2", 32e9, 0.5e9, "arXiv 2507.20534: 32 B"),
        ("qwen3-235b-a22b", 22e9, 0.5e9, "model card of Qwen/Qwen3-235B-A22B"),
        ("minimax-m2.5", 10e9, 0.5e9, "model card of MiniMaxAI/MiniMax-M2"),
        ("glm-5", 40e9, 1e9, "model card of zai-org/GLM-5"),
    ],
)
def test_active_parameters(name: str, active: float, within: float, source: str) -> None:
    assert abs(load(name).active_parameters - active) <= within, source


@pytest.mark.parametrize(
    ("name", "stored", "within", "source"),
    [
        ("gpt-oss-20b", 13_761_264_768, 0, "total_size in the index of openai/gpt-oss-20b"),
        ("gpt-oss-120b", 65_248_815_744, 0, "total_size in the index of openai/gpt-oss-120b"),
        ("llama-3.1-70b", 141_107_412_992, 0, "total_size in the index of meta-llama/Llama-3.1-70B"),
        ("mixtral-8x7b", 93_405_585_408, 0, "total_size in the index of mistralai/Mixtral-8x7B-v0.1"),
        ("kimi-k2-thinking", 594e9, 0.5e9, "594 GB: model card of moonshotai/Kimi-K2-Thinking"),
    ],
)
def test_checkpoint_bytes(name: str, stored: float, within: float, source: str) -> None:
    assert abs(load(name).bytes - stored) <= within, source


def test_every_shipped_model_is_checked_and_described() -> None:
    checked = {name for name, *_ in PARAMETERS}
    same_layers = {"deepseek-r1", "deepseek-v3.2", "kimi-k2-thinking"}  # as deepseek-v3 and kimi-k2
    assert set(names()) == checked | same_layers
    assert [name for name, _ in available()] == list(names())
    assert load("deepseek-r1").tensors == load("deepseek-v3").tensors


def test_batch_one_traffic_of_gpt_oss() -> None:
    """The shares that shape a chip: 3.71 and 5.00 GB of weights a token (embedding not read)."""
    for name, total, experts, attention, head in (
        ("gpt-oss-20b", 3.71e9, 0.34, 0.34, 0.31),
        ("gpt-oss-120b", 5.00e9, 0.38, 0.38, 0.23),
    ):
        model = load(name)
        read = {
            "experts": 0.0,
            "attention": 0.0,
            "lm_head": 0.0,
            "router": 0.0,
            "norm": 0.0,
            "embedding": 0.0,
        }
        for tensor in model.tensors:
            read[tensor.role] += tensor.bytes * model.active_share(tensor)
        assert sum(read.values()) == pytest.approx(total, rel=0.002)
        shares = [read[role] / total for role in ("experts", "attention", "lm_head")]
        assert shares == pytest.approx([experts, attention, head], abs=0.006)


def test_cache() -> None:
    model = load("gpt-oss-120b")
    assert model.cache_bytes_per_token(0) == 2048  # 2 · 8 heads · 64 channels · 2 bytes
    assert model.cache_bytes_per_token() == 36 * 2048
    assert model.cache_bytes_per_token(fmt="mxint8") == 36 * 1024 * (1 + 1 / 32)
    assert model.cache_bytes(1000) == 18 * 2048 * (1000 + 128)  # half of the layers keep 128 tokens
    assert load("deepseek-v3").cache_bytes_per_token(0) == 2 * (512 + 64)
    linear = load("qwen3.5-397b-a17b")
    assert linear.cache_bytes_per_token(0) == 0
    assert linear.cache_bytes_per_token(3) == 2 * 2 * 256 * 2
    assert linear.cache_bytes(1) - linear.cache_bytes(0) == 15 * linear.cache_bytes_per_token(3)
