"""gpt-oss (OpenAI, arXiv 2508.10925): alternating windows, attention sinks, clamped SwiGLU experts."""

from __future__ import annotations

from tapeout.model.architecture import Layer, MixtureOfExperts, Model
from tapeout.model.config import Config
from tapeout.model.families.common import Weights, decoder

MODEL_TYPES = ("gpt_oss",)


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    c.expect("swiglu_alpha", 1.702)
    c.expect("hidden_act", "silu")
    bias = c.boolean("attention_bias", True)
    window = c.integer("sliding_window", 128, high=2**30)
    attention = {
        kind: c.grouped_query(sinks=True, qkv_bias=bias, output_bias=bias, window=size)
        for kind, size in (("sliding_attention", window), ("full_attention", None))
    }
    experts = c.experts("num_local_experts", "num_experts")
    moe = MixtureOfExperts(
        experts=experts,
        experts_per_token=c.chosen(experts),
        intermediate=c.width("intermediate_size"),
        activation="clamped_swiglu",
        bias=True,
        router_bias=True,
        scoring="topk_softmax",
        limit=c.number("swiglu_limit", 7.0, low=1e-3, high=1e6),
    )
    default = ["full_attention" if i % 2 else "sliding_attention" for i in range(c.layers)]
    kinds = c.layer_types(default, tuple(attention))
    return decoder(c, "gpt_oss", [Layer(attention[k], moe) for k in kinds], feed_forward=write_experts)


def write_experts(w: Weights, hidden: int, moe: MixtureOfExperts) -> None:
    """Experts stacked in one tensor; rows of gate (even) and up (odd) interleave."""
    w.linear("mlp.router", moe.experts, hidden, role="router", bias=True)
    for name, rows, columns in (
        ("mlp.experts.gate_up_proj", 2 * moe.intermediate, hidden),
        ("mlp.experts.down_proj", hidden, moe.intermediate),
    ):
        w.matrix(name, moe.experts, rows, columns, role="experts")
        w.vector(f"{name}_bias", moe.experts, rows, role="experts")
