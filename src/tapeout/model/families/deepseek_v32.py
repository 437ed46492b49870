"""DeepSeek-V3.2 (arXiv 2512.02556) and GLM-5: DeepSeek-V3 whose tokens attend to those an indexer selects."""

from __future__ import annotations

from dataclasses import replace

from tapeout.errors import Phrase
from tapeout.model.architecture import LatentAttention, Layer, Model
from tapeout.model.config import MAX_LAYERS, Config
from tapeout.model.families.common import Weights, decoder
from tapeout.model.families.deepseek_v3 import left_out, read_attention, read_feed_forward, write_latent

MODEL_TYPES = ("deepseek_v32", "glm_moe_dsa")


def read(c: Config) -> Model:
    """The model that config `c` describes."""
    attention = replace(
        read_attention(c),
        index_heads=c.heads("index_n_heads"),
        index_dim=c.width("index_head_dim"),
        index_topk=c.integer("index_topk", high=2**30),
        index_interleaved=c.boolean("indexer_rope_interleave", c.model_type == "glm_moe_dsa"),
    )
    if attention.q_rank is None:
        raise c.fail("q_lora_rank", Phrase("nothing"), "a rank: the indexer reads the compressed query")
    reused = replace(attention, index_heads=0, index_dim=0)  # the selection of an earlier layer
    kinds = c.array("indexer_types", ["full"] * c.layers, longest=MAX_LAYERS)
    if len(kinds) != c.layers or any(kind not in ("full", "shared") for kind in kinds):
        raise c.fail("indexer_types", kinds, f"'full' or 'shared' for each of {c.layers} layers")
    layers = [
        Layer(attention if kind == "full" else reused, part)
        for kind, part in zip(kinds, read_feed_forward(c), strict=True)
    ]
    return decoder(c, "deepseek_v32", layers, attention=write_sparse, approximations=left_out(c))


def write_sparse(w: Weights, hidden: int, a: LatentAttention) -> None:
    """Latent attention and, where the layer has one, its indexer."""
    write_latent(w, hidden, a)
    if a.index_heads:
        assert a.q_rank is not None
        w.linear("self_attn.indexer.wq_b", a.index_heads * a.index_dim, a.q_rank, role="attention")
        w.linear("self_attn.indexer.wk", a.index_dim, hidden, role="attention")
        w.norm("self_attn.indexer.k_norm", a.index_dim)
        w.vector("self_attn.indexer.k_norm.bias", a.index_dim, role="norm")
        w.vector("self_attn.indexer.weights_proj.weight", a.index_heads, hidden, role="attention")
