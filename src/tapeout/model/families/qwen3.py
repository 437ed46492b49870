"""Qwen3, dense (Alibaba, arXiv 2505.09388): each query and key head is normalised."""

from __future__ import annotations

from tapeout.model.architecture import Dense, GroupedQueryAttention, Layer, Model
from tapeout.model.config import Config
from tapeout.model.families.common import decoder

MODEL_TYPES = ("qwen3",)


def read_attention(c: Config) -> GroupedQueryAttention:
    """The attention of dense and mixture-of-experts Qwen3."""
    c.expect("use_sliding_window", False)
    bias = c.boolean("attention_bias", False)
    return c.grouped_query(qk_norm="head", qkv_bias=bias, output_bias=bias)


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    mlp = Dense(c.width("intermediate_size"), c.activation())
    return decoder(c, "qwen3", [Layer(read_attention(c), mlp)] * c.layers)
