"""The next token of a sequence, and the log-probabilities that a client asked for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.serving.endpoint.parameters import SEED_BITS, Sampling
from tapeout.simulator.functional import Sampler

Logits = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenLogprobs:
    """Natural logarithms of the probabilities that the model gives, before temperature and penalties.

    `top`: the most likely tokens, most likely first, of equals the lowest.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...]


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    """log(softmax) along the last axis, in double."""
    x = np.asarray(logits, np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def token_logprobs(logits: Logits, token: int, count: int) -> TokenLogprobs:
    """Of `token` and the `count` most likely ones, from logits [vocabulary]."""
    values = log_softmax(logits)
    top: tuple[tuple[int, float], ...] = ()
    if count:
        count = min(count, len(values))
        order = np.argpartition(-values, count - 1)
        # ties at the edge go to the lower token, as everywhere
        edge = values[order[count - 1]]
        best = np.flatnonzero(values >= edge)
        best = best[np.argsort(-values[best], kind="stable")][:count]
        top = tuple((int(i), float(values[i])) for i in best)
    return TokenLogprobs(token, float(values[token]), top)


class Chooser:
    """Chooses the tokens of one sequence. Choice `index` of a request draws from its own generator, choice 0
    from that of the seed alone."""

    def __init__(self, sampling: Sampling, index: int, prompt: list[int], eos: frozenset[int]) -> None:
        s = sampling
        self.sampling = s
        self.ends = (frozenset() if s.ignore_eos else eos) | s.stop_tokens
        self._eos = eos
        self._sampler = Sampler(s.temperature, s.top_k, s.top_p, s.seed + (index << SEED_BITS))
        self._counts: dict[int, int] = {}
        self._seen = set(prompt) if s.repetition_penalty != 1 else set()
        self.produced = 0

    @property
    def greedy(self) -> bool:
        """Whether the choice is the largest logit, nothing else."""
        return self.sampling.temperature == 0 and not self.sampling.adjusts

    def __call__(self, logits: Logits) -> int:
        """The next token."""
        s = self.sampling
        if s.adjusts:
            logits = self._adjusted(logits)
        return self._sampler(logits)

    def took(self, token: int) -> None:
        """`token` was chosen."""
        self.produced += 1
        if self.sampling.adjusts:
            self._counts[token] = self._counts.get(token, 0) + 1
            if self.sampling.repetition_penalty != 1:
                self._seen.add(token)

    def _adjusted(self, logits: Logits) -> Logits:
        """Bias and penalties of the OpenAI API, the repetition penalty of Keskar et al. (arXiv 1909.05858), then
        `min_p`: tokens less likely than that share of the most likely one are not drawn."""
        s = self.sampling
        x = np.array(logits, np.float64)
        if s.repetition_penalty != 1 and self._seen:
            seen = np.fromiter(self._seen, np.int64)
            x[seen] = np.where(x[seen] > 0, x[seen] / s.repetition_penalty, x[seen] * s.repetition_penalty)
        for token, bias in s.logit_bias:
            x[token] += bias
        if self._counts and (s.frequency_penalty or s.presence_penalty):
            tokens = np.fromiter(self._counts, np.int64)
            counts = np.fromiter(self._counts.values(), np.float64)
            x[tokens] -= s.frequency_penalty * counts + s.presence_penalty
        if self.produced < s.min_tokens:
            x[list(self._eos | s.stop_tokens)] = -np.inf
        if s.min_p and s.temperature:
            x[x < x.max() + s.temperature * np.log(s.min_p)] = -np.inf
        return x.astype(np.float32)
