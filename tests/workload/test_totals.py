"""Totals of whole models against arithmetic written out here from their published configurations."""

from __future__ import annotations

import pytest

from tapeout.model import load
from tapeout.workload.breakdown import shares_by_role, table
from tapeout.workload.build import operators
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Operator, Step, totals


def by_name(found: tuple[Operator, ...]) -> dict[str, Operator]:
    return {o.name: o for o in found}


def test_gpt_oss_120b_decode_one_sequence() -> None:
    # hidden 2880, 36 layers, 64 query and 8 key heads of 64, 128 experts of 2880 of which 4, vocabulary 201088;
    # MXFP4 experts at 17 bytes per 32, BF16 elsewhere.
    context = 1000
    attention = 2880 * (64 + 2 * 8) * 64 + (64 + 2 * 8) * 64 + 64 * 64 * 2880 + 2880  # weights and biases
    sinks = 64
    experts = 4 * (2 * 2880 * 2880 + 2880 * 2880)
    expert_bytes = experts * 17 / 32 + 4 * (2 * 2880 + 2880) * 2
    router = 128 * 2880 + 128
    head = 201088 * 2880
    norms = (36 * 2 + 1) * 2880
    weights = 36 * ((attention + sinks + router) * 2 + expert_bytes) + head * 2 + norms * 2
    found = operators(load("gpt-oss-120b"), Step.decode(1, context))
    t = totals(found)
    assert t.weight_bytes == weights == 5_002_902_144
    # Half the layers see 128 keys, the other half the context and the token itself; 8 heads of 64, K and V.
    keys = 18 * 128 + 18 * (context + 1)
    assert t.kv_read_bytes == keys * 2 * 8 * 64 * 2
    assert t.kv_write_bytes == 36 * 2 * 8 * 64 * 2
    linear = 36 * (2880 * 5120 + 4096 * 2880 + 128 * 2880 + experts) + head
    assert t.macs == linear + keys * 64 * (64 + 64)
    assert t.gather_bytes == 2880 * 2
    shares = {role: share for role, _, share in shares_by_role(found)}
    assert shares["experts"] == pytest.approx(0.381, abs=0.001)
    assert shares["attention"] == pytest.approx(0.382, abs=0.001)
    assert shares["lm_head"] == pytest.approx(0.2315, abs=0.001)


def test_gpt_oss_120b_decode_batch() -> None:
    t = totals(operators(load("gpt-oss-120b"), Step.decode(64, 500)))
    touched = 128 * (1 - (1 - 4 / 128) ** 64)  # of 128 experts, about 111
    expert = 3 * 2880 * 2880 * 17 / 32 + 3 * 2880 * 2
    one = totals(operators(load("gpt-oss-120b"), Step.decode(1, 500)))
    assert t.weight_bytes == pytest.approx(one.weight_bytes + 36 * (touched - 4) * expert)
    assert t.macs == pytest.approx(64 * one.macs)
    assert t.kv_read_bytes == 64 * one.kv_read_bytes


def test_gpt_oss_120b_prefill() -> None:
    tokens = 2048
    t = totals(operators(load("gpt-oss-120b"), Step.prefill(1, tokens)))
    full = tokens * (tokens + 1) // 2
    window = 128 * 129 // 2 + (tokens - 128) * 128
    linear = 36 * (2880 * 5120 + 4096 * 2880 + 128 * 2880 + 4 * 3 * 2880 * 2880) * tokens
    head = 201088 * 2880  # of the last position only
    assert t.macs == pytest.approx(linear + head + 18 * (full + window) * 64 * (64 + 64), rel=1e-12)
    assert t.kv_read_bytes == 36 * tokens * 2 * 8 * 64 * 2
    assert t.kv_write_bytes == 36 * tokens * 2 * 8 * 64 * 2


def test_llama_3_1_70b() -> None:
    # hidden 8192, 80 layers, 64 query and 8 key heads of 128, intermediate 28672, vocabulary 128256; BF16.
    layer = 8192 * (64 + 16) * 128 + 64 * 128 * 8192 + 3 * 8192 * 28672
    head = 128256 * 8192
    norms = (2 * 80 + 1) * 8192
    batch, context = 16, 4000
    t = totals(operators(load("llama-3.1-70b"), Step.decode(batch, context)))
    assert t.weight_bytes == 2 * (80 * layer + head + norms)
    assert t.weight_bytes == pytest.approx(139.0e9, rel=1e-3)  # all but the embedding's 2.1 GB
    assert t.kv_read_bytes == batch * (context + 1) * 80 * 2 * 8 * 128 * 2
    assert t.macs == batch * (80 * layer + head + 80 * 64 * (128 + 128) * (context + 1))
    prompt = 1000
    t = totals(operators(load("llama-3.1-70b"), Step.prefill(2, prompt)))
    pairs = prompt * (prompt + 1) // 2
    assert t.macs == 2 * (prompt * 80 * layer + head + 80 * 64 * (128 + 128) * pairs)


DEEPSEEK_QUERY = 7168 * 1536 + 1536 * 128 * (128 + 64)
DEEPSEEK_KV_A = 7168 * (512 + 64)
DEEPSEEK_KV_B = 512 * 128 * (128 + 128)
DEEPSEEK_OUTPUT = 128 * 128 * 7168
DEEPSEEK_ATTENTION = DEEPSEEK_QUERY + DEEPSEEK_KV_A + DEEPSEEK_KV_B + DEEPSEEK_OUTPUT
DEEPSEEK_NETWORKS = 3 * 3 * 7168 * 18432 + 58 * (256 * 7168 + (8 + 1) * 3 * 7168 * 2048)  # 3 dense, 58 mixed
DEEPSEEK_HEAD = 129280 * 7168


