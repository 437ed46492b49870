"""A request on its way through a deployment."""

from __future__ import annotations

from typing import Literal

Status = Literal["waiting", "finished", "refused", "failed"]


class Sequence:
    """The state of one request. Slots and plain attributes: millions of these are made."""

    __slots__ = (
        "arrival",
        "base",
        "cached_tokens",
        "computed",
        "first_token",
        "generated",
        "index",
        "join_step",
        "output",
        "preemptions",
        "prefix",
        "priority",
        "private",
        "prompt",
        "ready",
        "replica",
        "retries",
        "shared",
    )

    def __init__(
        self, index: int, arrival: float, prompt: int, output: int, priority: int, prefix: tuple[int, ...]
    ) -> None:
        self.index, self.arrival, self.prompt, self.output = index, arrival, prompt, output
        self.priority, self.prefix = priority, prefix
        self.generated = 0  # tokens produced so far
        self.computed = 0  # prompt tokens whose keys and values are in this replica's cache
        self.cached_tokens = 0  # of the prompt, found in the prefix cache at first admission
        self.first_token = -1.0  # time of the first output token
        self.preemptions = 0
        self.retries = 0
        self.ready = False  # prefilled elsewhere: decoding can begin
        self.private = 0  # blocks held (while decoding: at join_step)
        self.shared = 0  # leading prefix ids pinned
        self.join_step = 0  # decode-step counter of the replica when decoding began
        self.base = 0  # cached tokens minus join_step: tokens = base + step counter
        self.replica = -1

    @property
    def total_prompt(self) -> int:
        """Tokens to have in the cache before the next one: the prompt and what was generated so far."""
        return self.prompt + self.generated

    @property
    def order(self) -> tuple[int, float, int]:
        """Place in the queue: priority, then arrival."""
        return self.priority, self.arrival, self.index
