"""The paged KV cache of a replica: blocks held, shared prefixes, and what can be evicted.

Blocks are counted, not placed. A block is `block_tokens` tokens of all layers that keep the whole context;
layers with a sliding window hold a constant number of blocks per sequence (`sequence_blocks`). Prefix
blocks (ids from the trace) are shared while in use, stay cached while nobody needs their room, and
go least recently used first, the ends of chains before their beginnings (vLLM's automatic prefix caching).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence


class PagedCache:
    """Counts of blocks. `private` are held by sequences, `shared` by prefixes in use or cached."""

    def __init__(
        self, blocks: int, block_tokens: int = 16, sequence_blocks: int = 0, prefix_tokens: int = 512
    ) -> None:
        self.blocks, self.block_tokens, self.sequence_blocks = blocks, block_tokens, sequence_blocks
        self.prefix_tokens = prefix_tokens
        self.per_prefix = prefix_tokens // block_tokens
        self.private = 0
        self.references: dict[int, int] = {}  # prefix id → sequences using it
        self.cached: OrderedDict[int, None] = OrderedDict()  # ids that nobody uses, oldest first

    @property
    def available(self) -> int:
        """Blocks that can be had, by eviction of cached prefixes if need be."""
        return self.blocks - self.private - len(self.references) * self.per_prefix

    @property
    def used(self) -> int:
        """Blocks that running sequences hold."""
        return self.private + len(self.references) * self.per_prefix

    def blocks_of(self, tokens: int) -> int:
        """Private blocks of a sequence of `tokens` unshared tokens."""
        return -(-tokens // self.block_tokens) + self.sequence_blocks

    def hit(self, prefix: Sequence[int]) -> int:
        """How many leading ids of `prefix` are in the cache."""
        count = 0
        for block in prefix:
            if block not in self.references and block not in self.cached:
                break
            count += 1
        return count

    def fits(self, private: int, prefix: Sequence[int], hit: int) -> bool:
        """Whether `private` more blocks fit once the first `hit` blocks of `prefix` are pinned."""
        pinned = sum(1 for block in prefix[:hit] if block not in self.references)
        return private + pinned * self.per_prefix <= self.available

    def take(self, private: int) -> None:
        """Take `private` blocks, evicting what is cached as needed. The caller has checked `available`."""
        self.private += private
        self._evict()

    def give(self, private: int) -> None:
        """Give blocks back."""
        self.private -= private

    def pin(self, prefix: Sequence[int]) -> None:
        """Use the blocks of `prefix`, which must be cached or in use."""
        for block in prefix:
            self.cached.pop(block, None)
            self.references[block] = self.references.get(block, 0) + 1

    def publish(self, prefix: Sequence[int]) -> None:
        """Turn freshly computed private blocks into shared ones, used by the sequence that made them.
        Blocks that another sequence published meanwhile are merged."""
        self.private -= len(prefix) * self.per_prefix
        self.pin(prefix)
        self._evict()

    def unpin(self, prefix: Sequence[int]) -> None:
        """Stop using the blocks of `prefix`; they stay cached until their room is needed."""
        for block in reversed(prefix):
            left = self.references[block] - 1
            if left:
                self.references[block] = left
            else:
                del self.references[block]
                self.cached[block] = None

    def _evict(self) -> None:
        if self.cached:
            over = self.private + (len(self.references) + len(self.cached)) * self.per_prefix - self.blocks
            while over > 0 and self.cached:
                self.cached.popitem(last=False)
                over -= self.per_prefix
