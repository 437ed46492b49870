"""Tokens one at a time, as they come."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from numpy.typing import ArrayLike

from tapeout.simulator.functional.engine import Engine
from tapeout.simulator.functional.sampling import Sampler


def generate(
    engine: Engine,
    prompt: ArrayLike,
    max_tokens: int,
    sampler: Sampler | None = None,
    stop: Collection[int] | None = None,
) -> Iterator[int]:
    """Up to `max_tokens` tokens after `prompt`; ends after a token of `stop` (None: the model's own), which is
    yielded too, or when the context is full. Raises InputError for a prompt that the engine does not take."""
    sampler = sampler or Sampler()
    stop = engine.model.eos if stop is None else stop
    sequence = engine.sequence()
    if max_tokens < 1:
        return
    logits = engine.step([(sequence, prompt)])[0]
    for produced in range(1, max_tokens + 1):
        token = sampler(logits)
        yield token
        if token in stop or produced == max_tokens or sequence.length >= engine.model.context:
            return
        logits = engine.step([(sequence, [token])])[0]
