"""The feed-forward half of a layer: dense, or a mixture of experts with its router."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from tapeout.model.architecture import Dense, MixtureOfExperts, Tensor
from tapeout.numerics import fast, fp32, vector
from tapeout.numerics.formats import Mx
from tapeout.simulator.functional.part import Linear, Setting, linear

I32 = NDArray[np.int32]
Observer = Callable[[str, NDArray[np.generic]], None]
TINY = np.float32(1e-20)  # keeps a sum of scores from being zero (DeepSeek-V3)


def split_biases(tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
    """Matrices in order, and for each its bias (`module.bias`, or `name_bias` of a stack) or None."""
    matrices = [t for t in tensors if t.matrix]
    others = {t.name: t for t in tensors if not t.matrix}
    return matrices, [
        others.get(t.name.removesuffix("weight") + "bias", others.get(f"{t.name}_bias")) for t in matrices
    ]


class Gated:
    """down(act(gate(x))·up(x)), for one network or for the stacked ones of all experts."""

    def __init__(
        self, s: Setting, tensors: list[Tensor], activation: str, limit: float | None, role: str
    ) -> None:
        matrices, biases = split_biases(tensors)
        self.gate_up = linear(s, matrices[:-1], biases[:-1], role)
        self.down = linear(s, matrices[-1:], biases[-1:], role)
        # stacks of the clamped SwiGLU alternate rows of gate and up; everything else has them in halves
        self.interleaved = len(matrices) == 2 and activation == "clamped_swiglu"
        self.activation, self.limit = activation, limit
        self.format = s.plan.activation(role)

    def __call__(self, x: Mx, groups: fast.Groups | None = None) -> fp32.F32:
        """x [tokens, hidden] → [tokens, hidden]; with `groups`, the rows of each expert in turn."""
        wide = self.gate_up(x, groups)
        _, y = fast.gate(self.activation, wide, self.interleaved, self.limit, self.format)
        assert y is not None
        if groups is not None:
            rows = int(groups.offset[-1])
            groups = fast.Groups(groups.expert, groups.offset, np.arange(rows, dtype=np.int32))
        return self.down(y, groups)


class DenseNetwork:
    """One gated network."""

    def __init__(self, s: Setting, part: Dense, names: dict[str, Tensor]) -> None:
        tensors = [t for t in names.values() if t.role == "dense"]
        self.network = Gated(s, tensors, part.activation, part.limit, "dense")
        self.format = s.plan.activation("dense")

    def __call__(self, x: fp32.F32, observe: Observer | None = None) -> fp32.F32:
        """Normalised inputs [tokens, hidden] → [tokens, hidden]."""
        return self.network(fast.quantise(x, self.format))


class Mixture:
    """Order: router, choice, experts, Σ weight·expert in the order of choice, shared experts added last."""

    def __init__(self, s: Setting, part: MixtureOfExperts, names: dict[str, Tensor]) -> None:
        self.part = part
        routers = [t for t in names.values() if t.role == "router"]
        gates = [t for t in routers if t.matrix]
        router = next(t for t in gates if t.shape[0] == part.experts and "shared" not in t.name)
        bias = next((t for t in routers if t.name == router.name.removesuffix("weight") + "bias"), None)
        self.router = linear(s, [router], [bias])
        self.correction = s.loader.vector(
            next((t for t in routers if t.name.endswith("e_score_correction_bias")), None)
        )
        experts = [t for t in names.values() if t.role == "experts"]
        self.experts = Gated(s, experts, part.activation, part.limit, "experts")
        self.shared: Gated | None = None
        self.shared_gate: Linear | None = None
        if part.shared:
            tensors = [t for t in names.values() if t.role == "shared_expert"]
            self.shared = Gated(s, tensors, part.activation, None, "shared_expert")
        if part.shared_gate:
            self.shared_gate = linear(s, [next(t for t in gates if "shared" in t.name)])
        self.formats = {r: s.plan.activation(r) for r in ("router", "experts", "shared_expert")}
        # [tokens, k] experts to use instead of the router's, to separate rounding from choices
        self.forced: I32 | None = None

    def __call__(self, x: fp32.F32, observe: Observer | None = None) -> fp32.F32:
        """Normalised inputs [tokens, hidden] → [tokens, hidden]."""
        q = {f: fast.quantise(x, f) for f in set(self.formats.values())}
        router, experts, shared = (q[self.formats[r]] for r in ("router", "experts", "shared_expert"))
        logits = self.router(router)
        chosen, weights = choose(self.part, logits, self.correction)
        if observe is not None:
            observe("experts", chosen)
        if self.forced is not None:
            chosen, weights = choose(self.part, logits, self.correction, self.forced)
        groups, slot = fast.group_by_expert(chosen)
        if self.part.scale_input:
            scaled = fp32.mul(x[:, None, :], weights[:, :, None]).reshape(-1, x.shape[1])
            order = np.argsort(slot.reshape(-1), kind="stable").astype(np.int32)
            groups = fast.Groups(groups.expert, groups.offset, order)
            experts, weights = fast.quantise(scaled, self.formats["experts"]), np.ones_like(weights)
        y = fast.combine(self.experts(experts, groups), slot, weights)
        if self.shared is not None:
            extra = self.shared(shared)
            if self.shared_gate is not None:
                extra = fp32.mul(extra, fast.sigmoid(self.shared_gate(router)))
            y = fast.add(y, extra)
        return y


def choose(
    part: MixtureOfExperts, logits: fp32.F32, correction: fp32.F32 | None, given: I32 | None = None
) -> tuple[I32, fp32.F32]:
    """Router logits [tokens, experts] → experts [tokens, k] in the order of choice, and their weights; with
    `given` the weights of those.

    topk_softmax: softmax over the chosen logits. softmax_topk: softmax over all, weights of the chosen, and,
    renormalised, times reciprocal(their total). sigmoid: scores σ(logit), chosen by score + correction within
    the groups whose two best such values sum highest; weights are scores times reciprocal(their total + 10⁻²⁰),
    times the routed scale.
    """
    k = part.experts_per_token
    if part.scoring == "topk_softmax":
        chosen = fast.top_k(logits, k) if given is None else given
        weights = fast.softmax(np.take_along_axis(logits, chosen, axis=1))
    elif part.scoring == "sigmoid":
        scores = fast.sigmoid(logits)
        key = scores if correction is None else fp32.add(scores, correction)
        if part.topk_groups < part.groups:
            key = within_groups(part, key)
        chosen = fast.top_k(key, k) if given is None else given
        weights = np.take_along_axis(scores, chosen, axis=1)
        if part.renormalise:
            total = fp32.add(vector.total(weights), TINY)
            weights = fp32.mul(weights, fast.reciprocal(total)[:, None])
    else:
        scores = fast.softmax(logits)
        chosen = fast.top_k(scores, k) if given is None else given
        weights = np.take_along_axis(scores, chosen, axis=1)
        if part.scoring == "softmax_topk_renormalised":
            weights = fp32.mul(weights, fast.reciprocal(vector.total(weights))[:, None])
    if part.routed_scale != 1.0:
        weights = fp32.mul(weights, np.float32(part.routed_scale))
    return chosen, np.ascontiguousarray(weights)


def within_groups(part: MixtureOfExperts, key: fp32.F32) -> fp32.F32:
    """Scores with −∞ for every expert outside the best groups."""
    grouped = key.reshape(len(key), part.groups, -1)
    best = np.take_along_axis(grouped, fast.top_k(grouped, min(2, grouped.shape[-1])), axis=2)
    value = best[..., 0] if best.shape[-1] == 1 else fp32.add(best[..., 0], best[..., 1])
    kept = np.zeros(value.shape, bool)
    np.put_along_axis(kept, fast.top_k(value, part.topk_groups), True, axis=1)
    return np.where(kept[..., None], grouped, np.float32(-np.inf)).reshape(key.shape)
