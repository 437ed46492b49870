"""How many keys a query sees: exact counts for full, sliding-window and chunked causal attention."""

from __future__ import annotations

import numpy as np

from tapeout.workload.operators import Number


def _pairs_from_start(tokens: Number, window: int | None, chunk: int | None) -> Number:
    """(query, visible key) pairs of the first `tokens` positions of a sequence."""
    if window is not None:
        seen = np.minimum(tokens, window)
        return seen * (seen + 1) / 2 + (tokens - seen) * window
    if chunk is not None:
        whole = np.floor_divide(tokens, chunk)
        rest = tokens - whole * chunk
        return whole * (chunk * (chunk + 1) / 2) + rest * (rest + 1) / 2
    return tokens * (tokens + 1) / 2


def visible_pairs(
    context: Number, tokens: Number, window: int | None = None, chunk: int | None = None
) -> Number:
    """Pairs (new query, key it sees) when `tokens` positions follow `context` cached ones.

    Position p (from 0) sees p + 1 keys, itself included; at most `window` of them; or those of its own
    chunk of `chunk` tokens, p mod chunk + 1.
    """
    return _pairs_from_start(context + tokens, window, chunk) - _pairs_from_start(context, window, chunk)


def keys_touched(
    context: Number, tokens: Number, window: int | None = None, chunk: int | None = None
) -> Number:
    """Distinct keys that any of the `tokens` new positions sees, the new ones included."""
    if window is not None:
        return np.minimum(context + tokens, window + tokens - 1)
    if chunk is not None:
        return context + tokens - np.floor_divide(context, chunk) * chunk
    return context + tokens


def keys_kept(context: Number, window: int | None = None, chunk: int | None = None) -> Number:
    """Positions whose keys a cache must hold once `context` tokens are in it, for a window or chunk
    the last ones only."""
    limit = window if window is not None else chunk
    return context if limit is None else np.minimum(context, limit)
