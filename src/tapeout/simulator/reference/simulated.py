"""The functional simulator, run teacher-forced so that it can be compared."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapeout.simulator.functional import Engine
from tapeout.simulator.reference.trace import Trace


def trace(engine: Engine, tokens: list[int]) -> Trace:
    """Run `tokens` as one text."""
    hidden: dict[int, list[NDArray[np.float32]]] = {}
    experts: dict[int, list[NDArray[np.int64]]] = {}

    def observe(what: str, layer: int, value: NDArray[np.generic]) -> None:
        if what == "hidden":
            hidden.setdefault(layer, []).append(np.array(value, np.float32))
        elif what == "experts":
            experts.setdefault(layer, []).append(np.sort(np.asarray(value, np.int64), axis=-1))

    before, engine.observe = engine.observe, observe
    try:
        logits = engine.step([(engine.sequence(), tokens)], every=True)[0]
    finally:
        engine.observe = before
    return Trace(
        logits,
        np.stack([np.concatenate(hidden[layer]) for layer in sorted(hidden)]),
        {layer: np.concatenate(parts) for layer, parts in experts.items()},
    )
