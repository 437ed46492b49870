"""The functional simulator, run teacher-forced so that it can be compared."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from tapeout.simulator.functional import Engine
from tapeout.simulator.functional.engine import CHUNK
from tapeout.simulator.functional.feed_forward import Mixture
from tapeout.simulator.reference.trace import Trace


def trace(engine: Engine, tokens: list[int], experts: Mapping[int, NDArray[np.int64]] | None = None) -> Trace:
    """Run `tokens` as one text. With `experts`, layer to [tokens, chosen], every token is sent to those; the
    trace still holds what each router would have chosen."""
    hidden: dict[int, list[NDArray[np.float32]]] = {}
    chosen: dict[int, list[NDArray[np.int64]]] = {}

    def observe(what: str, layer: int, value: NDArray[np.generic]) -> None:
        if what == "hidden":
            hidden.setdefault(layer, []).append(np.array(value, np.float32))
        elif what == "experts":
            chosen.setdefault(layer, []).append(np.sort(np.asarray(value, np.int64), axis=-1))

    mixtures = {i: x.feed_forward for i, x in enumerate(engine.layers) if isinstance(x.feed_forward, Mixture)}
    sequence, logits = engine.sequence(), []
    before, engine.observe = engine.observe, observe
    try:
        for start in range(0, len(tokens), CHUNK):
            span = slice(start, start + CHUNK)
            for layer, mixture in mixtures.items():
                mixture.forced = None if experts is None else experts[layer][span].astype(np.int32)
            logits.append(engine.step([(sequence, tokens[span])], every=True)[0])
    finally:
        engine.observe = before
        for mixture in mixtures.values():
            mixture.forced = None
    return Trace(
        np.concatenate(logits),
        np.stack([np.concatenate(hidden[layer]) for layer in sorted(hidden)]),
        {layer: np.concatenate(parts) for layer, parts in chosen.items()},
    )
