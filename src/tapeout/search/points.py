"""Operating points: how many chips make a replica, how the model is split over them, how many sequences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.model.architecture import GroupedQueryAttention, LatentAttention, MixtureOfExperts, Model
from tapeout.workload.parallelism import Parallelism

BATCHES = tuple(2**i for i in range(13))


@dataclass(frozen=True, eq=False)
class Points:
    """Splits [S] and, for each, batches [B]: point (s, b) decodes `batches[b]` sequences on split s."""

    tp: NDArray[np.int64]
    ep: NDArray[np.int64]
    pp: NDArray[np.int64]
    attention_dp: NDArray[np.int64]
    batches: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.tp) * len(self.batches)

    @property
    def largest(self) -> int:
        """Chips of the largest replica."""
        return int((self.tp * self.pp * self.attention_dp).max())

    def splits(self) -> Parallelism:
        """Every split once, arrays [S]."""
        return Parallelism(self.tp, self.ep, self.pp, self.attention_dp)

    def grid(self) -> tuple[Parallelism, NDArray[np.int64]]:
        """Every point, arrays [S · B], batches running fastest: the split, and the sequences of a step."""
        n = len(self.batches)
        p = Parallelism(*(np.repeat(x, n) for x in (self.tp, self.ep, self.pp, self.attention_dp)))
        return p, np.tile(self.batches, len(self.tp))

    def describe(self, split: int) -> dict[str, int]:
        """Split number `split` as plain numbers."""
        return {k: int(getattr(self, k)[split]) for k in ("tp", "ep", "pp", "attention_dp")}


def points(
    model: Model,
    *,
    largest: int = 64,
    batches: Sequence[int] = BATCHES,
    pipeline: Sequence[int] = (1,),
) -> Points:
    """The splits of `model` over up to `largest` chips that could be best, with every batch.

    Chips of a stage in powers of two. Heads are split over all chips of a stage or, to keep fewer copies of the
    cache and fewer exchanges, over fewer while the sequences are dealt to groups of them. Experts are dealt whole
    over all chips of a stage where there are enough, else split.
    """
    heads = {
        layer.attention.heads
        for layer in model.layers
        if isinstance(layer.attention, GroupedQueryAttention | LatentAttention)
    }
    latent = any(isinstance(layer.attention, LatentAttention) for layer in model.layers)
    experts = {m.experts for layer in model.layers if isinstance(m := layer.feed_forward, MixtureOfExperts)}
    found: list[tuple[int, int, int, int]] = []
    for pp in pipeline:
        stage = 1
        while stage * pp <= largest:
            for tp in sorted({stage, max(1, stage // 4), 1} if latent or experts else {stage}, reverse=True):
                deals = {1} if stage == 1 or not experts else {stage}
                if tp == stage and 1 < stage <= 8:
                    deals.add(1)
                if all(h % tp == 0 for h in heads):
                    wholes = (ep for ep in deals if all(e % ep == 0 for e in experts))
                    found.extend((tp, ep, pp, stage // tp) for ep in wholes)
            stage *= 2
    chosen = np.array(sorted(set(found), key=lambda s: (s[0] * s[2] * s[3], s)), dtype=np.int64)
    split = Parallelism(*(chosen[:, i] for i in range(4)))
    chosen = chosen[np.broadcast_to(split.valid(model), len(chosen))]
    tp, ep, pp, ranks = chosen.T
    return Points(tp, ep, pp, ranks, np.asarray(sorted(set(batches)), dtype=np.int64))
