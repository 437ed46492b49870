"""How a model is spread over chips, and whether it can be."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError
from tapeout.model.architecture import GroupedQueryAttention, LatentAttention, MixtureOfExperts, Model
from tapeout.workload.operators import Number


@dataclass(frozen=True, eq=False)
class Parallelism:
    """One model replica on `chips` = tp × attention_dp × pp chips.

    tp: attention, dense layers, embedding and head are split over `tp` chips. attention_dp: that many
    such groups each hold the attention of their own sequences, and share the experts. ep: the
    tp × attention_dp chips of a stage hold whole experts in `ep` groups, and the `expert_tp` chips of a
    group split each expert. pp: pipeline stages. dp: independent replicas; they multiply chips and throughput
    and nothing else. Every field may be an array.
    """

    tp: Number = 1
    ep: Number = 1
    pp: Number = 1
    attention_dp: Number = 1
    dp: Number = 1

    @property
    def stage(self) -> Number:
        """Chips of one pipeline stage."""
        return self.tp * self.attention_dp

    @property
    def chips(self) -> Number:
        """Chips of one replica."""
        return self.stage * self.pp

    @property
    def expert_tp(self) -> Number:
        """Chips that split each expert between them."""
        return self.stage / self.ep

    def problems(self, model: Model) -> list[tuple[str, NDArray[np.bool_], str, str]]:
        """What does not fit `model`: (field, where it is wrong, found, expected) for each rule."""
        tp, ep, pp = np.asarray(self.tp), np.asarray(self.ep), np.asarray(self.pp)
        stage = np.asarray(self.stage)
        found: list[tuple[str, NDArray[np.bool_], str, str]] = []

        def rule(name: str, wrong: Any, value: Any, expected: str) -> None:
            wrong = np.asarray(wrong)
            if wrong.any():
                first = np.broadcast_to(np.asarray(value), wrong.shape)[wrong].flat[0]
                found.append((name, wrong, f"{first:g}", expected))

        for name in ("tp", "ep", "pp", "attention_dp", "dp"):
            value = np.asarray(getattr(self, name))
            rule(name, ~((value >= 1) & (value == np.floor(value))), value, "a whole number of at least 1")
        if found:
            return found
        for heads in sorted(
            {
                layer.attention.heads
                for layer in model.layers
                if isinstance(layer.attention, GroupedQueryAttention | LatentAttention)
            }
        ):
            rule("tp", heads % tp != 0, tp, f"a divisor of the {heads} attention heads")
        layers = len(model.layers)
        rule("pp", pp > layers, pp, f"at most the {layers} layers")
        experts = {
            m.experts for layer in model.layers if isinstance(m := layer.feed_forward, MixtureOfExperts)
        }
        if not experts:
            rule("ep", ep > 1, ep, "1, since the model has no experts")
        for e in sorted(experts):
            rule("ep", e % ep != 0, ep, f"a divisor of the {e} experts")
        rule("ep", (stage % ep != 0) & (ep > 1), ep, "a divisor of tp × attention_dp")
        return found

    def check(self, model: Model) -> None:
        """Raise InputError, in the user's words, at the first rule that some point breaks."""
        for name, _, value, expected in self.problems(model):
            raise InputError("parallelism", name, value, expected)

    def valid(self, model: Model) -> NDArray[np.bool_]:
        """For each point, whether the model can be split so."""
        shapes = [np.shape(x) for x in (self.tp, self.ep, self.pp, self.attention_dp, self.dp)]
        ok = np.ones(np.broadcast_shapes(*shapes), dtype=bool)
        for _, wrong, _, _ in self.problems(model):
            ok = ok & ~wrong
        return ok

    def stage_imbalance(self, model: Model) -> Number:
        """Layers of the fullest pipeline stage over the mean: what a stream of microbatches waits for."""
        layers = len(model.layers)
        return np.ceil(layers / np.asarray(self.pp)) * self.pp / layers
