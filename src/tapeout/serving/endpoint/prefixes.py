"""Prefix caching: keys and values of earlier prompts and answers, found again by their tokens.

Whole blocks of tokens are looked up by a digest chained over the blocks before; what is found is copied, since
each sequence of the simulator owns its caches. A copy has the same bits as a recomputation would.
"""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from collections.abc import Sequence as Tokens

import numpy as np

from tapeout.simulator.functional import Sequence


def fork(sequence: Sequence, length: int) -> Sequence:
    """A sequence of its own that has seen the first `length` tokens of this one."""
    caches = []
    for cache in sequence.caches:
        twin = copy.copy(cache)
        for name in ("keys", "values"):
            held = getattr(cache, name)
            codes, scales = held.codes[:, :length].copy(), held.scales[:, :length].copy()
            setattr(twin, name, type(held)(held.format, codes, scales))
        twin.length = length
        caches.append(twin)
    return Sequence(caches)


def digests(tokens: Tokens[int], block: int) -> list[bytes]:
    """A digest of the tokens up to the end of each whole block."""
    data = np.asarray(tokens, np.int64)
    found, state = [], hashlib.blake2b(digest_size=16)
    for end in range(block, len(data) + 1, block):
        state.update(data[end - block : end].tobytes())
        found.append(state.digest())
    return found


class PrefixCache:
    """Finished and running sequences whose blocks can be reused, the longest unused given up first.

    `blocks`: those held for sequences that have ended.
    """

    def __init__(self, block: int) -> None:
        self.block = block
        self.blocks = 0
        self._where: dict[bytes, tuple[int, int]] = {}  # digest → (key of the sequence, tokens)
        self._held: OrderedDict[int, tuple[Sequence, list[bytes], bool]] = OrderedDict()

    def find(self, known: Tokens[bytes], most: int) -> tuple[Sequence | None, int]:
        """The sequence with the longest common prefix of at most `most` tokens, and that prefix's length."""
        for i in range(min(len(known), most // self.block) - 1, -1, -1):
            found = self._where.get(known[i])
            if found is not None:
                key, length = found
                self._held.move_to_end(key)
                return self._held[key][0], length
        return None, 0

    def add(self, key: int, sequence: Sequence, known: list[bytes], ended: bool = False) -> None:
        """Sequence `key` has computed the tokens of `known`; `ended`: nobody else holds it any more."""
        self.drop(key)
        if not known:
            return
        self._held[key] = (sequence, known, ended)
        self.blocks += len(known) if ended else 0
        for i, digest in enumerate(known):
            self._where.setdefault(digest, (key, (i + 1) * self.block))

    def drop(self, key: int) -> None:
        """Forget a sequence."""
        held = self._held.pop(key, None)
        if held is None:
            return
        self.blocks -= len(held[1]) if held[2] else 0
        for digest in held[1]:
            if self._where.get(digest, (None, 0))[0] == key:
                del self._where[digest]

    def shrink(self, most: int) -> None:
        """Give up ended sequences, the longest unused first, until they hold at most `most` blocks."""
        for key in [k for k, (_, _, ended) in self._held.items() if ended]:
            if self.blocks <= most:
                return
            self.drop(key)
