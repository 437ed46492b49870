"""Qwen2 and Qwen2.5, dense (Alibaba, arXiv 2412.15115): Llama's layers with biased queries, keys and values."""

from __future__ import annotations

from tapeout.model.architecture import Dense, Layer, Model
from tapeout.model.config import Config
from tapeout.model.families.common import decoder

MODEL_TYPES = ("qwen2",)


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    c.expect("use_sliding_window", False)
    layer = Layer(c.grouped_query(qkv_bias=True), Dense(c.width("intermediate_size"), c.activation()))
    return decoder(c, "qwen2", [layer] * c.layers)
