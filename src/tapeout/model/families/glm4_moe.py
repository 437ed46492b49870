"""GLM-4.5 to 4.7 (Zhipu AI, arXiv 2508.06471): grouped-query attention, DeepSeek-V3's experts."""

from __future__ import annotations

from tapeout.model.architecture import Layer, Model
from tapeout.model.config import Config
from tapeout.model.families.common import decoder
from tapeout.model.families.deepseek_v3 import left_out, read_feed_forward

MODEL_TYPES = ("glm4_moe",)


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    attention = c.grouped_query(
        partial=0.5,
        qkv_bias=c.boolean("attention_bias", False),
        qk_norm="head" if c.boolean("use_qk_norm", False) else "none",
    )
    layers = [Layer(attention, part) for part in read_feed_forward(c)]
    return decoder(c, "glm4_moe", layers, approximations=left_out(c))
