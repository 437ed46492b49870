"""One request inside the engine (`Call`) and each sequence it asks for (`Job`)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import count

from tapeout.serving.endpoint.chip import Ledger
from tapeout.serving.endpoint.choosing import Chooser, TokenLogprobs
from tapeout.serving.endpoint.reading import Pieces, Reader
from tapeout.simulator.functional import Sequence

_numbers = count()


@dataclass(slots=True)
class Output:
    """What one step gave one sequence. `token` is None where the step only ended it.

    prompt_logprobs: with the first output of a call that asked for them, one entry for each token of the prompt, None
    for the first. finish: "stop", "length" or "error" with the last output; `stop`: the stop string or token
    that ended it; `failure`: what went wrong.
    """

    job: Job
    token: int | None = None
    pieces: Pieces = field(default_factory=list)
    channel: str = ""
    logprobs: TokenLogprobs | None = None
    prompt_logprobs: list[TokenLogprobs | None] | None = None
    finish: str | None = None
    stop: str | int | None = None
    failure: str = ""


@dataclass(eq=False)
class Job:
    """A sequence: `tokens` are the prompt and what was produced; `sequence` holds their keys and values.

    index: of the choice in the response. prompt_logprobs: alternatives to report for each token of the prompt.
    siblings: further choices for the same prompt, which begin when it is computed.
    """

    prompt: list[int]
    index: int
    max_tokens: int
    chooser: Chooser
    reader: Reader
    prompt_logprobs: int | None = None
    siblings: list[Job] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_numbers))
    wall_arrival: float = field(default_factory=time.monotonic)
    # filled in by the engine
    tokens: list[int] = field(init=False)
    sequence: Sequence | None = None
    computed: int = 0  # tokens in the cache while the prompt is computed
    cached_tokens: int = 0  # of the prompt, found in the prefix cache
    scored: list[TokenLogprobs | None] = field(default_factory=list)
    preemptions: int = 0
    ended: bool = False
    wall_start: float = 0.0
    wall_first: float = 0.0
    wall_last: float = 0.0  # its newest token
    ledger: Ledger = field(default_factory=Ledger)
    call: Call = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = list(self.prompt)

    @property
    def produced(self) -> int:
        """Tokens produced so far."""
        return len(self.tokens) - len(self.prompt)

    @property
    def family(self) -> list[Job]:
        """This job and its siblings."""
        return [self, *self.siblings]


class Call:
    """The jobs of one request, made in an event loop: `outputs` there yields what the engine gives.

    jobs: one for each prompt; all: every sequence, siblings included, by choice.
    """

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.all = sorted((m for job in jobs for m in job.family), key=lambda j: j.index)
        self.aborted = False
        self._ready: list[Output] = []
        self._waiter: asyncio.Future[None] | None = None
        self._open = 0
        for job in self.all:
            job.call = self
            self._open += 1

    def put(self, outputs: list[Output]) -> None:
        """More outputs have come; called in the event loop."""
        self._ready += outputs
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def outputs(self) -> AsyncIterator[list[Output]]:
        """Lists of outputs as they come, until every sequence has ended."""
        loop = asyncio.get_running_loop()
        while self._open:
            if not self._ready:
                self._waiter = loop.create_future()
                await self._waiter
            ready, self._ready = self._ready, []
            for output in ready:
                if output.finish is not None:
                    self._open -= 1
            yield ready
