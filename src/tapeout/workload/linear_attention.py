"""Operators of the gated delta rule (arXiv 2412.06464): a state of constant size instead of a growing cache.

Decode updates the state token by token. Prefill is counted in the chunkwise form with chunks of 64
tokens, as the public kernels do it; its triangular solve is counted as C/3 products per row.
"""

from __future__ import annotations

from collections.abc import Iterator

from tapeout.model.architecture import LinearAttention
from tapeout.workload.attention import phases
from tapeout.workload.formats import bytes_of
from tapeout.workload.operators import Operator
from tapeout.workload.shard import Shard

CHUNK = 64


def linear(shard: Shard, a: LinearAttention, count: int) -> Iterator[Operator]:
    """Operators of `count` layers of attention `a`, in order of execution."""
    f, hidden, tokens = shard.formats, shard.model.hidden, shard.tokens
    keys, values = shard.split(a.key_heads), shard.split(a.value_heads)
    channels = 2 * keys * a.key_dim + values * a.value_dim  # through the convolution
    out = channels + values * a.value_dim + 2 * values  # … the output gate, decay and write strength
    yield shard.linear("linear.input", "attention", f.attention, count, tokens, out, hidden)
    yield shard.vector(
        "linear.convolution",
        "attention",
        count,
        tokens * channels,
        a.convolution + 5,  # taps, SiLU (2), and normalisation of queries and keys (3)
        parameters=channels * a.convolution + 2 * values,
    )
    state = values * a.key_dim * a.value_dim * bytes_of(f.state)
    state = state + channels * (a.convolution - 1) * bytes_of(f.activation)
    for phase, sequences, new, _ in phases(shard):
        update = 3 * a.key_dim * a.value_dim  # read by key, write by outer product, read by query
        chunk = CHUNK * (3 * a.key_dim + 2 * a.value_dim + CHUNK / 3) if phase == "prefill" else 0
        macs = sequences * values * new * (update + chunk)
        yield Operator(
            name=f"linear.{phase}",
            kind="state",
            role="attention",
            repeats=shard.repeats(count),
            m=new,
            n=a.value_dim,
            k=a.key_dim,
            products=sequences * values,
            activation_format=f.state,
            input_bytes=sequences * new * channels * bytes_of(f.activation),
            output_bytes=sequences * new * values * a.value_dim * bytes_of(f.activation),
            kv_read_bytes=sequences * state,
            kv_write_bytes=sequences * state,
            macs=macs,
            vector_operations=sequences * values * new * a.value_dim * 2,
            share=shard.share,
        )
    gated = tokens * values * a.value_dim
    yield shard.vector("linear.norm_gate", "attention", count, gated, 6, parameters=a.value_dim)
    yield shard.linear("linear.output", "attention", f.attention, count, tokens, hidden, values * a.value_dim)
