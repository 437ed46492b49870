"""Counts of visible keys against counting them one by one."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tapeout.workload.visibility import keys_kept, keys_touched, visible_pairs


def seen_by(position: int, window: int | None, chunk: int | None) -> range:
    """The keys that a query at `position` sees, by the definitions of the two kinds."""
    first = 0
    if window is not None:
        first = max(0, position - window + 1)
    if chunk is not None:
        first = position // chunk * chunk
    return range(first, position + 1)


LIMIT = st.one_of(st.none(), st.integers(1, 40))


@given(st.integers(0, 150), st.integers(1, 90), LIMIT, st.booleans())
def test_counts(context: int, tokens: int, limit: int | None, chunked: bool) -> None:
    window, chunk = (None, limit) if chunked else (limit, None)
    seen = [seen_by(p, window, chunk) for p in range(context, context + tokens)]
    assert visible_pairs(context, tokens, window, chunk) == sum(len(s) for s in seen)
    assert keys_touched(context, tokens, window, chunk) == len(set().union(*seen))


@given(st.integers(0, 10**6), st.lists(st.integers(1, 10**5), min_size=1, max_size=6), LIMIT, st.booleans())
def test_chunks_of_a_prompt_sum_to_the_whole(
    context: int, parts: list[int], limit: int | None, chunked: bool
) -> None:
    window, chunk = (None, limit) if chunked else (limit, None)
    starts = context + np.cumsum([0, *parts[:-1]])
    split = visible_pairs(starts.astype(float), np.array(parts, dtype=float), window, chunk).sum()
    assert split == visible_pairs(context, sum(parts), window, chunk)


@given(st.integers(0, 10**6), st.integers(1, 10**4))
def test_a_limit_only_removes(context: int, limit: int) -> None:
    assert visible_pairs(context, 5, window=limit) <= visible_pairs(context, 5)
    assert visible_pairs(context, 5, chunk=limit) <= visible_pairs(context, 5)
    assert keys_kept(context, window=limit) == min(context, limit)
    assert keys_kept(context) == context
