"""What linear attention keeps of a sequence."""

from __future__ import annotations

import numpy as np

from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import LinearAttention


class StateCache:
    """One sequence's state in one layer, FP32: `state` [value heads, key_dim, value_dim], `before` [width − 1,
    channels], the last inputs of the convolution (channels: queries, keys, values)."""

    def __init__(self, a: LinearAttention) -> None:
        channels = 2 * a.key_heads * a.key_dim + a.value_heads * a.value_dim
        self.state = np.zeros((a.value_heads, a.key_dim, a.value_dim), np.float32)
        self.before = np.zeros((a.convolution - 1, channels), np.float32)
        self.length = 0

    def truncate(self, length: int) -> None:
        """Forget everything (length 0). Raises InputError for a length between: a state has no way back."""
        if length >= self.length:
            return
        if length > 0:
            raise InputError(
                "sequence", "", Phrase(f"{self.length} tokens back to {length}"),
                "all or none of them: the state of linear attention has no way back",
            )  # fmt: skip
        self.state[:], self.before[:], self.length = 0, 0, 0

    @property
    def token_bytes(self) -> float:
        """Bytes that a token takes: none, the state does not grow."""
        return 0.0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.state.nbytes + self.before.nbytes
