"""Qwen3, mixture of experts (Alibaba, arXiv 2505.09388)."""

from __future__ import annotations

from tapeout.model.architecture import Dense, Layer, MixtureOfExperts, Model
from tapeout.model.config import MAX_LAYERS, Config
from tapeout.model.families.common import decoder
from tapeout.model.families.qwen3 import read_attention

MODEL_TYPES = ("qwen3_moe",)


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    experts = c.experts("num_experts", "num_local_experts")
    renormalise = c.boolean("norm_topk_prob", False)
    moe = MixtureOfExperts(
        experts=experts,
        experts_per_token=c.chosen(experts),
        intermediate=c.width("moe_intermediate_size"),
        activation=c.activation(),
        scoring="softmax_topk_renormalised" if renormalise else "softmax_topk",
        renormalise=renormalise,
    )
    step = c.integer("decoder_sparse_step", 1, high=MAX_LAYERS)
    dense = c.array("mlp_only_layers", [], longest=MAX_LAYERS)
    attention = read_attention(c)
    layers = []
    for i in range(c.layers):
        if i in dense or (i + 1) % step:
            layers.append(Layer(attention, Dense(c.width("intermediate_size"), c.activation())))
        else:
            layers.append(Layer(attention, moe))
    return decoder(c, "qwen3_moe", layers)
