"""DeepSeek-V3 and R1 (arXiv 2412.19437), Kimi K2 (arXiv 2507.20534): latent attention, shared experts."""

from __future__ import annotations

from tapeout.model.architecture import Dense, LatentAttention, Layer, MixtureOfExperts, Model
from tapeout.model.config import MAX_LAYERS, Config
from tapeout.model.families.common import Weights, decoder
from tapeout.model.rope import yarn_mscale

MODEL_TYPES = ("deepseek_v3", "kimi_k2", "kimi_k25")


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    attention = read_attention(c)
    outside = "language_model." if c.multimodal else ""
    return decoder(
        c,
        "deepseek_v3",
        [Layer(attention, part) for part in read_feed_forward(c)],
        attention=write_latent,
        prefix=f"{outside}model.",
        head=f"{outside}lm_head",
        approximations=left_out(c),
    )


def left_out(c: Config) -> list[str]:
    """What the description leaves out of the published checkpoint."""
    predicts = c.integer("num_nextn_predict_layers", 0, low=0, high=MAX_LAYERS)
    return ["the multi-token-prediction layer is left out"] if predicts else []


def read_feed_forward(c: Config) -> list[Dense | MixtureOfExperts]:
    """The feed-forward part of each layer: the first ones are dense."""
    moe, dense = read_experts(c), Dense(c.width("intermediate_size"), c.activation())
    first = c.integer("first_k_dense_replace", 0, low=0, high=MAX_LAYERS)
    every = c.integer("moe_layer_freq", 1, high=MAX_LAYERS)
    return [dense if i < first or i % every else moe for i in range(c.layers)]


def read_attention(c: Config, interleaved: bool = True) -> LatentAttention:
    """Latent attention; the softmax scale includes the square of YaRN's `mscale_all_dim`."""
    c.expect("attention_bias", False)
    nope, rope_dim = c.width("qk_nope_head_dim"), c.width("qk_rope_head_dim")
    rope = c.rope(rope_dim, interleaved=c.boolean("rope_interleave", interleaved))
    scale = (nope + rope_dim) ** -0.5
    if rope.scaling == "yarn":
        table = c.section("rope_parameters" if "rope_parameters" in c else "rope_scaling")
        scale *= yarn_mscale(rope.factor, table.number("mscale_all_dim", 0.0, low=0, high=100)) ** 2
    return LatentAttention(
        heads=c.heads("num_attention_heads"),
        q_rank=c.integer("q_lora_rank", None, high=2**20),
        kv_rank=c.width("kv_lora_rank"),
        nope_dim=nope,
        rope_dim=rope_dim,
        value_dim=c.width("v_head_dim"),
        rope=rope,
        scale=scale,
    )


def read_experts(c: Config) -> MixtureOfExperts:
    """Sigmoid scores with a correction bias; experts are chosen within the best groups of experts."""
    c.expect("scoring_func", "sigmoid")
    experts = c.experts("n_routed_experts", "num_local_experts")
    groups = c.integer("n_group", 1, high=experts)
    if experts % groups:
        raise c.fail("n_group", groups, f"a divisor of n_routed_experts ({experts})")
    topk_groups = c.integer("topk_group", 1, high=groups)
    if c.chosen(experts) > topk_groups * (experts // groups):
        raise c.fail("topk_group", topk_groups, f"groups that hold {c.chosen(experts)} experts at least")
    shared = c.integer("n_shared_experts", 0, low=0, high=1024)
    intermediate = c.width("moe_intermediate_size")
    return MixtureOfExperts(
        experts=experts,
        experts_per_token=c.chosen(experts),
        intermediate=intermediate,
        activation=c.activation(),
        shared=shared,
        shared_intermediate=shared * intermediate,
        scoring="sigmoid",
        groups=groups,
        topk_groups=topk_groups,
        correction_bias=True,
        renormalise=c.boolean("norm_topk_prob", True),
        routed_scale=c.number("routed_scaling_factor", 1.0, low=0, high=1e3),
    )


def write_latent(w: Weights, hidden: int, a: LatentAttention) -> None:
    """Low-rank query and key-value projections, the rotated key beside the latent."""
    queries = a.heads * (a.nope_dim + a.rope_dim)
    if a.q_rank is None:
        w.linear("self_attn.q_proj", queries, hidden, role="attention")
    else:
        w.linear("self_attn.q_a_proj", a.q_rank, hidden, role="attention")
        w.norm("self_attn.q_a_layernorm", a.q_rank)
        w.linear("self_attn.q_b_proj", queries, a.q_rank, role="attention")
    w.linear("self_attn.kv_a_proj_with_mqa", a.kv_rank + a.rope_dim, hidden, role="attention")
    w.norm("self_attn.kv_a_layernorm", a.kv_rank)
    w.linear("self_attn.kv_b_proj", a.heads * (a.nope_dim + a.value_dim), a.kv_rank, role="attention")
    w.linear("self_attn.o_proj", hidden, a.heads * a.value_dim, role="attention")
