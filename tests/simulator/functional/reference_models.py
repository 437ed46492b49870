"""Small random checkpoints of the families, built with transformers, with logits peaky enough to mean something."""

from __future__ import annotations

from pathlib import Path
from typing import Any

COMMON: dict[str, Any] = {
    "vocab_size": 320, "hidden_size": 128, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 512, "tie_word_embeddings": False,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 2,
}  # fmt: skip
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip
YARN = {
    "rope_type": "yarn",
    "rope_theta": 10000.0,
    "factor": 4.0,
    "original_max_position_embeddings": 128,
    "beta_fast": 32.0,
    "beta_slow": 1.0,
}
NO_RANK = {"q_lora_rank": None, "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
WINDOWS = {
    "sliding_window": 24,
    "query_pre_attn_scalar": 32,
    "num_hidden_layers": 6,
    "tie_word_embeddings": True,
}
DEEPSEEK: dict[str, Any] = {
    "q_lora_rank": 64, "kv_lora_rank": 64, "qk_nope_head_dim": 32, "qk_rope_head_dim": 16, "v_head_dim": 32,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 4, "topk_group": 2, "n_shared_experts": 1,
    "moe_intermediate_size": 64, "first_k_dense_replace": 1, "routed_scaling_factor": 2.5, "norm_topk_prob": True,
    "num_key_value_heads": 4, "head_dim": 16, "rope_parameters": {**YARN, "mscale": 1.0, "mscale_all_dim": 1.0},
}  # fmt: skip
DELTA: dict[str, Any] = {
    "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 32, "linear_value_head_dim": 32,
    "num_hidden_layers": 4, "head_dim": 64,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.25},
}  # fmt: skip
MOE: dict[str, Any] = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 64}

# name → (configuration class of transformers, its fields)
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", {"rope_parameters": LLAMA3}),
    "llama-tied-bias": ("LlamaConfig", {"tie_word_embeddings": True, "attention_bias": True, "mlp_bias": True}),
    "mistral-window": ("MistralConfig", {"sliding_window": 24}),
    "qwen2": ("Qwen2Config", {}),
    "qwen3": ("Qwen3Config", {}),
    "qwen3_moe": ("Qwen3MoeConfig", {**MOE, "norm_topk_prob": True}),
    "qwen3_moe-raw": ("Qwen3MoeConfig", {**MOE, "norm_topk_prob": False, "mlp_only_layers": [1]}),
    "mixtral": ("MixtralConfig", {"num_local_experts": 8, "num_experts_per_tok": 2}),
    "deepseek_v3": ("DeepseekV3Config", DEEPSEEK),
    "deepseek_v3-no-q-rank": ("DeepseekV3Config", {**DEEPSEEK, **NO_RANK}),
    "gemma3": ("Gemma3TextConfig", WINDOWS),
    "glm4_moe": ("Glm4MoeConfig", {
        "n_routed_experts": 8, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "n_shared_experts": 1,
        "moe_intermediate_size": 64, "first_k_dense_replace": 1, "use_qk_norm": True, "attention_bias": True,
        "partial_rotary_factor": 0.5, "routed_scaling_factor": 1.5,
    }),
    "minimax_m2": ("MiniMaxM2Config", {"num_local_experts": 8, "num_experts_per_tok": 2, "rotary_dim": 16}),
    "qwen3_5": ("Qwen3_5TextConfig", DELTA),
    "qwen3_5_moe": ("Qwen3_5MoeTextConfig", {
        **DELTA, **MOE, "shared_expert_intermediate_size": 64, "norm_topk_prob": True,
    }),
    "llama4": ("Llama4TextConfig", {
        "num_local_experts": 4, "num_experts_per_tok": 1, "intermediate_size_mlp": 192, "attention_chunk_size": 64,
        "interleave_moe_layer_step": 2, "num_hidden_layers": 4, "attn_temperature_tuning": False, "use_qk_norm": True,
    }),
}  # fmt: skip
# more shapes of the same families, for what a compiled program does otherwise with them
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    # several sets of heads, whose codes are quantised each on its own
    "deepseek_v3-many-heads": ("DeepseekV3Config", {
        **DEEPSEEK, "num_attention_heads": 6, "num_key_value_heads": 6, "v_head_dim": 256, "num_hidden_layers": 2,
    }),
    # experts in groups of a whole row's alignment; all groups alike
    "deepseek_v3-wide-groups": ("DeepseekV3Config", {
        **DEEPSEEK, "n_routed_experts": 32, "num_experts_per_tok": 4, "n_group": 4, "topk_group": 3,
        "num_hidden_layers": 2,
    }),
    # chunks that are no power of two and not a multiple of a block
    "llama4-odd-chunks": ("Llama4TextConfig", {
        **FAMILIES["llama4"][1], "attention_chunk_size": 20, "num_experts_per_tok": 2, "num_hidden_layers": 2,
    }),
}  # fmt: skip


def build(family: str, folder: Path, seed: int = 0) -> Any:
    """Write a random checkpoint of `family` in BF16 to `folder` and return transformers' model of it in FP32."""
    import torch
    import transformers

    name, fields = {**FAMILIES, **VARIANTS}[family]
    config = getattr(transformers, name)(**{**COMMON, **fields})
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for key, p in model.named_parameters():
            if "norm" in key:
                p.copy_(1 + 0.2 * torch.randn_like(p) if "gemma" not in family else 0.2 * torch.randn_like(p))
            elif "lm_head" in key or "embed" in key:
                p.copy_(torch.randn_like(p) * (0.35 if model.config.tie_word_embeddings else 0.6))
            elif p.ndim >= 2:
                p.copy_(torch.randn_like(p) * 1.4 * p.shape[-1] ** -0.5)
            else:
                p.copy_(torch.randn_like(p) * 0.3)
    model = model.to(torch.bfloat16)
    for key, b in [*model.named_parameters(), *model.named_buffers()]:
        if "e_score_correction_bias" in key:
            b.data = torch.randn(b.shape) * 0.1  # published in FP32
    model.save_pretrained(folder, safe_serialization=True)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
