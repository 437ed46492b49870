"""How a deployment serves: the knobs of its engines and of the router before them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tapeout.errors import InputError
from tapeout.serving.requests import Integers

Routing = Literal[
    "round_robin", "random", "least_requests", "least_tokens", "power_of_two", "prefix_affinity"
]
ROUTINGS: tuple[Routing, ...] = (
    "round_robin",
    "random",
    "least_requests",
    "least_tokens",
    "power_of_two",
    "prefix_affinity",
)


@dataclass(frozen=True)
class Speculation:
    """Speculative decoding: `drafts` tokens proposed per step, each accepted with probability
    `acceptance` if all before it were (Leviathan et al., arXiv 2211.17192)."""

    drafts: int = 0
    acceptance: float = 0.0

    @property
    def tokens_per_step(self) -> float:
        """Expected tokens per sequence and step: (1 - a^(d+1)) / (1 - a)."""
        a, d = self.acceptance, self.drafts
        return float(d + 1) if a == 1 else (1 - a ** (d + 1)) / (1 - a)

    def steps(self, tokens: int, rng: np.random.Generator) -> int:
        """Steps that it takes to produce `tokens` tokens, drawn."""
        if not self.drafts or tokens <= 0:
            return max(tokens, 0)
        done, steps = 0, 0
        while True:
            count = int((tokens - done) / self.tokens_per_step) + 4
            fails: Integers = np.full(count, self.drafts + 1)
            if self.acceptance < 1:
                fails = (
                    rng.geometric(1 - self.acceptance, count) if self.acceptance > 0 else np.ones(count, int)
                )
            total = done + np.cumsum(np.minimum(fails, self.drafts + 1))
            if total[-1] >= tokens:
                return steps + int(np.searchsorted(total, tokens)) + 1
            done, steps = int(total[-1]), steps + count


@dataclass(frozen=True)
class EnginePolicy:
    """One replica's scheduler and KV memory, in the terms of vLLM.

    kv_blocks: blocks of `block_tokens` tokens that fit; sequence_blocks: the constant part per sequence
    (sliding-window layers). max_step_tokens: token budget of a step. chunked_prefill: prompts share steps
    with decoding, in chunks that fill the budget; otherwise a step is either whole prompts or decoding, prompts
    first. A sequence's prompt blocks are reserved when it is admitted; when decoding runs out of blocks
    the youngest sequence of the lowest priority is preempted and later recomputed.
    """

    kv_blocks: int
    max_sequences: int = 256
    max_step_tokens: int = 8192
    block_tokens: int = 16
    sequence_blocks: int = 0
    chunked_prefill: bool = True
    prefix_caching: bool = True
    speculation: Speculation = Speculation()

    def __post_init__(self) -> None:
        for name, low in (
            ("kv_blocks", 1),
            ("max_sequences", 1),
            ("max_step_tokens", 1),
            ("block_tokens", 1),
            ("sequence_blocks", 0),
        ):
            if getattr(self, name) < low:
                raise InputError("engine policy", name, getattr(self, name), f"at least {low}")
        if (
            self.max_step_tokens <= self.max_sequences * (1 + self.speculation.drafts)
            and self.chunked_prefill
        ):
            raise InputError(
                "engine policy",
                "max_step_tokens",
                self.max_step_tokens,
                f"more than the {self.max_sequences * (1 + self.speculation.drafts)} tokens of a full decode step",
            )


@dataclass(frozen=True)
class Admission:
    """What the router refuses: requests beyond `max_waiting` queued at the chosen replica (None: no limit)."""

    max_waiting: int | None = None


@dataclass(frozen=True)
class Failures:
    """Replicas fail at random (exponential, mean `mtbf_seconds`) and are back after `restart_seconds`; what
    they were serving starts over elsewhere."""

    mtbf_seconds: float = float("inf")
    restart_seconds: float = 300.0
    retries: int = 3
