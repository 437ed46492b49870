"""Mixtral 8x7B and 8x22B (Mistral AI, arXiv 2401.04088)."""

from __future__ import annotations

from functools import partial

from tapeout.model.architecture import Layer, MixtureOfExperts, Model
from tapeout.model.config import Config
from tapeout.model.families.common import decoder, write_experts

MODEL_TYPES = ("mixtral",)


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    experts = c.experts("num_local_experts", "num_experts")
    moe = MixtureOfExperts(
        experts=experts,
        experts_per_token=c.chosen(experts),
        intermediate=c.width("intermediate_size"),
        activation=c.activation(),
        scoring="topk_softmax",
    )
    attention = c.grouped_query(window=c.integer("sliding_window", None, high=2**30))
    writer = partial(write_experts, module="block_sparse_moe", names=("w1", "w3", "w2"))
    return decoder(c, "mixtral", [Layer(attention, moe)] * c.layers, feed_forward=writer)
