"""What computes the tokens, chosen by `--on`.

A backend runs a step over any set of sequences and returns each one's logits; it must give a sequence the same
bits whatever else is in the step and however its tokens are cut into steps.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import Model
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.functional import Engine, Sequence


class Backend(Protocol):
    """See `simulator.functional.Engine`, which is one."""

    model: Model

    def sequence(self) -> Sequence:
        """A new, empty sequence."""
        ...

    def step(
        self, work: Iterable[tuple[Sequence, ArrayLike]], every: bool = False
    ) -> list[NDArray[np.float32]]:
        """Logits [vocabulary] after the last of each sequence's new tokens, or [tokens, vocabulary]."""
        ...


def make(on: str, model: Model, checkpoint: Checkpoint, plan: str, threads: int) -> Backend:
    """The backend called `on`. Raises InputError for one that does not serve requests."""
    if on != "functional":
        expected = "functional: the RTL simulation computes single programs, not requests"
        raise InputError("--on", "", Phrase(on), expected)
    return Engine(model, checkpoint, plan, threads)
