"""What differs between two runs of the same texts, as statistics with margins.

Two correct implementations of the same model differ in rounding, so tokens can differ where the reference
itself hardly prefers one. The margin says how hardly: the reference's logit of its own choice less its logit
of the other's choice. Logits are only defined up to their spread, so margins and errors are given in
units of the standard deviation of the reference's logits at that position.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.simulator.reference.trace import Trace


@dataclass(frozen=True)
class Disagreement:
    """A position where the most likely token differs."""

    text: int
    position: int
    reference: int  # token
    other: int
    margin: float  # of the reference between the two, in standard deviations of its logits
    experts_differ: bool  # some layer chose other experts for this token


@dataclass(frozen=True)
class Comparison:
    """One implementation against the reference, over all positions of all texts.

    `logit_error`: root mean square difference of the logits, in standard deviations of the reference's,
    a constant over the vocabulary taken out (softmax does not see it). `layer_error`: for each layer the
    relative error of the residual stream. `kl`: mean Kullback-Leibler divergence from the reference, nats.
    `expert_agreement`: share of (token, layer) with the same set of experts, None without experts.
    `largest_flip_margin`: over all (token, layer) where a router chose otherwise, how far the reference's
    preferred its own, in standard deviations of its scores; None where it does not say. It means something where
    all earlier choices were the reference's: a comparison with experts forced.
    """

    positions: int
    agreement: float
    disagreements: tuple[Disagreement, ...]
    perplexity: float
    reference_perplexity: float
    kl: float
    logit_error: float
    logit_error_p99: float
    layer_error: tuple[float, ...]
    expert_agreement: float | None
    largest_flip_margin: float | None

    @property
    def perplexity_change(self) -> float:
        """Relative change of perplexity from the reference's."""
        return self.perplexity / self.reference_perplexity - 1

    @property
    def largest_margin(self) -> float:
        """Of all disagreements; 0 if there is none."""
        return max((d.margin for d in self.disagreements), default=0.0)


def log_softmax(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """Natural logarithm of the probabilities, FP64."""
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    shifted -= np.log(np.exp(shifted).sum(-1, keepdims=True))
    return shifted


class Statistics:
    """Gathers a comparison text by text, so that no more than one text's logits are held."""

    def __init__(self) -> None:
        self._texts = self._positions = self._agreed = 0
        self._disagreements: list[Disagreement] = []
        self._nats: list[NDArray[np.float64]] = []
        self._reference_nats: list[NDArray[np.float64]] = []
        self._kl: list[NDArray[np.float64]] = []
        self._errors: list[NDArray[np.float64]] = []
        self._layer_error: list[NDArray[np.float64]] = []
        self._layer_size: list[NDArray[np.float64]] = []
        self._experts_same = self._experts_seen = 0
        self._flip_margin: float | None = None

    def add(self, tokens: Sequence[int], reference: Trace, other: Trace) -> None:
        """One text: its tokens and what both runs left. Raises ValueError if their shapes differ."""
        if reference.logits.shape != other.logits.shape or len(tokens) != len(reference.logits):
            raise ValueError(
                f"logits {other.logits.shape} against {reference.logits.shape}, {len(tokens)} tokens"
            )
        differ = np.zeros(len(tokens), bool)
        for layer, chosen in sorted(reference.experts.items()):
            same = np.all(np.sort(chosen, -1) == np.sort(other.experts[layer], -1), axis=-1)
            if layer in reference.routers:
                margins = _flip_margins(reference.routers[layer], chosen, other.experts[layer])
                largest = float(margins.max(initial=0.0))
                self._flip_margin = max(self._flip_margin or 0.0, largest)
            differ |= ~same
            self._experts_same += int(same.sum())
            self._experts_seen += same.size
        self._compare_logits(reference.logits, other.logits, differ)
        ours, theirs = log_softmax(other.logits), log_softmax(reference.logits)
        following = np.asarray(tokens[1:])
        rows = np.arange(len(following))
        self._nats.append(-ours[rows, following])
        self._reference_nats.append(-theirs[rows, following])
        self._kl.append((np.exp(theirs) * (theirs - ours)).sum(-1))
        difference = other.hidden.astype(np.float64) - reference.hidden
        self._layer_error.append((difference**2).sum((1, 2)))
        self._layer_size.append((reference.hidden.astype(np.float64) ** 2).sum((1, 2)))
        self._texts += 1

    def _compare_logits(
        self, reference: NDArray[np.float32], other: NDArray[np.float32], differ: NDArray[np.bool_]
    ) -> None:
        spread = np.maximum(reference.astype(np.float64).std(-1), 1e-30)  # all equal: no margin either
        difference = other.astype(np.float64) - reference
        difference -= difference.mean(-1, keepdims=True)
        self._errors.append(difference.std(-1) / spread)
        best, choice = reference.argmax(-1), other.argmax(-1)
        self._positions += len(best)
        self._agreed += int((best == choice).sum())
        for at in np.flatnonzero(best != choice):
            margin = float((np.float64(reference[at, best[at]]) - reference[at, choice[at]]) / spread[at])
            tokens = int(best[at]), int(choice[at])
            self._disagreements.append(Disagreement(self._texts, int(at), *tokens, margin, bool(differ[at])))

    def result(self) -> Comparison:
        """The comparison of everything added."""
        errors = np.concatenate(self._errors)
        layers = np.sqrt(sum(self._layer_error) / sum(self._layer_size))
        return Comparison(
            positions=self._positions,
            agreement=self._agreed / self._positions,
            disagreements=tuple(sorted(self._disagreements, key=lambda d: -d.margin)),
            perplexity=float(np.exp(np.concatenate(self._nats).mean())),
            reference_perplexity=float(np.exp(np.concatenate(self._reference_nats).mean())),
            kl=float(np.concatenate(self._kl).mean()),
            logit_error=float(np.sqrt((errors**2).mean())),
            logit_error_p99=float(np.quantile(errors, 0.99)),
            layer_error=tuple(float(e) for e in np.atleast_1d(layers)),
            expert_agreement=self._experts_same / self._experts_seen if self._experts_seen else None,
            largest_flip_margin=self._flip_margin,
        )


def _flip_margins(
    scores: NDArray[np.float32], chosen: NDArray[np.int64], other: NDArray[np.int64]
) -> NDArray[np.float64]:
    """[T]: the reference's lowest score among its own experts that the other did not choose, less its highest
    among those the other chose instead, in standard deviations of its scores; −inf where the sets are the same."""
    mine, theirs = np.zeros(scores.shape, bool), np.zeros(scores.shape, bool)
    np.put_along_axis(mine, chosen, True, axis=-1)
    np.put_along_axis(theirs, other, True, axis=-1)
    wide = scores.astype(np.float64)
    lowest = np.where(mine & ~theirs, wide, np.inf).min(-1)
    highest = np.where(theirs & ~mine, wide, -np.inf).max(-1)
    with np.errstate(invalid="ignore"):
        margins = (lowest - highest) / wide.std(-1)
    return np.where((mine == theirs).all(-1), -np.inf, margins)
