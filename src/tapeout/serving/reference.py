"""The engine of `replica`, one step at a time and with nothing clever in it: the definition the fast one is
tested against. One replica, no speculation, no disaggregation; lists instead of heaps, and every
sequence's blocks recounted whenever they are needed."""

from __future__ import annotations

from dataclasses import dataclass, field

from tapeout.serving.costs import StepCosts
from tapeout.serving.policy import EnginePolicy
from tapeout.serving.requests import Requests


@dataclass
class Job:
    """A request: `tokens` are in the cache, `produced` have come out."""

    index: int
    arrival: float
    prompt: int
    output: int
    priority: int
    prefix: tuple[int, ...]
    tokens: int = 0
    produced: int = 0
    shared: int = 0
    first_token: float = -1.0
    finish: float = -1.0
    order: tuple[int, float, int] = field(init=False)

    def __post_init__(self) -> None:
        self.order = (self.priority, self.arrival, self.index)


class Engine:
    """Token-by-token simulation of one replica; `run` returns the jobs, finished."""

    def __init__(self, costs: StepCosts, policy: EnginePolicy, prefix_tokens: int = 512) -> None:
        self.costs, self.policy, self.prefix_tokens = costs, policy, prefix_tokens
        self.waiting: list[Job] = []
        self.prefilling: list[Job] = []
        self.decoding: list[Job] = []
        self.cached: list[int] = []  # unused prefix blocks, oldest first
        self.joules = 0.0
        self.preemptions = 0

    def run(self, requests: Requests) -> list[Job]:
        """Serve all requests."""
        jobs = [Job(i, *row) for i, row in enumerate(requests.rows())]
        coming, now = list(jobs), 0.0
        while coming or self.waiting or self.prefilling or self.decoding:
            if not (self.waiting or self.prefilling or self.decoding):
                now = max(now, coming[0].arrival)
            while coming and coming[0].arrival <= now:
                self.waiting.append(coming.pop(0))
            now = self.one_step(now)
        return jobs

    # --- memory: everything recounted -----------------------------------------------------------------

    def blocks(self, job: Job, tokens: int) -> int:
        """Blocks of its own that a job with `tokens` cached tokens holds."""
        own = tokens - job.shared * self.prefix_tokens
        return -(-own // self.policy.block_tokens) + self.policy.sequence_blocks

    def in_use(self) -> set[int]:
        """Prefix blocks that some job uses."""
        return {b for job in self.prefilling + self.decoding for b in job.prefix[: job.shared]}

    def available(self) -> int:
        """Free blocks, counting cached prefixes as free."""
        held = sum(self.blocks(j, j.prompt + j.produced) for j in self.prefilling)
        held += sum(self.blocks(j, j.tokens) for j in self.decoding)
        per = self.prefix_tokens // self.policy.block_tokens
        return self.policy.kv_blocks - held - len(self.in_use()) * per

    def evict(self, coming: int = 0) -> None:
        """Drop cached prefixes, oldest first, until everything fits and `coming` blocks more."""
        per = self.prefix_tokens // self.policy.block_tokens
        while self.cached and len(self.cached) * per > self.available() - coming:
            self.cached.pop(0)

    def stop_sharing(self, job: Job, others: list[Job]) -> None:
        """The job lets go of its prefix blocks; those nobody else uses stay cached."""
        used = {b for other in others if other is not job for b in other.prefix[: other.shared]}
        self.cached += [b for b in reversed(job.prefix[: job.shared]) if b not in used]
        job.shared = 0

    def hit(self, job: Job) -> int:
        """Leading prefix blocks of the job that are cached or in use."""
        if not self.policy.prefix_caching:
            return 0
        known, count = self.in_use() | set(self.cached), 0
        while count < len(job.prefix) and job.prefix[count] in known:
            count += 1
        return min(count, (job.prompt + job.produced - 1) // self.prefix_tokens)

    def step_blocks(self) -> int:
        """New blocks that the next decode step takes."""
        return sum(self.blocks(j, j.tokens + 1) - self.blocks(j, j.tokens) for j in self.decoding)

    # --- one step -----------------------------------------------------------------------------------

    def one_step(self, now: float) -> float:
        """Plan a step, do it, and return the time at its end."""
        policy = self.policy
        together = policy.chunked_prefill
        if together or not (self.waiting or self.prefilling):
            self.make_room()
        budget = policy.max_step_tokens - (len(self.decoding) if together else 0)
        chunks: list[tuple[Job, int]] = []
        for job in self.prefilling:
            chunk = min(job.prompt + job.produced - job.tokens, budget)
            if chunk > 0:
                chunks.append((job, chunk))
                budget -= chunk
        reserve = self.step_blocks()
        while self.waiting and budget > 0:
            job = min(self.waiting, key=lambda j: j.order)
            hit = self.hit(job)
            total = job.prompt + job.produced
            need = -(-(total - hit * self.prefix_tokens) // policy.block_tokens) + policy.sequence_blocks
            pinned = len(set(job.prefix[:hit]) - self.in_use())
            room = self.available() - pinned * (self.prefix_tokens // policy.block_tokens)
            full = len(self.decoding) + len(self.prefilling) >= policy.max_sequences
            rest = total - hit * self.prefix_tokens
            if full or need + reserve > room or (not together and chunks and rest > budget):
                break
            self.waiting.remove(job)
            job.shared, job.tokens = hit, hit * self.prefix_tokens
            self.cached = [b for b in self.cached if b not in job.prefix[:hit]]
            self.prefilling.append(job)
            self.evict()
            chunk = min(rest, budget) if together else rest
            chunks.append((job, chunk))
            budget -= chunk
        if not chunks:
            self.make_room()
        decoders = list(self.decoding) if together or not chunks else []
        batch = len(decoders)
        context = sum(j.tokens for j in decoders) / batch if batch else 0.0
        if chunks:
            total = sum(c for _, c in chunks)
            visible = sum(c * (j.tokens + c / 2) for j, c in chunks) / total
            seconds, joules = self.costs.step(batch, context, total, visible)
        else:
            piece = self.costs.segment(batch, context)
            seconds = piece.seconds0 + piece.seconds1 * context
            joules = piece.joules0 + piece.joules1 * context
        if decoders:
            self.evict(self.step_blocks())
        now += seconds
        self.joules += joules
        for job in sorted(decoders, key=lambda j: j.index):
            job.tokens += 1
            job.produced += 1
            if job.produced == job.output:
                self.end(job, self.decoding, now)
        for job, chunk in chunks:
            job.tokens += chunk
            if job.tokens == job.prompt + job.produced:
                self.prefill_done(job, now)
        return now

    def make_room(self) -> None:
        """Preempt the youngest of the lowest priority until the next decode step fits."""
        while self.step_blocks() > self.available():
            victim = max(self.decoding, key=lambda j: j.order)
            self.stop_sharing(victim, self.prefilling + self.decoding)
            self.decoding.remove(victim)
            victim.tokens = 0
            self.waiting.append(victim)
            self.preemptions += 1

    def prefill_done(self, job: Job, now: float) -> None:
        """The prompt is computed: publish its prefix, produce a token, decode on or end."""
        if self.policy.prefix_caching:
            self.cached = [b for b in self.cached if b not in job.prefix]
            job.shared = len(job.prefix)
            self.evict()
        job.produced += 1
        if job.first_token < 0:
            job.first_token = now
        self.prefilling.remove(job)
        self.decoding.append(job)
        if job.produced == job.output:
            self.end(job, self.decoding, now)

    def end(self, job: Job, group: list[Job], now: float) -> None:
        """The job has produced all its tokens."""
        job.finish = now
        self.stop_sharing(job, self.prefilling + self.decoding)
        group.remove(job)
