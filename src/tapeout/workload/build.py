"""From a model, a step and a sharding to the operators of one chip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tapeout.model.architecture import (
    Dense,
    GroupedQueryAttention,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
    Model,
)
from tapeout.workload.attention import grouped_query, projection_key
from tapeout.workload.feed_forward import dense, mixture
from tapeout.workload.formats import Formats, bytes_of
from tapeout.workload.latent_attention import latent
from tapeout.workload.linear_attention import linear
from tapeout.workload.operators import Operator, Step
from tapeout.workload.parallelism import Parallelism
from tapeout.workload.shard import NORM_OPERATIONS, SAMPLING_OPERATIONS, LatentMode, Shard


def operators(
    model: Model,
    step: Step,
    parallelism: Parallelism | None = None,
    formats: Formats | None = None,
    *,
    skew: float = 0.0,
    latent: LatentMode = "auto",
) -> tuple[Operator, ...]:
    """What the busiest chip does in `step`, grouped by kind of layer, in order of execution.

    `formats`: of weights, activations and cache; those of the published checkpoint by default. `skew`: of
    the popularity of experts (0: equal; the exponent of a Zipf law). `latent`: how latent attention is
    computed. Where the fields of `step` and `parallelism` are arrays, so are those of the operators, and
    `parallelism` is taken to be valid (see `Parallelism.valid`); scalars are checked.
    Raises InputError if the model cannot be split so or a count of the step is negative or not a number.
    """
    step.check()
    p = parallelism or Parallelism()
    if all(np.ndim(x) == 0 for x in (p.tp, p.ep, p.pp, p.attention_dp, p.dp)):
        p.check(model)
    shard = Shard(model, step, p, formats or Formats.stored(model), skew, latent)
    names: Counter[str] = Counter()
    found: list[Operator] = []
    for o in _all(shard):
        names[o.name] += 1  # layers of several shapes make operators of one name: the second is name#2
        found.append(o if names[o.name] == 1 else replace(o, name=f"{o.name}#{names[o.name]}"))
    return tuple(found)


def _all(shard: Shard) -> Iterator[Operator]:
    model, p, f, tokens = shard.model, shard.parallelism, shard.formats, shard.tokens
    hidden, count = model.hidden, len(model.layers)
    sharded = np.any(np.asarray(p.tp) > 1)
    yield Operator(
        name="embedding",
        kind="gather",
        role="embedding",
        repeats=shard.repeats(1),
        m=tokens,
        n=hidden,
        input_bytes=tokens * hidden / np.asarray(p.tp) * bytes_of(f.embedding),
        output_bytes=tokens * hidden * bytes_of(f.activation),
        activation_format=f.embedding,
        vector_operations=tokens * hidden if model.embedding_scale != 1.0 else 0.0,
        share=shard.share,
    )
    if sharded:
        yield shard.collective("embedding.all_reduce", "all_reduce", 1, p.tp, p.tp, tokens * hidden)
    yield shard.vector("norm.attention", "norm", count, tokens * hidden, NORM_OPERATIONS, parameters=hidden)
    yield from _attention(shard)
    post = sum(layer.post_norms for layer in model.layers)
    if sharded:
        yield shard.collective("attention.all_reduce", "all_reduce", count, p.tp, p.tp, tokens * hidden)
    if post:
        yield shard.vector(
            "norm.post_attention", "norm", post, tokens * hidden, NORM_OPERATIONS, parameters=hidden
        )
    yield shard.vector(
        "norm.feed_forward", "norm", count, tokens * hidden, NORM_OPERATIONS, parameters=hidden
    )
    networks = Counter(layer.feed_forward for layer in model.layers)
    experts = sum(n for x, n in networks.items() if isinstance(x, MixtureOfExperts))
    for network, n in networks.items():
        if isinstance(network, Dense):
            yield from dense(shard, network, n)
        else:
            yield from mixture(shard, network, n)
    if sharded:
        # Where ranks keep their own sequences an expert's result returns to the chip that sent the token,
        # and the chips of a rank then gather what they shared out.
        apart = np.asarray(p.attention_dp) > 1
        summed = count if not experts else np.where(apart, count - experts, count)
        name = "feed_forward.all_reduce"
        yield shard.collective(name, "all_reduce", summed, p.tp, p.tp, tokens * hidden)
        if experts and apart.any():
            gathered = np.where(apart, experts, 0)
            yield shard.collective("experts.all_gather", "all_gather", gathered, p.tp, p.tp, tokens * hidden)
    if post:
        yield shard.vector(
            "norm.post_feed_forward", "norm", post, tokens * hidden, NORM_OPERATIONS, parameters=hidden
        )
    if np.any(np.asarray(p.pp) > 1):
        yield shard.collective(
            "pipeline.send", "send", np.asarray(p.pp) - 1, p.pp, p.stage * 2, tokens * hidden
        )
    yield from _head(shard)


def _attention(shard: Shard) -> Iterator[Operator]:
    grouped: dict[tuple[object, ...], list[GroupedQueryAttention]] = {}
    latents: Counter[LatentAttention] = Counter()
    states: Counter[LinearAttention] = Counter()
    for layer in shard.model.layers:
        a = layer.attention
        if isinstance(a, GroupedQueryAttention):
            grouped.setdefault(projection_key(a), []).append(a)
        elif isinstance(a, LatentAttention):
            latents[a] += 1
        else:
            states[a] += 1
    for layers in grouped.values():
        yield from grouped_query(shard, layers)
    for x, n in latents.items():
        yield from latent(shard, x, n)
    for s, n in states.items():
        yield from linear(shard, s, n)


def _head(shard: Shard) -> Iterator[Operator]:
    model, p, f, rows = shard.model, shard.parallelism, shard.formats, shard.head_rows
    share = shard.share
    yield shard.vector("norm.final", "norm", 1, rows * model.hidden, NORM_OPERATIONS, parameters=model.hidden)
    words = model.vocabulary / np.asarray(p.tp)
    yield shard.linear("lm_head", "lm_head", f.lm_head, 1, rows, words, model.hidden)
    if np.any(np.asarray(p.tp) > 1):
        yield shard.collective("lm_head.all_gather", "all_gather", 1, p.tp, p.tp, rows * model.vocabulary)
    yield shard.vector(
        "sampling", "sampling", 1, rows * words, SAMPLING_OPERATIONS, outputs=rows, share=share
    )
