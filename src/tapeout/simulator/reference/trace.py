"""What a run over a text leaves behind for comparison, whoever ran it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Trace:
    """One text of T tokens through a model of L layers.

    `logits` [T, vocabulary] FP32. `hidden` [L, T, hidden] FP32: the residual stream after each layer.
    `experts`: for each layer with experts (layer index as key) the chosen ids [T, chosen], sorted.
    `routers`: for those layers the scores [T, experts] whose largest are chosen, where that is all there is to the
    choice (not with groups of experts); of the reference only.
    """

    logits: NDArray[np.float32]
    hidden: NDArray[np.float32]
    experts: dict[int, NDArray[np.int64]]
    routers: dict[int, NDArray[np.float32]] = field(default_factory=dict)


def chunks(tokens: list[int], context: int) -> list[list[int]]:
    """`tokens` in windows of at most `context`, none of a single token (which predicts nothing)."""
    return [w for i in range(0, len(tokens), context) if len(w := tokens[i : i + context]) > 1]
