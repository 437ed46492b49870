"""Gemma 3 (Google, arXiv 2503.19786): five windowed layers to each full one, norms before and after."""

from __future__ import annotations

from tapeout.model.architecture import Dense, Layer, Model
from tapeout.model.config import MAX_LAYERS, Config
from tapeout.model.families.common import Weights, decoder

MODEL_TYPES = ("gemma3", "gemma3_text")


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    c.expect("attn_logit_softcapping", None)
    c.expect("use_bidirectional_attention", False)
    window = c.integer("sliding_window", 4096, high=2**30)
    scale = c.number("query_pre_attn_scalar", 256, low=1e-3, high=1e9) ** -0.5
    bias = c.boolean("attention_bias", False)
    attention = {
        kind: c.grouped_query(
            kind, theta=theta, window=size, qk_norm="head", scale=scale, qkv_bias=bias, output_bias=bias
        )
        for kind, size, theta in (
            ("sliding_attention", window, c.number("rope_local_base_freq", 1e4, low=1.01, high=1e12)),
            ("full_attention", None, 1e6),
        )
    }
    every = c.integer("sliding_window_pattern", 6, high=MAX_LAYERS)
    default = ["full_attention" if (i + 1) % every == 0 else "sliding_attention" for i in range(c.layers)]
    mlp = Dense(c.width("intermediate_size"), c.activation("gelu_pytorch_tanh"))
    return decoder(
        c,
        "gemma3",
        [Layer(attention[kind], mlp, post_norms=True) for kind in c.layer_types(default, tuple(attention))],
        norms=write_norms,
        prefix="language_model.model." if c.multimodal else "model.",
        head="language_model.lm_head" if c.multimodal else "lm_head",
        tied=True,
        embedding_scale=c.hidden**0.5,
        norm_offset=1.0,
        logit_softcap=c.number("final_logit_softcapping", None, low=1e-3, high=1e6),
    )


def write_norms(w: Weights, hidden: int, layer: Layer) -> None:
    """A norm before and after both parts."""
    for name in ("input", "post_attention", "pre_feedforward", "post_feedforward"):
        w.norm(f"{name}_layernorm", hidden)
