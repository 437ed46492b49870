"""The engine: one thread that runs step after step over the sequences of all clients."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable

import numpy as np

from tapeout.errors import TapeoutError
from tapeout.serving.endpoint.backends import Backend
from tapeout.serving.endpoint.chip import Chip, Clock
from tapeout.serving.endpoint.choosing import Logits, token_logprobs
from tapeout.serving.endpoint.job import Call, Job, Output
from tapeout.serving.endpoint.metrics import Metrics
from tapeout.serving.endpoint.scheduler import Plan, Scheduler

Post = Callable[[list[tuple[Call, list[Output]]]], None]
SCORED_LOGITS = 1 << 24  # of prompts whose every token is scored, held at a time: 64 MiB
log = logging.getLogger(__name__)


class EngineThread:
    """Runs a backend. `post` is called in the thread with the outputs of each step, by call.

    `submit` and `abort` may be called from any thread; `close` lets what is under way finish unless told
    to drop it. `step_seconds` is the wall time spent in the backend, `busy_seconds` that in steps as a whole.
    """

    def __init__(
        self, backend: Backend, chip: Chip, scheduler: Scheduler, metrics: Metrics, pace: float | None = None
    ) -> None:
        self.backend, self.chip, self.scheduler, self.metrics = backend, chip, scheduler, metrics
        self.clock = Clock(pace, sleep=self._nap)
        self.post: Post = lambda batch: None
        self.steps = 0
        self.step_seconds = self.busy_seconds = 0.0
        self._inbox: deque[Job | Call] = deque()  # a job has come, or a call is to be given up
        self._news = threading.Condition()
        self._closing = self._dropping = False
        self._thread = threading.Thread(target=self._run, name="tapeout-engine", daemon=True)

    # --- any thread ---------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def submit(self, call: Call) -> None:
        """Queue every sequence of a call."""
        with self._news:
            now = time.monotonic()
            for job in call.all:
                job.wall_arrival = now
            self._inbox.extend(call.jobs)
            self._news.notify()

    def abort(self, call: Call) -> None:
        """Give a call up; nothing more is delivered for it."""
        with self._news:
            self._inbox.append(call)
            self._news.notify()

    def close(self, drop: bool = False) -> None:
        """End the thread once all work is done, or at once if `drop`."""
        with self._news:
            self._closing, self._dropping = True, drop
            self._news.notify()
        if self._thread.is_alive():
            self._thread.join()

    def _nap(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not self._dropping:
            time.sleep(min(left, 0.25))

    # --- the engine's thread ------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            with self._news:
                while not self._inbox and not self.scheduler.busy and not self._closing:
                    self._news.wait()
                if self._dropping or (self._closing and not self._inbox and not self.scheduler.busy):
                    return
                news, self._inbox = self._inbox, deque()
                now = time.monotonic()  # what comes from here on comes during the step
            for item in news:
                self._take(item)
            plan = self.scheduler.plan()
            if plan is not None:
                self._step(plan, now)
            else:
                self.metrics.gauge(self.scheduler)

    def _take(self, item: Job | Call) -> None:
        if isinstance(item, Call):
            item.aborted = True
            for job in item.all:
                if not job.ended:
                    self.scheduler.remove(job)
                    self.metrics.ended(job, "abort")
        else:
            for member in item.family:
                member.ledger.arrival = self.clock.at(member.wall_arrival)
            self.scheduler.add(item)

    def _step(self, plan: Plan, began: float) -> None:
        self.clock.begin(began)
        shape = plan.shape
        try:
            logits = self._compute(plan, began)
        except Exception as e:
            self._fail(plan, e)
            return
        computed = time.monotonic()
        self.steps += 1
        self.step_seconds += computed - began
        outputs = self._outputs(plan, logits)
        seconds, joules = self.chip.costs.step(*shape)
        self.clock.finish(seconds)
        self._book(plan, outputs, joules)
        self.metrics.step(plan, seconds, joules)
        self.metrics.gauge(self.scheduler)
        self._deliver(outputs)
        self.busy_seconds += time.monotonic() - began

    def _compute(self, plan: Plan, now: float) -> list[Logits | None]:
        """Logits after the last token of each decode and each chunk, in order; None for unfinished prompts."""
        work: list[tuple[Job, list[int]]] = [(j, j.tokens[-1:]) for j in plan.decodes]
        for job, n in plan.chunks:
            if job.sequence is None:
                job.sequence = self.backend.sequence()
            if job.ledger.start < 0:
                for member in job.family:
                    member.ledger.start, member.wall_start = self.clock.seconds, now
                    member.cached_tokens = job.cached_tokens
            work.append((job, job.tokens[job.computed : job.computed + n]))
        scored = [job.prompt_logprobs is not None and job.produced == 0 for job, _ in work]
        plain = [(j.sequence, t) for (j, t), s in zip(work, scored, strict=True) if not s and j.sequence]
        results = iter(self.backend.step(plain) if plain else [])
        return [
            self._score(job, tokens) if s else next(results)
            for (job, tokens), s in zip(work, scored, strict=True)
        ]

    def _score(self, job: Job, tokens: list[int]) -> Logits:
        """Compute a chunk of a prompt with the log-probability of each of its tokens given those before."""
        assert job.sequence is not None and job.prompt_logprobs is not None
        if not job.scored:
            job.scored.append(None)
        piece = max(SCORED_LOGITS // self.backend.model.vocabulary, 1)
        for start in range(0, len(tokens), piece):
            part = tokens[start : start + piece]
            logits = self.backend.step([(job.sequence, part)], every=True)[0]
            following = job.prompt[len(job.scored) : len(job.scored) + len(part)]
            job.scored += [
                token_logprobs(row, token, job.prompt_logprobs)
                for row, token in zip(logits, following, strict=False)
            ]
        return np.asarray(logits[-1])

    def _outputs(self, plan: Plan, logits: list[Logits | None]) -> list[Output]:
        """Tokens of the step's sequences; those that end are taken out."""
        after = iter(logits)
        outputs = [self._next(job, next(after)) for job in plan.decodes]
        for job, n in plan.chunks:
            last = next(after)
            job.computed += n
            if job.computed == len(job.tokens):
                outputs += [self._next(member, last) for member in self.scheduler.prefilled(job)]
        for output in outputs:
            if output.finish is not None:
                self.scheduler.remove(output.job)
        return outputs

    def _next(self, job: Job, logits: Logits | None) -> Output:
        assert logits is not None
        scored = job.scored if job.scored and job.produced == 0 else None
        if job.max_tokens == 0:
            return Output(job, prompt_logprobs=scored, finish="length")
        chooser = job.chooser
        token = int(np.argmax(logits)) if chooser.greedy else chooser(logits)
        chooser.took(token)
        job.tokens.append(token)
        out = Output(job, token, prompt_logprobs=scored)
        if chooser.sampling.logprobs is not None:
            out.logprobs = token_logprobs(logits, token, chooser.sampling.logprobs)
        if token in chooser.ends:
            out.finish = "stop"
            out.stop = token if token in chooser.sampling.stop_tokens else None
        else:
            out.pieces = job.reader.push(token)
            if job.reader.stopped is not None:
                out.finish, out.stop = "stop", job.reader.stopped
            elif job.produced >= job.max_tokens or len(job.tokens) >= self.backend.model.context:
                out.finish = "length"
            out.channel = job.reader.channel
        if out.finish is not None:
            out.pieces = out.pieces + job.reader.finish()
        return out

    def _book(self, plan: Plan, outputs: list[Output], joules: float) -> None:
        """Enter the step in the ledgers: energy by tokens computed, moments of first and last tokens."""
        share = joules / plan.tokens
        for job in plan.decodes:
            job.ledger.joules += share
            job.ledger.steps += 1
        for job, n in plan.chunks:
            job.ledger.joules += share * n
            job.ledger.steps += 1
        now, wall = self.clock.seconds, time.monotonic()
        for output in outputs:
            job = output.job
            if job.ledger.first_token < 0:
                job.ledger.first_token, job.wall_first = now, wall
            self.metrics.token(job, wall)
            job.wall_last = wall
            if output.finish is not None:
                job.ledger.finish = now
                self.metrics.ended(job, output.finish)

    def _deliver(self, outputs: list[Output]) -> None:
        by_call: dict[Call, list[Output]] = {}
        for output in outputs:
            if not output.job.call.aborted:
                by_call.setdefault(output.job.call, []).append(output)
        if by_call:
            self.post(list(by_call.items()))

    def _fail(self, plan: Plan, error: Exception) -> None:
        """A step failed: its sequences end in error, the rest goes on."""
        told = (
            str(error) if isinstance(error, TapeoutError) else "the engine failed on a step with this request"
        )
        log.error(
            "step failed",
            exc_info=error,
            extra={"fields": {"sequences": len(plan.decodes) + len(plan.chunks)}},
        )
        outputs = []
        for job in plan.decodes + [job for job, _ in plan.chunks]:
            family = job.family
            self.scheduler.forget(job)
            for member in family:
                member.ended = True
                self.metrics.ended(member, "error")
                outputs.append(Output(member, finish="error", failure=told))
        self._deliver(outputs)
