"""Operators of multi-head latent attention (arXiv 2405.04434), dense or sparse by an indexer.

Absorbed: queries are taken into the latent space, all heads attend over the one cached latent, and the
result is taken out again; least memory traffic, more arithmetic, right for decode. Expanded: keys and
values of every head are made from the latents first; right for prefill. `auto` does what engines do:
absorbed for decode, and for prefill too where attention is sparse, else expanded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tapeout.model.architecture import LatentAttention
from tapeout.workload.attention import core, phases
from tapeout.workload.formats import bytes_of
from tapeout.workload.operators import Number, Operator
from tapeout.workload.shard import NORM_OPERATIONS, ROPE_OPERATIONS, Shard
from tapeout.workload.visibility import keys_touched, visible_pairs


def latent(shard: Shard, a: LatentAttention, count: int) -> Iterator[Operator]:
    """Operators of `count` layers of attention `a`, in order of execution."""
    f, hidden, tokens = shard.formats, shard.model.hidden, shard.tokens
    heads = shard.split(a.heads)
    query = a.nope_dim + a.rope_dim
    latent_width = a.kv_rank + a.rope_dim
    again = a.kv_rank * bytes_of(f.latent_values) if f.latent_values else 0.0  # of a position

    def linear(name: str, m: Number, n: Number, k: Number, products: Number = 1.0) -> Operator:
        return shard.linear(f"attention.{name}", "attention", f.attention, count, m, n, k, products=products)

    # The down-projections are replicated over tensor-parallel chips: all heads share their results.
    if a.q_rank is None:
        yield linear("q", tokens, heads * query, hidden)
    else:
        yield linear("q_a", tokens, a.q_rank, hidden)
        yield linear("q_b", tokens, heads * query, a.q_rank)
    yield linear("kv_a", tokens, latent_width, hidden)
    normed = a.kv_rank + (a.q_rank or 0)
    yield shard.vector(
        "attention.rope_cache",
        "attention",
        count,
        tokens * (normed + (heads + 1) * a.rope_dim),
        (normed * (NORM_OPERATIONS - 1) + a.rope_dim * ROPE_OPERATIONS) / (normed + a.rope_dim),
        parameters=normed,
        kv_write_bytes=tokens
        * (latent_width * bytes_of(f.cache) + again + a.index_dim * bytes_of(f.index_cache)),
    )
    if a.index_heads:
        yield from _indexer(shard, a, count)
    for phase, sequences, new, context in phases(shard):
        absorbed = shard.latent == "absorbed" or (
            shard.latent == "auto" and (phase == "decode" or a.index_heads > 0)
        )
        window = a.index_topk if a.index_heads else None  # a query sees at most its top k keys
        pairs = visible_pairs(context, new, window)
        if absorbed:
            m = sequences * new
            yield linear(f"{phase}.absorb_k", m, a.kv_rank, a.nope_dim, heads)
            keys = keys_touched(context, new) if window is None else _selected(context, new, pairs)
            yield core(
                shard,
                f"attention.{phase}",
                count,
                products=sequences,
                rows=heads,
                new=new,
                pairs=pairs,
                keys=keys,
                score_width=latent_width,
                value_width=a.kv_rank,
                key_bytes=latent_width * bytes_of(f.cache) + again,
            )
            yield linear(f"{phase}.absorb_v", m, a.value_dim, a.kv_rank, heads)
            continue
        keys = keys_touched(context, new)
        expand = linear(f"{phase}.kv_b", sequences * keys, heads * (a.nope_dim + a.value_dim), a.kv_rank)
        yield replace(expand, kv_read_bytes=sequences * keys * latent_width * bytes_of(f.cache))
        activation = bytes_of(f.activation)
        attend = core(
            shard,
            f"attention.{phase}",
            count,
            products=sequences * heads,
            rows=1.0,
            new=new,
            pairs=pairs,
            keys=keys,
            score_width=query,
            value_width=a.value_dim,
            key_bytes=0.0,  # the expanded keys and values are activations, and written as such by kv_b
        )
        expanded = sequences * heads * keys * (query + a.value_dim) * activation
        yield replace(attend, input_bytes=attend.input_bytes + expanded, activation_format=f.activation)
    yield linear("output", tokens, hidden, heads * a.value_dim)


def _selected(context: Number, new: Number, pairs: Number) -> Number:
    """Distinct latents that the queries of one sequence select: no more than there are, nor than picks."""
    return np.minimum(keys_touched(context, new), pairs)


def _indexer(shard: Shard, a: LatentAttention, count: int) -> Iterator[Operator]:
    """The lightning indexer (DeepSeek-V3.2): cheap scores of every key, of which attention takes the top k.

    It is replicated over tensor-parallel chips: every chip needs the same choice."""
    f, tokens = shard.formats, shard.tokens
    source = a.q_rank if a.q_rank is not None else shard.model.hidden

    def linear(name: str, n: int, k: int) -> Operator:
        return shard.linear(f"indexer.{name}", "attention", f.attention, count, tokens, n, k)

    yield linear("q", a.index_heads * a.index_dim, source)
    yield linear("k", a.index_dim, shard.model.hidden)
    yield linear("weights", a.index_heads, shard.model.hidden)
    for phase, sequences, new, context in phases(shard):
        pairs = visible_pairs(context, new)
        score = core(
            shard,
            f"indexer.{phase}",
            count,
            products=sequences,
            rows=a.index_heads,
            new=new,
            pairs=pairs,
            keys=keys_touched(context, new),
            score_width=a.index_dim,
            value_width=0,
            key_bytes=a.index_dim * bytes_of(f.index_cache),
        )
        # rectify, weight and sum over heads: 2 per score; top-k looks at each key's sum once
        yield replace(
            score,
            activation_format=f.index_cache,
            vector_operations=sequences * pairs * (2 * a.index_heads + 1),
            output_bytes=sequences * pairs * 4,
        )
