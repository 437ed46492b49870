"""Rotary position embedding and how its frequencies are stretched for long contexts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding, half-split unless `interleaved` (RoFormer, arXiv 2104.09864).

    `scaling` is none, linear, llama3 or yarn (arXiv 2309.00071); the fields that a scaling does not
    use keep their defaults. `rotary_dim` is the number of channels rotated in each head.
    """

    theta: float
    rotary_dim: int
    interleaved: bool = False
    scaling: Literal["none", "linear", "llama3", "yarn"] = "none"
    factor: float = 1.0
    original_context: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    attention_factor: float = 1.0  # multiplies cos and sin (YaRN's mscale)

    def frequencies(self) -> tuple[float, ...]:
        """The `rotary_dim / 2` angular frequencies, radians per token: channel pair i at position p turns by
        p · frequency[i]. Multiply cos and sin by `attention_factor`."""
        half = self.rotary_dim // 2
        plain = [self.theta ** (-i / half) for i in range(half)]
        if self.scaling == "linear":
            return tuple(f / self.factor for f in plain)
        if self.scaling == "llama3":
            return tuple(self._llama3(f) for f in plain)
        if self.scaling == "yarn":
            low, high = self._yarn_band(half)
            ramps = (min(max((i - low) / (high - low), 0.0), 1.0) for i in range(half))
            return tuple(f * (1 - r) + f / self.factor * r for f, r in zip(plain, ramps, strict=True))
        return tuple(plain)

    def _llama3(self, frequency: float) -> float:
        """Long waves are stretched, short ones kept, those between interpolated (Llama 3.1, `model.py`)."""
        turns = self.original_context * frequency / (2 * math.pi)  # over the original context
        if turns < self.low_frequency_factor:
            return frequency / self.factor
        if turns > self.high_frequency_factor:
            return frequency
        width = self.high_frequency_factor - self.low_frequency_factor
        smooth = (turns - self.low_frequency_factor) / width if width else 1.0
        return (1 - smooth) * frequency / self.factor + smooth * frequency

    def _yarn_band(self, half: int) -> tuple[float, float]:
        """The channel pairs between which YaRN goes from keeping to stretching (arXiv 2309.00071, §3.2)."""

        def pair(turns: float) -> float:
            return half * math.log(self.original_context / (turns * 2 * math.pi)) / math.log(self.theta)

        low, high = pair(self.beta_fast), pair(self.beta_slow)
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, self.rotary_dim - 1)
        return low, high if high > low else low + 0.001


def yarn_mscale(factor: float, mscale: float = 1.0) -> float:
    """YaRN's temperature: 0.1 · mscale · ln(factor) + 1 (arXiv 2309.00071, §3.4)."""
    return 0.1 * mscale * math.log(factor) + 1.0 if factor > 1 else 1.0
