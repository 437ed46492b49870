"""MiniMax-M2 to M2.5 (MiniMax): full attention, queries and keys normalised over all heads, many experts."""

from __future__ import annotations

from functools import partial

from tapeout.model.architecture import Layer, MixtureOfExperts, Model
from tapeout.model.config import MAX_LAYERS, Config
from tapeout.model.families.common import decoder, write_experts

MODEL_TYPES = ("minimax_m2",)


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    c.expect("scoring_func", "sigmoid")
    c.expect("qk_norm_type", "per_layer")
    c.expect("shared_intermediate_size", 0)
    c.expect("attn_type_list", [1] * c.layers)
    experts = c.experts("num_local_experts", "num_experts")
    moe = MixtureOfExperts(
        experts=experts,
        experts_per_token=c.chosen(experts),
        intermediate=c.width("intermediate_size"),
        activation=c.activation(),
        scoring="sigmoid",
        correction_bias=c.boolean("use_routing_bias", True),
    )
    attention = c.grouped_query(qk_norm="full" if c.boolean("use_qk_norm", True) else "none")
    writer = partial(
        write_experts,
        module="block_sparse_moe",
        names=("w1", "w3", "w2"),
        correction="e_score_correction_bias",
    )
    predicts = c.boolean("use_mtp", False) or c.integer("num_mtp_modules", 0, low=0, high=MAX_LAYERS) > 0
    left_out = ["the multi-token-prediction modules are left out"] if predicts else []
    layers = [Layer(attention, moe)] * c.layers
    return decoder(c, "minimax_m2", layers, feed_forward=writer, approximations=left_out)
