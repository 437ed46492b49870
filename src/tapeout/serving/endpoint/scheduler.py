"""Which tokens the next step computes: continuous batching with chunked prefill, in the policy of the simulation.

The decisions are those of `serving.replica`, so that what `tapeout simulate` predicts is what happens here:
decoding sequences first, then prompts under way, then waiting ones in order of arrival while sequences,
tokens and KV blocks allow; when decoding runs out of blocks the youngest is put back and computed again.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass, field

from tapeout.serving.endpoint.job import Job
from tapeout.serving.endpoint.prefixes import PrefixCache, digests, fork
from tapeout.serving.policy import EnginePolicy


@dataclass(slots=True)
class Plan:
    """One step: sequences that decode, and (sequence, tokens) of prompts."""

    decodes: list[Job]
    chunks: list[tuple[Job, int]]

    @property
    def tokens(self) -> int:
        """Tokens computed."""
        return len(self.decodes) + sum(n for _, n in self.chunks)

    @property
    def shape(self) -> tuple[int, float, int, float]:
        """What `StepCosts.step` takes: decodes, their mean context, prompt tokens, what those see on average."""
        batch = len(self.decodes)
        context = sum(len(j.tokens) - 1 for j in self.decodes) / batch if batch else 0.0
        total = sum(n for _, n in self.chunks)
        seen = sum(n * (j.computed + n / 2) for j, n in self.chunks) / total if total else 0.0
        return batch, context, total, seen


@dataclass
class Scheduler:
    """The sequences of one replica and who comes next. Not thread-safe: the engine's thread owns it."""

    policy: EnginePolicy
    waiting: deque[Job] = field(default_factory=deque)
    prefilling: list[Job] = field(default_factory=list)
    running: list[Job] = field(default_factory=list)
    preemptions: int = 0
    queried: int = 0  # prompt tokens looked up in the prefix cache
    hits: int = 0

    def __post_init__(self) -> None:
        self.prefixes = PrefixCache(self.policy.block_tokens)

    @property
    def busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.waiting or self.prefilling or self.running)

    # --- blocks -------------------------------------------------------------------------------------

    def blocks_of(self, tokens: int) -> int:
        """Blocks that a sequence of so many cached tokens holds."""
        return -(-tokens // self.policy.block_tokens) + self.policy.sequence_blocks

    @property
    def used(self) -> int:
        """Blocks that sequences hold. A prompt's are reserved from its start, for each of its choices."""
        held = sum(self.blocks_of(len(j.tokens)) * len(j.family) for j in self.prefilling)
        return held + sum(self.blocks_of(len(j.tokens) - 1) for j in self.running)

    @property
    def used_sequences(self) -> int:
        """Places of the batch that are taken."""
        return len(self.running) + sum(len(j.family) for j in self.prefilling)

    def step_blocks(self) -> int:
        """Blocks that one decode step takes: one for each sequence that has filled its last."""
        size = self.policy.block_tokens
        return sum((len(j.tokens) - 1) % size == 0 for j in self.running)

    # --- the queue ----------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        """A request has arrived."""
        self.waiting.append(job)

    def remove(self, job: Job) -> None:
        """The sequence has ended or was given up; what it computed stays in the prefix cache."""
        if job in self.running:
            self.running.remove(job)
        elif job in self.prefilling:
            self.prefilling.remove(job)
        elif job in self.waiting:
            self.waiting.remove(job)
        self.prefixes.drop(job.number)
        if job.sequence is not None and self.policy.prefix_caching:
            kept = job.tokens[: job.sequence.length]
            known = digests(kept, self.policy.block_tokens)
            self.prefixes.add(job.number, job.sequence, known, ended=True)
            self.prefixes.shrink(max(self.policy.kv_blocks - self.used, 0))
        job.sequence, job.ended = None, True

    def forget(self, job: Job) -> None:
        """The sequence's caches are not to be trusted: a step with it failed."""
        job.sequence = None
        self.remove(job)

    # --- the step -----------------------------------------------------------------------------------

    def plan(self) -> Plan | None:
        """The next step; None if there is nothing to do."""
        while self.running and self.step_blocks() > self.policy.kv_blocks - self.used:
            self._preempt()
        budget = self.policy.max_step_tokens - len(self.running)
        chunks: list[tuple[Job, int]] = []
        for job in self.prefilling:
            if budget <= 0:
                break
            chunks.append((job, min(len(job.tokens) - job.computed, budget)))
            budget -= chunks[-1][1]
        while self.waiting and budget > 0 and self._admissible(self.waiting[0]):
            job = self.waiting.popleft()
            self._admit(job)
            chunks.append((job, min(len(job.tokens) - job.computed, budget)))
            budget -= chunks[-1][1]
        if not chunks and not self.running:
            return None
        self.prefixes.shrink(max(self.policy.kv_blocks - self.used - self.step_blocks(), 0))
        return Plan(list(self.running), chunks)

    def _admissible(self, job: Job) -> bool:
        if self.used_sequences + len(job.family) > self.policy.max_sequences:
            return False
        need = self.blocks_of(len(job.tokens)) * len(job.family)
        return need + self.step_blocks() <= self.policy.kv_blocks - self.used

    def _admit(self, job: Job) -> None:
        """Begin the prompt, from what the prefix cache has of it."""
        first = job.preemptions == 0
        if self.policy.prefix_caching and job.prompt_logprobs is None:
            if not job.digests or not first:
                job.digests = digests(job.tokens, self.policy.block_tokens)
            donor, length = self.prefixes.find(job.digests, len(job.tokens) - 1)
            if donor is not None:
                job.sequence, job.computed = fork(donor, length), length
            if first:
                job.cached_tokens = job.computed
                self.queried += len(job.tokens)
                self.hits += job.computed
        self.prefilling.append(job)

    def _preempt(self) -> None:
        """Put the youngest running sequence back; its keys and values are computed again."""
        victim = max(self.running, key=lambda j: j.number)
        self.running.remove(victim)
        self.prefixes.drop(victim.number)
        victim.sequence, victim.computed = None, 0
        victim.preemptions += 1
        self.preemptions += 1
        line = [*self.waiting]
        insort(line, victim, key=lambda j: j.number)
        self.waiting = deque(line)

    def prefilled(self, job: Job) -> list[Job]:
        """The prompt is computed: all its choices decode from the next step on. Returns them."""
        self.prefilling.remove(job)
        family = job.family
        job.siblings = []
        assert job.sequence is not None
        for twin in family[1:]:
            twin.sequence = fork(job.sequence, job.sequence.length)
        for member in family:
            member.computed = 0
            self.running.append(member)
        if self.policy.prefix_caching:
            known = job.digests or digests(job.tokens, self.policy.block_tokens)
            self.prefixes.add(job.number, job.sequence, known)
        return family
