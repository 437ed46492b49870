"""Operators of the channel mixers: gated dense networks and mixtures of experts."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tapeout.model.architecture import Dense, MixtureOfExperts
from tapeout.workload.operators import Number, Operator, OperatorRole
from tapeout.workload.routing import distinct_groups, routed
from tapeout.workload.shard import GATED_OPERATIONS, Shard


def dense(shard: Shard, d: Dense, count: int) -> Iterator[Operator]:
    """Operators of `count` dense layers, split over the tensor-parallel chips of a rank."""
    width = d.intermediate / np.asarray(shard.tp)
    yield from _gated(shard, "dense", "dense", shard.formats.dense, count, width, d.activation, d.bias)


def mixture(shard: Shard, moe: MixtureOfExperts, count: int) -> Iterator[Operator]:
    """Operators of `count` mixture-of-experts layers; experts split as `Parallelism` says."""
    f, p, hidden, tokens = shard.formats, shard.parallelism, shard.model.hidden, shard.tokens
    yield shard.linear("router", "router", f.router, count, tokens, moe.experts, hidden, bias=moe.router_bias)
    parameters = moe.experts if moe.correction_bias else 0
    yield shard.vector(
        "router.top_k", "router", count, tokens * moe.experts, 2, parameters=parameters,
        outputs=tokens * moe.experts_per_token,
    )  # fmt: skip
    exchanged = _exchanged(shard, moe)
    among = np.where(np.asarray(p.attention_dp) > 1, p.stage, 1)
    if exchanged is not None:
        yield shard.collective(
            "experts.dispatch", "all_to_all", count, among, p.stage, exchanged, f.activation
        )
    r = routed(shard.step.tokens, moe.experts, moe.experts_per_token, p.ep, shard.skew)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = np.where(r.experts > 0, r.assignments / r.experts, 0.0)
        share = np.where(r.experts > 0, r.mean_experts / r.experts, 1.0)
    width = moe.intermediate / np.asarray(p.expert_tp)
    gate_up = GATED_OPERATIONS[moe.activation]
    yield shard.linear(
        "experts.gate_up", "experts", f.experts, count, rows, 2 * width, hidden,
        products=r.experts, bias=moe.bias, share=share, expert=True,
    )  # fmt: skip
    yield shard.vector("experts.activation", "experts", count, r.assignments * width, gate_up, share=share)
    yield shard.linear(
        "experts.down", "experts", f.experts, count, rows, hidden, width,
        products=r.experts, bias=moe.bias, share=share, expert=True,
    )  # fmt: skip
    yield shard.vector(
        "experts.combine", "experts", count, r.assignments * hidden, 1, share=share, outputs=tokens * hidden
    )
    if exchanged is not None:
        yield shard.collective("experts.combine_all", "all_to_all", count, among, p.stage, exchanged)
    if moe.shared:
        inner = moe.shared_intermediate / np.asarray(p.tp)
        yield from _gated(
            shard, "shared", "shared_expert", f.shared_expert, count, inner, moe.activation, False
        )
        if moe.shared_gate:
            yield shard.linear("shared.gate", "shared_expert", f.shared_expert, count, tokens, 1, hidden)


def _gated(
    shard: Shard,
    name: str,
    role: OperatorRole,
    format: str,
    count: int,
    width: Number,
    activation: str,
    bias: bool,
) -> Iterator[Operator]:
    """down(activation(gate(x)) * up(x)), this chip holding `width` of the intermediate channels."""
    tokens, hidden = shard.tokens, shard.model.hidden
    yield shard.linear(f"{name}.gate_up", role, format, count, tokens, 2 * width, hidden, bias=bias)
    yield shard.vector(f"{name}.activation", role, count, tokens * width, GATED_OPERATIONS[activation])
    yield shard.linear(f"{name}.down", role, format, count, tokens, hidden, width, bias=bias)


def _exchanged(shard: Shard, moe: MixtureOfExperts) -> Number | None:
    """Activations a chip sends to the experts of its tokens; None where all ranks have all tokens already.

    The chips of a rank share its tokens out between them. A token goes once to each group of chips that
    holds some of its experts, and there to every chip of the group.
    """
    p = shard.parallelism
    apart = np.asarray(p.attention_dp) > 1
    if not apart.any():
        return None
    copies = distinct_groups(moe.experts_per_token, p.ep) * p.expert_tp
    return np.where(apart, shard.tokens / np.asarray(p.tp) * copies * shard.model.hidden, 0.0)
