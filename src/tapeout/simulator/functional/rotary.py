"""Tables of cos and sin: computed in double by the host and rounded to FP32, as a program would load them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tapeout.model.rope import Rope
from tapeout.numerics.fp32 import F32


class Rotary:
    """cos and sin [positions, rotary_dim / 2] of one rotary embedding, extended as positions are asked for."""

    def __init__(self, rope: Rope) -> None:
        self.rope = rope
        self.cos = self.sin = np.zeros((0, rope.rotary_dim // 2), np.float32)

    def at(self, positions: NDArray[np.int64]) -> tuple[F32, F32]:
        """cos and sin of these positions, `attention_factor` included before rounding."""
        last = int(positions.max()) + 1 if positions.size else 0
        if last > len(self.cos):
            p = np.arange(max(last, 2 * len(self.cos), 256), dtype=np.float64)
            angle = p[:, None] * np.array(self.rope.frequencies(), np.float64)
            self.cos = (np.cos(angle) * self.rope.attention_factor).astype(np.float32)
            self.sin = (np.sin(angle) * self.rope.attention_factor).astype(np.float32)
        return self.cos[positions], self.sin[positions]
