"""One model replica under continuous batching, stepped by the events that change its batch.

Between two such events (an arrival that can be admitted, the end of a sequence, running out of KV blocks,
a kink in the step cost) every decode step holds the same sequences, so `n` of them are advanced at once:
their time is affine in the context, and the sum has a closed form. `reference.py` is the same engine
one step at a time; the tests hold the two equal request by request.
"""

from __future__ import annotations

import math
from heapq import heapify, heappop, heappush
from typing import Literal

import numpy as np

from tapeout.serving.costs import StepCosts
from tapeout.serving.memory import PagedCache
from tapeout.serving.policy import EnginePolicy
from tapeout.serving.sequence import Sequence

Role = Literal["both", "prefill", "decode"]
NEVER = math.inf


class Replica:
    """A replica and what it is doing until `event` (seconds; NEVER when idle).

    The cluster calls `arrive` when a request reaches it and `complete` when `event` comes; after either,
    `event` may have changed.
    """

    def __init__(
        self,
        number: int,
        costs: StepCosts,
        policy: EnginePolicy,
        rng: np.random.Generator,
        role: Role = "both",
        prefix_tokens: int = 512,
    ) -> None:
        self.number, self.costs, self.policy, self.rng, self.role = number, costs, policy, rng, role
        self.cache = PagedCache(policy.kv_blocks, policy.block_tokens, policy.sequence_blocks, prefix_tokens)
        self.drafts = policy.speculation.drafts
        self.growth = (
            policy.speculation.tokens_per_step if self.drafts else 1.0
        )  # tokens per sequence and step
        self.waiting: list[tuple[int, float, int, Sequence]] = []  # heap by Sequence.order
        self.prefilling: list[Sequence] = []
        self.running: dict[int, tuple[int, Sequence]] = {}  # index → (decode step at whose end it is done, …)
        self.ends: list[tuple[int, int]] = []  # heap of (end step, index); entries not in `running` are stale
        self.residues = [0] * policy.block_tokens  # decoding sequences by base modulo the block
        self.context = 0.0  # cached tokens of all decoding sequences
        self.step = 0  # decode steps done
        self.event = NEVER
        self.version = 0  # of `event`: stale entries of the cluster's queue carry an older one
        self._chunks: list[tuple[Sequence, int]] = []  # of the step under way
        self._steps = 0  # decode steps under way
        self._start = 0.0
        self._price = (0.0, 0.0)  # (seconds, joules) of the mixed step under way
        self.up = True
        # totals, for conservation checks and metrics
        self.busy_seconds = self.joules = 0.0
        self.prefilled = self.decoded = self.recomputed = self.cached = 0  # tokens
        self.lost = 0  # tokens that were produced and died with the replica
        self.preemptions = self.steps = 0
        self.decode_seconds = self.batch_seconds = self.blocks_seconds = 0.0

    @property
    def outstanding(self) -> int:
        """Requests in this replica, waiting ones included."""
        return len(self.waiting) + len(self.prefilling) + len(self.running)

    @property
    def load_tokens(self) -> float:
        """Tokens in the cache and prompts still to compute: what the router balances."""
        queued = sum(entry[3].total_prompt for entry in self.waiting)
        return self.context + queued + sum(s.total_prompt for s in self.prefilling)

    def refuses(self, sequence: Sequence) -> bool:
        """Whether the sequence could never run here, even alone."""
        blocks = self.cache.blocks_of(sequence.prompt + sequence.output + self.drafts)
        too_long = not self.policy.chunked_prefill and sequence.prompt > self.policy.max_step_tokens * 64
        return blocks > self.policy.kv_blocks or too_long

    # --- events -------------------------------------------------------------------------------------

    def arrive(self, sequence: Sequence, now: float) -> None:
        """A request (or one prefilled elsewhere) reaches the replica."""
        sequence.replica = self.number
        heappush(self.waiting, (*sequence.order, sequence))
        if self.event == NEVER:
            self._schedule(now)  # plans once all that arrive at this instant are here
        elif self._steps > 1 and self.waiting[0][3] is sequence and self._admissible(sequence):
            self._truncate(now)

    def complete(self) -> tuple[list[Sequence], list[Sequence]]:
        """`event` has come: book the work under way and begin the next. Returns the finished sequences and
        those whose prefill is done on a prefill-only replica."""
        now = self.event
        finished: list[Sequence] = []
        moved: list[Sequence] = []
        if self._steps or self._chunks:
            self._book(now, finished, moved)
        self._plan(now)
        return finished, moved

    def release(self, sequence: Sequence, now: float) -> None:
        """The KV of a moved sequence has left: its blocks are free."""
        self._free(sequence, sequence.total_prompt - 1)
        if self.event == NEVER and self.waiting:
            self._schedule(now)

    def fail(self, now: float) -> list[Sequence]:
        """The replica goes down: returns all that it held, to be started over elsewhere."""
        for _, sequence in self.running.values():
            produced = self._produced(sequence)
            self.decoded += produced - sequence.generated
            sequence.generated = produced
        lost = [entry[3] for entry in self.waiting] + self.prefilling + [s for _, s in self.running.values()]
        self.lost += sum(s.generated for s in lost)
        if self._steps or self._chunks:
            self._account(now - self._start, 0.0)
        self.waiting, self.prefilling, self.running, self.ends = [], [], {}, []
        self.residues = [0] * self.policy.block_tokens
        self.context, self._steps, self._chunks, self.up = 0.0, 0, [], False
        prefix = self.cache.prefix_tokens
        self.cache = PagedCache(
            self.policy.kv_blocks, self.policy.block_tokens, self.policy.sequence_blocks, prefix
        )
        self._schedule(NEVER)
        return sorted(lost, key=lambda s: s.order)

    # --- planning -----------------------------------------------------------------------------------

    def _schedule(self, event: float) -> None:
        self.event = event
        self.version += 1

    def _plan(self, now: float) -> None:
        self._start, self._steps, self._chunks = now, 0, []
        if (self.waiting or self.prefilling) and self._plan_prefill(now):
            return
        if self.running:
            self._plan_decode(now)
        else:
            self._schedule(NEVER)

    def _plan_decode(self, now: float) -> None:
        limit = 1 << 60
        while (blocks := self.block_limit()) == 0:
            self._preempt()
            limit = 1  # a place in the batch is free: somebody who waits may fit after this step
        batch, context = len(self.running), self.context / len(self.running)
        segment = self.costs.segment(batch, context)
        ends, running = self.ends, self.running
        while running.get(ends[0][1], (-1,))[0] != ends[0][0]:
            heappop(ends)
        steps = min(ends[0][0] - self.step, blocks, limit)
        if segment.end < NEVER:
            steps = min(steps, max(math.ceil((segment.end - context) / self.growth), 1))
        self._steps, self._segment, self._mean = steps, segment, context
        self._schedule(now + self._duration(steps))

    def _duration(self, steps: int) -> float:
        mean = self._mean + self.growth * (steps - 1) / 2
        return steps * (self._segment.seconds0 + self._segment.seconds1 * mean)

    def _truncate(self, now: float) -> None:
        """End the run of decode steps with the first step that ends at `now` or later."""
        a = self._segment.seconds0 + self._segment.seconds1 * (self._mean - self.growth / 2)
        b = self._segment.seconds1 * self.growth / 2
        elapsed = now - self._start
        # steps × (a + b × steps) = elapsed
        root = (
            elapsed / a
            if abs(b) < 1e-12 * a
            else (math.sqrt(max(a * a + 4 * b * elapsed, 0.0)) - a) / (2 * b)
        )
        steps = max(min(int(root), self._steps), 1)
        while steps > 1 and self._start + self._duration(steps - 1) >= now:
            steps -= 1
        while steps < self._steps and self._start + self._duration(steps) < now:
            steps += 1
        if steps < self._steps:
            self._steps = steps
            self._schedule(self._start + self._duration(steps))

    def _plan_prefill(self, now: float) -> bool:
        """Admit what fits and begin a step with prompts in it; False if there is none to compute."""
        policy, cache = self.policy, self.cache
        if self.running and policy.chunked_prefill:
            while self._step_blocks() > cache.available:
                self._preempt()
        budget = policy.max_step_tokens
        if policy.chunked_prefill:
            budget -= len(self.running) * (1 + self.drafts)
        chunks: list[tuple[Sequence, int]] = []
        for sequence in self.prefilling:
            chunk = min(sequence.total_prompt - sequence.computed, budget)
            if chunk <= 0:
                break
            chunks.append((sequence, chunk))
            budget -= chunk
        while self.waiting and budget > 0 and self._admissible(self.waiting[0][3]):
            sequence = self.waiting[0][3]
            rest = sequence.total_prompt - self._hit(sequence) * cache.prefix_tokens
            if not policy.chunked_prefill and not sequence.ready and rest > budget and chunks:
                break
            heappop(self.waiting)
            self._admit(sequence)
            if sequence.ready:
                self._join(sequence, sequence.computed)
                budget -= 1 + self.drafts
                continue
            chunk = min(rest, budget) if policy.chunked_prefill else rest
            self.prefilling.append(sequence)
            chunks.append((sequence, chunk))
            budget -= chunk
        if not chunks:
            return False
        total = sum(chunk for _, chunk in chunks)
        visible = sum(chunk * (s.computed + chunk / 2) for s, chunk in chunks) / total
        self._chunks = chunks
        batch = len(self.running) if policy.chunked_prefill else 0
        if batch:
            cache.take(self._step_blocks())
            self._steps = 1
        self._price = self.costs.step(batch, self.context / batch if batch else 0.0, total, visible)
        self._schedule(now + self._price[0])
        return True

    # --- admission and memory -----------------------------------------------------------------------

    def _hit(self, sequence: Sequence) -> int:
        """Leading prefix blocks found in the cache; the last token of a prompt is always computed."""
        if not sequence.prefix or not self.policy.prefix_caching or sequence.ready:
            return 0
        return min(self.cache.hit(sequence.prefix), (sequence.total_prompt - 1) // self.cache.prefix_tokens)

    def _need(self, sequence: Sequence, hit: int) -> int:
        """Private blocks to admit a sequence whose first `hit` prefix blocks are shared."""
        tokens = sequence.total_prompt - sequence.ready - hit * self.cache.prefix_tokens
        if self.drafts:  # speculation: a sequence grows by more than a token a step, so all is reserved
            tokens += sequence.output - sequence.generated + self.drafts
        return self.cache.blocks_of(tokens)

    def _admissible(self, sequence: Sequence) -> bool:
        """Whether the sequence could be admitted now, beside what a decode step of the batch takes."""
        if len(self.running) + len(self.prefilling) >= self.policy.max_sequences:
            return False
        hit = self._hit(sequence)
        need = self._need(sequence, hit) + self._step_blocks()
        return self.cache.fits(need, sequence.prefix, hit)

    def _admit(self, sequence: Sequence) -> None:
        hit = self._hit(sequence)
        sequence.private = self._need(sequence, hit)
        sequence.shared = hit
        self.cache.pin(sequence.prefix[:hit])
        self.cache.take(sequence.private)
        if sequence.ready:
            sequence.computed = sequence.total_prompt - 1
            return
        sequence.computed = hit * self.cache.prefix_tokens
        if sequence.preemptions == 0:
            sequence.cached_tokens = sequence.computed
            self.cached += sequence.computed

    def _step_blocks(self) -> int:
        """Blocks that one decode step of the batch takes: one for each sequence at the end of its last one."""
        return self.residues[-self.step % self.policy.block_tokens] if not self.drafts else 0

    def blocks_for(self, steps: int) -> int:
        """Blocks that the next `steps` decode steps take."""
        if self.drafts:
            return 0
        size = self.policy.block_tokens
        whole, rest = divmod(steps, size)
        start = -self.step
        return whole * len(self.running) + sum(self.residues[(start - i) % size] for i in range(rest))

    def block_limit(self) -> int:
        """How many decode steps the free blocks allow."""
        available = self.cache.available
        if self.drafts:
            return 1 << 60
        size, batch = self.policy.block_tokens, len(self.running)
        whole, left = divmod(available, batch)
        steps = whole * size
        for i in range(size):
            left -= self.residues[(-self.step - i) % size]
            if left < 0:
                break
            steps += 1
        return steps

    def _preempt(self) -> None:
        """Push the youngest sequence of the lowest priority back to the queue; its cache is recomputed."""
        _, victim = max(self.running.values(), key=lambda entry: entry[1].order)
        produced = self._produced(victim)
        self.decoded += produced - victim.generated
        victim.generated = produced
        self._leave(victim)
        victim.computed = 0
        victim.ready = False
        victim.preemptions += 1
        self.preemptions += 1
        heappush(self.waiting, (*victim.order, victim))

    def _produced(self, sequence: Sequence) -> int:
        """Tokens that a decoding sequence has produced (under speculation: when it began decoding)."""
        left = self.running[sequence.index][0] - self.step
        return sequence.generated if self.drafts else sequence.output - left

    # --- work done ----------------------------------------------------------------------------------

    def _account(self, seconds: float, joules: float) -> None:
        self.busy_seconds += seconds
        self.joules += joules
        self.batch_seconds += seconds * len(self.running)
        self.blocks_seconds += seconds * self.cache.used

    def _book(self, now: float, finished: list[Sequence], moved: list[Sequence]) -> None:
        steps, batch = self._steps, len(self.running)
        if self._chunks:
            self._account(*self._price)
            self.steps += 1
        else:
            joules = self._segment.joules0 + self._segment.joules1 * (
                self._mean + self.growth * (steps - 1) / 2
            )
            self._account(now - self._start, steps * joules)
            self.cache.take(self.blocks_for(steps))
            self.steps += steps
            self.decode_seconds += now - self._start
        if steps:
            self.step += steps
            self.context += steps * batch * self.growth
            self._finish_due(finished)
        for sequence, chunk in self._chunks:
            sequence.computed += chunk
            again = sequence.preemptions > 0
            self.recomputed += chunk if again else 0
            self.prefilled += 0 if again else chunk
            if sequence.computed == sequence.total_prompt:
                self._prefill_done(sequence, now, finished, moved)

    def _finish_due(self, finished: list[Sequence]) -> None:
        ends, running = self.ends, self.running
        while ends and (ends[0][0] <= self.step or ends[0][1] not in running):
            end, index = heappop(ends)
            entry = running.get(index)
            if entry is not None and entry[0] == end:
                sequence = entry[1]
                self._leave(sequence)
                self.decoded += sequence.output - sequence.generated
                sequence.generated = sequence.output
                finished.append(sequence)

    def _prefill_done(
        self, sequence: Sequence, now: float, finished: list[Sequence], moved: list[Sequence]
    ) -> None:
        self.prefilling.remove(sequence)
        cached = sequence.total_prompt
        if self.policy.prefix_caching and len(sequence.prefix) > sequence.shared:
            fresh = sequence.prefix[sequence.shared :]
            self.cache.publish(fresh)
            sequence.private -= len(fresh) * self.cache.per_prefix
            sequence.shared = len(sequence.prefix)
        sequence.generated += 1
        self.decoded += 1
        if sequence.first_token < 0:
            sequence.first_token = now
        if sequence.generated == sequence.output:
            self._free(sequence, cached)
            finished.append(sequence)
        elif self.role == "prefill":
            moved.append(sequence)
        else:
            self._join(sequence, cached)

    def _join(self, sequence: Sequence, cached: int) -> None:
        """Begin decoding with `cached` tokens in the cache."""
        left = sequence.output - sequence.generated
        end = self.step + (self.policy.speculation.steps(left, self.rng) if self.drafts else left)
        sequence.join_step = self.step
        sequence.base = cached - self.step
        self.running[sequence.index] = (end, sequence)
        heappush(self.ends, (end, sequence.index))
        self.residues[sequence.base % self.policy.block_tokens] += 1
        self.context += cached

    def _leave(self, sequence: Sequence) -> None:
        """End decoding and free the blocks."""
        del self.running[sequence.index]
        if len(self.ends) > 2 * len(self.running) + 64:
            self.ends = [entry for entry in self.ends if entry[1] in self.running]
            heapify(self.ends)
        self.residues[sequence.base % self.policy.block_tokens] -= 1
        grown = (self.step - sequence.join_step) * self.growth
        cached = sequence.base + sequence.join_step
        self.context -= cached + grown
        if not self.running:
            self.context = 0.0  # no drift from speculation's fractional tokens
        self._free(sequence, cached + (self.step - sequence.join_step))

    def _free(self, sequence: Sequence, cached: int) -> None:
        """Give back the blocks of a sequence with `cached` tokens in the cache."""
        if self.drafts:
            blocks = sequence.private
        else:
            blocks = self.cache.blocks_of(cached - sequence.shared * self.cache.prefix_tokens)
        self.cache.give(blocks)
        self.cache.unpin(sequence.prefix[: sequence.shared])
        sequence.private = sequence.shared = 0
