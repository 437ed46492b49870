"""Qwen3.5, dense and mixture of experts (Alibaba, 2026): three gated delta-rule layers to each full one."""

from __future__ import annotations

from tapeout.model.architecture import (
    Attention,
    Dense,
    GroupedQueryAttention,
    Layer,
    LinearAttention,
    MixtureOfExperts,
    Model,
)
from tapeout.model.config import MAX_LAYERS, Config
from tapeout.model.families.common import (
    Weights,
    decoder,
    write_feed_forward,
    write_gated,
    write_grouped_query,
)

MODEL_TYPES = ("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text")


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    bias = c.boolean("attention_bias", False)
    attention: dict[str, Attention] = {
        "linear_attention": LinearAttention(
            key_heads=c.heads("linear_num_key_heads"),
            value_heads=c.heads("linear_num_value_heads"),
            key_dim=c.width("linear_key_head_dim"),
            value_dim=c.width("linear_value_head_dim"),
            convolution=c.integer("linear_conv_kernel_dim", high=1024),
        ),
        "full_attention": c.grouped_query(
            partial=0.25, qk_norm="head", output_gate=True, qkv_bias=bias, output_bias=bias
        ),
    }
    every = c.integer("full_attention_interval", 4, high=MAX_LAYERS)
    default = ["linear_attention" if (i + 1) % every else "full_attention" for i in range(c.layers)]
    mixed = "moe" in c.model_type
    part = read_experts(c) if mixed else Dense(c.width("intermediate_size"), c.activation())
    left_out = []
    if c.integer("mtp_num_hidden_layers", 0, low=0, high=MAX_LAYERS):
        left_out.append("the multi-token-prediction layer is left out")
    return decoder(
        c,
        "qwen3_5",
        [Layer(attention[kind], part) for kind in c.layer_types(default, tuple(attention))],
        attention=write_attention,
        feed_forward=write_stacked if c.multimodal else write_separate,
        prefix="model.language_model." if c.multimodal else "model.",
        norm_offset=1.0,
        approximations=left_out,
    )


def read_experts(c: Config) -> MixtureOfExperts:
    """Routed experts and a shared one behind a sigmoid gate."""
    experts = c.experts("num_experts", "num_local_experts")
    return MixtureOfExperts(
        experts=experts,
        experts_per_token=c.chosen(experts),
        intermediate=c.width("moe_intermediate_size"),
        activation=c.activation(),
        shared=1,
        shared_intermediate=c.width("shared_expert_intermediate_size"),
        shared_gate=True,
        scoring="softmax_topk_renormalised",
    )


def write_separate(w: Weights, hidden: int, part: Dense | MixtureOfExperts) -> None:
    """`mlp` with its experts one by one, as text-only checkpoints hold them."""
    write_feed_forward(w, hidden, part, shared="shared_expert")


def write_stacked(w: Weights, hidden: int, part: Dense | MixtureOfExperts) -> None:
    """`mlp` with its experts in one tensor, rows of gate before those of up, as multimodal ones do."""
    if isinstance(part, Dense):
        write_gated(w, "mlp", hidden, part.intermediate, "dense")
        return
    w.linear("mlp.gate", part.experts, hidden, role="router")
    w.matrix("mlp.experts.gate_up_proj", part.experts, 2 * part.intermediate, hidden, role="experts")
    w.matrix("mlp.experts.down_proj", part.experts, hidden, part.intermediate, role="experts")
    write_gated(w, "mlp.shared_expert", hidden, part.shared_intermediate, "shared_expert")
    w.linear("mlp.shared_expert_gate", 1, hidden, role="router")


def write_attention(w: Weights, hidden: int, a: GroupedQueryAttention | LinearAttention) -> None:
    """`self_attn` or `linear_attn`."""
    if isinstance(a, GroupedQueryAttention):
        write_grouped_query(w, hidden, a)
        return
    keys, values = a.key_heads * a.key_dim, a.value_heads * a.value_dim
    w.linear("linear_attn.in_proj_qkv", 2 * keys + values, hidden, role="attention")
    w.linear("linear_attn.in_proj_z", values, hidden, role="attention")
    w.linear("linear_attn.in_proj_b", a.value_heads, hidden, role="attention")
    w.linear("linear_attn.in_proj_a", a.value_heads, hidden, role="attention")
    w.vector("linear_attn.conv1d.weight", 2 * keys + values, 1, a.convolution, role="attention")
    w.vector("linear_attn.dt_bias", a.value_heads, role="attention")
    w.vector("linear_attn.A_log", a.value_heads, role="attention")
    w.norm("linear_attn.norm", a.value_dim)
    w.linear("linear_attn.out_proj", hidden, values, role="attention")
