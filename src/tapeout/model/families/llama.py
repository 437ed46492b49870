"""Llama 2 and 3 (Meta, arXiv 2307.09288, 2407.21783) and models of the same layers: Mistral 7B."""

from __future__ import annotations

from tapeout.model.architecture import Dense, Layer, Model
from tapeout.model.config import Config
from tapeout.model.families.common import decoder

MODEL_TYPES = ("llama", "mistral")


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    bias = c.boolean("attention_bias", False)
    window = c.integer("sliding_window", None, high=2**30) if c.model_type == "mistral" else None
    attention = c.grouped_query(qkv_bias=bias, output_bias=bias, window=window)
    mlp = Dense(c.width("intermediate_size"), c.activation(), bias=c.boolean("mlp_bias", False))
    return decoder(c, "llama", [Layer(attention, mlp)] * c.layers)
