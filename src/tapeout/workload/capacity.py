"""What has to fit into a chip's memory: its part of the weights, and the cache of each sequence."""

from __future__ import annotations

import numpy as np

from tapeout.model.architecture import GroupedQueryAttention, LatentAttention, Model
from tapeout.workload.build import operators
from tapeout.workload.formats import Formats, bytes_of
from tapeout.workload.operators import Number, Operator, Step
from tapeout.workload.parallelism import Parallelism
from tapeout.workload.visibility import keys_kept

_ALL = 1e9  # tokens after which every expert has been touched


def weight_bytes(
    model: Model, parallelism: Parallelism | None = None, formats: Formats | None = None
) -> Number:
    """Bytes of weights that the fullest chip of a replica holds, experts that are not in use included."""
    p, f = parallelism or Parallelism(), formats or Formats.stored(model)
    stage = Parallelism(tp=p.tp, ep=p.ep, attention_dp=p.attention_dp)
    held = operators(model, Step.decode(_ALL, 0.0), stage, f)

    def total(chosen: list[Operator]) -> Number:
        return sum((o.repeats * o.weight_bytes for o in chosen), start=np.float64(0.0))

    ends = [o for o in held if o.name in ("lm_head", "norm.final")]
    layers = total([o for o in held if o not in ends])
    head = total(ends)
    embedding = model.vocabulary * model.hidden / np.asarray(p.tp) * bytes_of(f.embedding)
    count = len(model.layers)
    fullest = layers * np.ceil(count / np.asarray(p.pp)) / count
    alone = head if model.tied_embeddings and f.embedding == f.lm_head else head + embedding
    return fullest + np.where(np.asarray(p.pp) > 1, np.maximum(head, embedding), alone)


def cache_bytes(
    model: Model,
    context: Number,
    parallelism: Parallelism | None = None,
    formats: Formats | None = None,
) -> Number:
    """Bytes that one sequence of `context` tokens keeps in the memory of each chip of its rank.

    A layer with a window or chunk keeps that many tokens only; linear attention a state whatever the
    context. Key and value heads are replicated where there are more chips than heads, and the latents of
    latent attention always. On the fullest pipeline stage.
    """
    p, f = parallelism or Parallelism(), formats or Formats.stored(model)
    tp = np.asarray(p.tp)
    total: Number = np.float64(0.0)
    for layer in model.layers:
        a = layer.attention
        if isinstance(a, GroupedQueryAttention):
            width = np.maximum(a.kv_heads / tp, 1.0) * a.head_dim * 2 * bytes_of(f.cache)
            total = total + keys_kept(context, a.window, a.chunk) * width
        elif isinstance(a, LatentAttention):
            token = (a.kv_rank + a.rope_dim) * bytes_of(f.cache) + a.index_dim * bytes_of(f.index_cache)
            token += a.kv_rank * bytes_of(f.latent_values) if f.latent_values else 0.0
            total = total + context * token
        else:
            keys, values = np.maximum(a.key_heads / tp, 1.0), np.maximum(a.value_heads / tp, 1.0)
            channels = 2 * keys * a.key_dim + values * a.value_dim
            state = values * a.key_dim * a.value_dim * bytes_of(f.state)
            total = total + state + channels * (a.convolution - 1) * bytes_of(f.activation)
    count = len(model.layers)
    return total * np.ceil(count / np.asarray(p.pp)) / count
