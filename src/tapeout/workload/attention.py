"""Operators of softmax attention with grouped key and value heads: full, sliding-window or chunked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tapeout.model.architecture import GroupedQueryAttention
from tapeout.workload.formats import bytes_of
from tapeout.workload.operators import Number, Operator
from tapeout.workload.shard import RESCALE_OPERATIONS, ROPE_OPERATIONS, SOFTMAX_OPERATIONS, Shard
from tapeout.workload.visibility import keys_touched, visible_pairs


def projection_key(a: GroupedQueryAttention) -> tuple[object, ...]:
    """Layers with equal keys share operators but those of the core: they differ in which keys they see,
    and in norms and rotation, which are averaged."""
    return (a.heads, a.kv_heads, a.head_dim, a.qkv_bias, a.output_bias, a.output_gate)


def grouped_query(shard: Shard, layers: Sequence[GroupedQueryAttention]) -> Iterator[Operator]:
    """Operators of `layers`, all of one projection key, in order of execution."""
    a, count, f = layers[0], len(layers), shard.formats
    hidden = shard.model.hidden
    heads, kv_heads = shard.split(a.heads), shard.split(a.kv_heads)
    tokens, width = shard.tokens, a.head_dim
    out = (heads * (2 if a.output_gate else 1) + 2 * kv_heads) * width
    yield shard.linear("attention.qkv", "attention", f.attention, count, tokens, out, hidden, bias=a.qkv_bias)
    rotated = sum(x.rope.rotary_dim if x.rope else 0 for x in layers) / count
    operations = rotated / width * ROPE_OPERATIONS
    norm_weights: Number = 0.0
    for x in layers:  # means over the layers
        if x.qk_norm != "none":
            operations += 3 / count
            weights = {"head": 2 * width, "full": (heads + kv_heads) * width, "l2": 0}[x.qk_norm]
            norm_weights = norm_weights + weights / count
    yield shard.vector(
        "attention.rope_cache",
        "attention",
        count,
        tokens * (heads + kv_heads) * width,
        operations,
        parameters=norm_weights,
        kv_write_bytes=tokens * kv_heads * 2 * width * bytes_of(f.cache),
    )
    kinds: dict[tuple[int | None, int | None, bool], int] = {}
    for x in layers:
        key = (x.window, x.chunk, x.sinks)
        kinds[key] = kinds.get(key, 0) + 1
    for (window, chunk, sinks), repeats in kinds.items():
        suffix = f".window{window}" if window else f".chunk{chunk}" if chunk else ""
        for phase, sequences, new, context in phases(shard):
            yield core(
                shard,
                f"attention.{phase}{suffix}",
                repeats,
                products=sequences * kv_heads,
                rows=heads / kv_heads,
                new=new,
                pairs=visible_pairs(context, new, window, chunk),
                keys=keys_touched(context, new, window, chunk),
                score_width=width,
                value_width=width,
                key_bytes=2 * width * bytes_of(f.cache),
                parameters=heads if sinks else 0.0,
            )
    if a.output_gate:
        yield shard.vector("attention.gate", "attention", count, tokens * heads * width, 2)
    yield shard.linear(
        "attention.output", "attention", f.attention, count, tokens, hidden, heads * width, bias=a.output_bias
    )


def phases(shard: Shard) -> Iterator[tuple[str, Number, Number, Number]]:
    """(name, sequences, new tokens of each, cached tokens of each) of the parts of the step that exist."""
    s = shard.step
    if shard.decodes:
        yield "decode", shard.decode_sequences, s.decode_tokens, s.decode_context
    if shard.prefills:
        yield "prefill", shard.prefill_sequences, s.prefill_tokens, s.prefill_context


def core(
    shard: Shard,
    name: str,
    layers: float,
    *,
    products: Number,
    rows: Number,
    new: Number,
    pairs: Number,
    keys: Number,
    score_width: int,
    value_width: int,
    key_bytes: float,
    parameters: Number = 0.0,
) -> Operator:
    """Scores, softmax and values in one pass over the keys (blockwise softmax; arXiv 2205.14135).

    `products` (sequence, KV head) pairs, each with `rows` query heads × `new` positions that see `pairs`
    keys in all per query head, out of `keys` distinct ones of `key_bytes` bytes in the cache.
    """
    f = shard.formats
    activation = bytes_of(f.activation)
    m, n = rows * new, pairs / np.maximum(new, 1e-9)
    softmax = pairs * SOFTMAX_OPERATIONS + new * value_width * RESCALE_OPERATIONS
    return Operator(
        name=name,
        kind="attention",
        role="attention",
        repeats=shard.repeats(layers),
        m=m,
        n=n,
        k=score_width,
        v=value_width,
        products=products,
        activation_format=f.cache,
        weight_bytes=parameters * bytes_of(f.vector),
        input_bytes=products * m * score_width * activation,
        output_bytes=products * m * value_width * activation,
        kv_read_bytes=products * keys * key_bytes,
        macs=products * rows * pairs * (score_width + value_width),
        vector_operations=products * rows * softmax,
        share=shard.share,
    )
