"""Choosing the next token from logits: on the host, in double, from a seeded generator."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError


@dataclass
class Sampler:
    """`temperature` 0: the largest logit, of equals the lowest token. Otherwise softmax of logits / temperature,
    kept to the `top_k` largest (0: all), then to the fewest whose probabilities reach `top_p` (the largest
    always stays), in that order; ties keep the lower token. One draw of the generator for each token.
    """

    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    generator: np.random.Generator = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if not 0 <= self.temperature <= 100:
            raise InputError("--temperature", "", self.temperature, "a number from 0 to 100")
        if self.top_k < 0:
            raise InputError("--top-k", "", self.top_k, "0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise InputError("--top-p", "", self.top_p, "a number above 0, at most 1")
        self.generator = np.random.Generator(np.random.PCG64(self.seed))

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """The distribution that is drawn from, float64 [vocabulary]; temperature 0 puts all on the choice."""
        x = np.asarray(logits, dtype=np.float64)
        result = np.zeros_like(x)
        if self.temperature == 0:
            result[int(np.argmax(x))] = 1.0
            return result
        order = np.argsort(-x, kind="stable")
        if 0 < self.top_k < len(x):
            order = order[: self.top_k]
        p = np.exp((x[order] - x[order[0]]) / self.temperature)
        p /= p.sum()
        if self.top_p < 1:
            kept = int(np.searchsorted(np.cumsum(p), self.top_p, side="left")) + 1
            order, p = order[:kept], p[:kept] / p[:kept].sum()
        result[order] = p
        return result

    def __call__(self, logits: NDArray[np.float32]) -> int:
        """The next token."""
        if self.temperature == 0:
            return int(np.argmax(logits))
        p = self.probabilities(logits)
        cumulative = np.cumsum(p)
        token = int(np.searchsorted(cumulative, self.generator.random() * cumulative[-1], side="right"))
        return min(token, int(np.flatnonzero(p)[-1]))