def test_deepseek_v3_decode() -> None:
    # hidden 7168, 61 layers (3 dense of 18432), 128 heads of 128 + 64 over a latent of 512, queries through 1536,
    # 256 experts of 2048 of which 8, one shared, vocabulary 129280.
    batch, context = 4, 3000
    t = totals(operators(load("deepseek-v3"), Step.decode(batch, context)))
    # Absorbed: keys' up-projection taken into the query, values' out of the result, so kv_b counts once per token;
    # scores over 512 + 64 and values over 512 of the one latent per key.
    core = 61 * 128 * (576 + 512) * (context + 1)
    linear = 61 * DEEPSEEK_ATTENTION + DEEPSEEK_NETWORKS + DEEPSEEK_HEAD
    assert t.macs == pytest.approx(batch * (linear + core), rel=1e-12)
    assert t.kv_read_bytes == batch * 61 * (context + 1) * 576 * 2
    assert t.kv_write_bytes == batch * 61 * 576 * 2
    touched = 256 * (1 - (1 - 8 / 256) ** batch)
    eight_bits = 61 * DEEPSEEK_ATTENTION + 3 * 3 * 7168 * 18432 + 58 * (touched + 1) * 3 * 7168 * 2048
    sixteen_bits = 58 * 256 * 7168 + DEEPSEEK_HEAD
    norms = 61 * (2 * 7168 + 1536 + 512) + 7168 + 58 * 256  # and the correction bias
    scale = 1 + 4 / 128**2
    # Norms and biases are a ten-thousandth of it, and the bias is kept in FP32 by the checkpoint.
    assert t.weight_bytes == pytest.approx(eight_bits * scale + 2 * (sixteen_bits + norms), rel=1e-9)
    # 37 B active parameters, as published: those of one token, head and embedding included.
    assert linear + 129280 * 7168 == pytest.approx(37e9, rel=0.03)


def test_deepseek_v3_prefill_expands_and_can_absorb() -> None:
    model, tokens, context = load("deepseek-v3"), 512, 1024
    step = Step.prefill(1, tokens, context)
    pairs = tokens * context + tokens * (tokens + 1) // 2
    rest = tokens * (61 * (DEEPSEEK_ATTENTION - DEEPSEEK_KV_B) + DEEPSEEK_NETWORKS) + DEEPSEEK_HEAD
    expanded = totals(operators(model, step))
    # Keys and values of every head are made for the new tokens and again for the cached ones.
    made = (tokens + context) * 61 * DEEPSEEK_KV_B
    assert expanded.macs == pytest.approx(rest + made + 61 * 128 * pairs * (192 + 128), rel=1e-12)
    absorbed = totals(operators(model, step, latent="absorbed"))
    assert absorbed.macs == pytest.approx(
        rest + tokens * 61 * DEEPSEEK_KV_B + 61 * 128 * pairs * (576 + 512), rel=1e-12
    )
    assert expanded.weight_bytes == pytest.approx(absorbed.weight_bytes, rel=1e-9)


def test_sparse_attention_reads_its_choice_only() -> None:
    model = load("deepseek-v3.2")
    long = by_name(operators(model, Step.decode(2, 50_000)))
    assert long["attention.decode"].kv_read_bytes == 2 * 2048 * 576 * 2
    assert long["indexer.decode"].kv_read_bytes == 2 * 50_001 * 128  # FP8 keys of 128
    assert long["indexer.decode"].macs == 2 * 64 * 128 * 50_001
    short = by_name(operators(model, Step.decode(2, 1000)))
    assert short["attention.decode"].kv_read_bytes == 2 * 1001 * 576 * 2


def test_linear_attention_does_not_grow() -> None:
    model = load("qwen3.5-27b")
    near, far = (by_name(operators(model, Step.decode(3, c))) for c in (10, 100_000))
    assert near["linear.decode"].memory_bytes == far["linear.decode"].memory_bytes > 0
    assert near["attention.decode"].kv_read_bytes < far["attention.decode"].kv_read_bytes


def test_mixed_step_is_decode_and_prefill_together() -> None:
    model, formats = load("llama-3.1-8b"), Formats()
    mixed = totals(
        operators(
            model,
            Step(
                decode_sequences=5, decode_context=700, prefill_sequences=1, prefill_tokens=300,
                prefill_context=50, prefill_heads=0,
            ),
            formats=formats,
        )
    )  # fmt: skip
    decode = totals(operators(model, Step.decode(5, 700), formats=formats))
    prefill = totals(operators(model, Step.prefill(1, 300, 50, heads=0), formats=formats))
    assert mixed.macs == decode.macs + prefill.macs
    assert mixed.kv_read_bytes == decode.kv_read_bytes + prefill.kv_read_bytes
    assert mixed.weight_bytes == decode.weight_bytes == prefill.weight_bytes  # read once for both


def test_table_names_every_operator_and_the_shares() -> None:
    found = operators(load("gpt-oss-120b"), Step.decode(1, 1000))
    text = table(found)
    assert all(o.name in text for o in found)
    assert "attention 38%, experts 38%, lm_head 23%" in text
    assert "5.003 GB" in text
