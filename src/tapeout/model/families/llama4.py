"""Llama 4 (Meta, 2025): attention in chunks with every fourth layer full and without rotation, one expert."""

from __future__ import annotations

from tapeout.model.architecture import Dense, Layer, MixtureOfExperts, Model
from tapeout.model.config import MAX_LAYERS, Config
from tapeout.model.families.common import Weights, decoder, write_gated

MODEL_TYPES = ("llama4", "llama4_text")


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    norm = "l2" if c.boolean("use_qk_norm", True) else "none"
    bias = c.boolean("attention_bias", False)
    chunk = c.integer("attention_chunk_size", None, high=2**30)
    rotated = c.grouped_query(interleaved=True, chunk=chunk, qk_norm=norm, qkv_bias=bias, output_bias=bias)
    full = c.grouped_query(rotary=False, qkv_bias=bias, output_bias=bias)
    interval = c.integer("no_rope_layer_interval", 4, high=MAX_LAYERS)
    default = [int((i + 1) % interval != 0) for i in range(c.layers)]
    rotates = c.array("no_rope_layers", default, longest=MAX_LAYERS) or default
    if len(rotates) != c.layers or any(r not in (0, 1) for r in rotates):
        raise c.fail("no_rope_layers", rotates, f"0 or 1 for each of {c.layers} layers")

    experts = c.experts("num_local_experts", "num_experts")
    intermediate = c.width("intermediate_size")
    moe = MixtureOfExperts(
        experts=experts,
        experts_per_token=c.chosen(experts),
        intermediate=intermediate,
        activation=c.activation(),
        shared=1,
        shared_intermediate=intermediate,
        scoring="sigmoid",
        renormalise=False,
        scale_input=True,
    )
    dense = Dense(c.width("intermediate_size_mlp"), c.activation())
    step = c.integer("interleave_moe_layer_step", 1, high=MAX_LAYERS)
    mixed = c.array("moe_layers", list(range(step - 1, c.layers, step)), longest=MAX_LAYERS)
    outside = "language_model." if c.multimodal else ""
    tuned = c.boolean("attn_temperature_tuning", True)
    return decoder(
        c,
        "llama4",
        [Layer(rotated if r else full, moe if i in mixed else dense) for i, r in enumerate(rotates)],
        feed_forward=write_feed_forward,
        prefix=f"{outside}model.",
        head=f"{outside}lm_head",
        norm_epsilon=c.number("rms_norm_eps", 1e-5, low=0, high=1),
        approximations=["the softmax temperature that grows with position is left out"] if tuned else [],
    )


def write_feed_forward(w: Weights, hidden: int, part: Dense | MixtureOfExperts) -> None:
    """Experts stacked and stored `[experts, in, out]`, rows of gate before those of up; a shared expert."""
    if isinstance(part, Dense):
        write_gated(w, "feed_forward", hidden, part.intermediate, "dense")
        return
    w.linear("feed_forward.router", part.experts, hidden, role="router")
    gate_up, down = "feed_forward.experts.gate_up_proj", "feed_forward.experts.down_proj"
    w.matrix(gate_up, part.experts, 2 * part.intermediate, hidden, role="experts", transposed=True)
    w.matrix(down, part.experts, hidden, part.intermediate, role="experts", transposed=True)
    write_gated(w, "feed_forward.shared_expert", hidden, part.shared_intermediate, "shared_expert")
