"""What the parts of a layer share: a linear layer, and the batch that a step works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.model.architecture import Tensor
from tapeout.numerics import fast, fp32
from tapeout.numerics.formats import Mx
from tapeout.numerics.plan import FormatPlan
from tapeout.numerics.product import Split
from tapeout.simulator.functional.cache import LayerCache
from tapeout.simulator.functional.schedule import Schedule
from tapeout.simulator.functional.state import StateCache
from tapeout.simulator.functional.weights import Loader


@dataclass(frozen=True)
class Setting:
    """What every part is built with."""

    loader: Loader
    plan: FormatPlan
    schedule: Schedule
    epsilon: float


@dataclass(frozen=True)
class Linear:
    """x·Wᵀ + b for one or more matrices of the same inputs, kept as one product where they share a format."""

    weights: tuple[fast.Weights, ...]
    bias: tuple[fp32.F32 | None, ...]
    splits: tuple[Split, ...]

    def __call__(self, x: Mx, groups: fast.Groups | None = None) -> fp32.F32:
        """x [m, in] → float32 [rows, out]."""
        parts = [
            fast.matmul(x, w, b, self.splits, groups) for w, b in zip(self.weights, self.bias, strict=True)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

    @property
    def nbytes(self) -> int:
        """Bytes of the weights."""
        return sum(w.nbytes for w in self.weights)


def linear(
    s: Setting, tensors: Sequence[Tensor], biases: Sequence[Tensor | None] = (), role: str | None = None
) -> Linear:
    """The linear layer of these matrices, their outputs one after another, and their biases."""
    role = role or tensors[0].role
    splits = s.schedule.of(role, tensors[0].shape[-1])
    biases = biases or [None] * len(tensors)
    format = s.plan.weight(role)
    if len(tensors) > 1 and any(s.loader.published(t) is not None for t in tensors):
        return Linear(
            tuple(s.loader.weights([t], format) for t in tensors),
            tuple(s.loader.vector(b) for b in biases),
            splits,
        )
    bias = None
    if any(b is not None for b in biases):
        parts = [
            np.zeros(t.shape[:-1], np.float32) if b is None else s.loader.vector(b)
            for t, b in zip(tensors, biases, strict=True)
        ]
        bias = np.ascontiguousarray(np.concatenate([p for p in parts if p is not None], axis=-1))
    return Linear((s.loader.weights(tensors, format),), (bias,), splits)


@dataclass
class Batch:
    """The tokens of a step, sequence after sequence: their positions, and each sequence's span and caches.

    `spans[i]` is the slice of tokens of sequence i, `caches[i]` its cache of the layer at work.
    """

    positions: NDArray[np.int64]
    spans: list[slice]
    caches: Sequence[LayerCache | StateCache]
