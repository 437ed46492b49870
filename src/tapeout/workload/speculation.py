"""Speculative decoding: several drafted tokens verified in one step of the model."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.errors import InputError
from tapeout.workload.operators import Number, Step


@dataclass(frozen=True, eq=False)
class Speculation:
    """`drafts` tokens are proposed per step, each accepted with probability `acceptance` if those before
    it were (Leviathan et al., arXiv 2211.17192). `draft_cost`: time of one draft over that of a step of the
    model (0 for prompt look-up; for a prediction head or small model its estimate)."""

    drafts: Number = 0
    acceptance: Number = 0.0
    draft_cost: Number = 0.0

    def __post_init__(self) -> None:
        if np.any(np.asarray(self.drafts) < 0):
            raise InputError("speculation", "drafts", self.drafts, "0 or more tokens")
        a = np.asarray(self.acceptance)
        if not np.all((a >= 0) & (a <= 1)):
            raise InputError("speculation", "acceptance", self.acceptance, "a probability from 0 to 1")
        if np.any(np.asarray(self.draft_cost) < 0):
            raise InputError("speculation", "draft_cost", self.draft_cost, "0 or more")

    @property
    def tokens_per_step(self) -> Number:
        """Expected tokens that a step adds to a sequence: 1 + a + a² + … + a^drafts, from 1 to 1 + drafts."""
        a, d = np.asarray(self.acceptance, dtype=float), np.asarray(self.drafts, dtype=float)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(a == 1, d + 1, (1 - a ** (d + 1)) / (1 - a))

    def step(self, sequences: Number, context: Number) -> Step:
        """The verifying step: every sequence computes its drafts and one token more."""
        return Step.decode(sequences, context, self.drafts + 1)

    def seconds_per_token(self, step_seconds: Number) -> Number:
        """Time per output token, when the verifying step takes `step_seconds`."""
        return step_seconds * (1 + self.drafts * self.draft_cost) / self.tokens_per_step
