"""A fluid model of a replica: routing, batching and KV as rates, no events.

A replica under continuous batching is a processor-sharing queue: with i sequences decoding, each gets a token
every T(i) seconds, T(i) being the mean step, prompts of others included. For Poisson arrivals the number in
service then has the stationary distribution

    π(i) ∝ Π_{j ≤ i} λ · m · T(j) / min(j, c)

with λ the rate, m the mean tokens decoded and c the largest batch, whatever the distribution of lengths
(insensitivity of processor sharing: Cohen, Acta Informatica 12, 1979; Kelly, Reversibility and Stochastic
Networks, 1979). A step that finds new prompts takes longer; the number of prompts in a step is Poisson. Latencies
are those of a request arriving in that state (PASTA). Where the rate exceeds what the replica sustains,
it serves what it can and the rest queues.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError, Phrase
from tapeout.serving.costs import StepCosts
from tapeout.serving.policy import EnginePolicy
from tapeout.serving.requests import Requests
from tapeout.serving.slo import Objective

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Shape:
    """What requests look like, apart from how many there are: joint samples of lengths, equally likely.

    prompt, output: [n] tokens; cached: [n] prompt tokens found in the prefix cache.
    """

    prompt: Floats
    output: Floats
    cached: Floats

    @staticmethod
    def of(requests: Requests, cached_share: float = 0.0, samples: int = 65_536) -> Shape:
        """The shape of a load, thinned evenly to at most `samples` requests."""
        n = len(requests)
        if n == 0:
            raise InputError(requests.source, "", Phrase("no requests"), "at least one")
        rows = np.unique(np.linspace(0, n - 1, min(n, samples)).astype(int))
        prompt = requests.prompt[rows].astype(float)
        return Shape(
            prompt, requests.output[rows].astype(float), np.minimum(prompt * cached_share, prompt - 1)
        )

    @cached_property
    def decoded(self) -> float:
        """Mean tokens produced by decode steps: all but the first."""
        return float(np.mean(self.output - 1))

    @cached_property
    def computed(self) -> float:
        """Mean prompt tokens computed."""
        return float(np.mean(self.prompt - self.cached))

    @cached_property
    def context(self) -> float:
        """Mean cached tokens of a decoding sequence, over its steps."""
        steps = self.output - 1
        total = float(np.sum(steps))
        return (
            float(np.sum(steps * (self.prompt + (steps - 1) / 2)) / total)
            if total
            else float(self.prompt.mean())
        )

    @cached_property
    def visible(self) -> float:
        """Mean earlier tokens that a computed prompt token sees."""
        new = self.prompt - self.cached
        return float(np.sum(new * (self.cached + new / 2)) / np.sum(new))


@dataclass(frozen=True)
class Steady:
    """A replica at `rate` requests per second, in steady state.

    served: requests per second actually served. By number of sequences decoding, [c+1] each (those beyond c
    wait, and count into the last): `states`, their probability; `decode_s`, a step without prompts; `base_s`
    and `token_s`, what a step with prompts takes at all and for each prompt token; `mixed`, the share of
    steps with prompts; `step_s`, the mean step. waiting: mean requests queued; watts: mean, idle included; busy:
    share of time.
    """

    rate: float
    served: float
    states: Floats
    decode_s: Floats
    base_s: Floats
    token_s: Floats
    mixed: Floats
    step_s: Floats
    waiting: float
    watts: float
    busy: float
    room: int  # prompt tokens that a step has room for
    shape: Shape

    @property
    def overloaded(self) -> bool:
        """Whether more arrives than is served: the queue grows without end."""
        return self.served < self.rate * (1 - 1e-9)

    @property
    def batch(self) -> float:
        """Mean sequences decoding."""
        return float(self.states @ np.arange(len(self.states)))

    def samples(self, count: int = 40_000, seed: int = 0) -> dict[str, Floats]:
        """Latencies of `count` requests, seconds, drawn from the stationary state: ttft, tpot (NaN for
        one-token answers), e2e. Under overload the wait in the queue is infinite."""
        rng = np.random.default_rng(seed)
        state = rng.choice(len(self.states), count, p=self.states)
        pick = rng.integers(len(self.shape.prompt), size=count)
        first, own = self._first(rng, state, pick)
        ttft = self._wait(rng, state) + first
        tpot = self._tpot(rng, state, self.shape.output[pick], own)
        e2e = ttft + np.nan_to_num(tpot) * (self.shape.output[pick] - 1)
        return {"ttft": ttft, "tpot": tpot, "e2e": e2e}

    def _prompts(self, rng: np.random.Generator, count: NDArray[np.int64]) -> Floats:
        """[n] total computed prompt tokens of `count` random requests each."""
        sizes = self.shape.prompt - self.shape.cached
        owner = np.repeat(np.arange(len(count)), count)
        return np.bincount(owner, rng.choice(sizes, len(owner)), len(count)).astype(float)

    def _length(self, state: NDArray[np.int64], chunk: Floats) -> Floats:
        """Seconds of the steps that compute `chunk` prompt tokens, decoding along; more than there is room for
        takes more steps."""
        more = np.maximum(np.ceil(chunk / self.room) - 1, 0)
        mixed = self.base_s[state] + self.token_s[state] * chunk + more * self.base_s[state]
        return np.where(chunk > 0, mixed, self.decode_s[state])

    def _first(
        self, rng: np.random.Generator, state: NDArray[np.int64], pick: NDArray[np.int64]
    ) -> tuple[Floats, Floats]:
        """From reaching the front of the queue to the first token: the rest of the step under way, then the
        step with one's own prompt and those that came during the same step; and the length of the latter."""
        rate, sizes = self.served, self.shape.prompt - self.shape.cached
        # the step under way computes the prompts that came during the one before it, as far as it has room:
        # a few rounds settle the succession
        length, backlog = self.step_s[state].copy(), np.zeros(len(state))
        length[state == 0] = 0.0
        for _ in range(12):
            backlog = backlog + self._prompts(rng, rng.poisson(rate * length))
            chunk = np.minimum(backlog, self.room)
            length = self._length(state, chunk)
            backlog = backlog - chunk
        # long steps are met more often: resample within the requests that met the same number decoding
        order = np.argsort(state, kind="stable")
        edges = np.searchsorted(state[order], np.arange(len(self.states) + 1))
        for i in range(1, len(self.states)):
            rows = order[edges[i] : edges[i + 1]]
            if len(rows):
                drawn = rng.choice(rows, len(rows), p=length[rows] / length[rows].sum())
                length[rows], backlog[rows] = length[drawn], backlog[drawn]
        # with nobody decoding there is a step under way only while a prompt is computed
        idle = state == 0
        alone = self._length(state, rng.choice(sizes, len(state)))
        computing = rng.random(len(state)) < rate * alone / (1 + rate * alone)
        length = np.where(idle, np.where(computing, alone, 0.0), length)
        others = np.where(idle, 0.0, backlog) + self._prompts(rng, rng.poisson(rate * length))
        own = self._length(state, sizes[pick] + others)
        return length * rng.random(len(state)) + own, own

    def _wait(self, rng: np.random.Generator, state: NDArray[np.int64]) -> Floats:
        """Time in the queue before there is a place in the batch."""
        wait = np.zeros(len(state))
        if self.overloaded:
            wait[:] = math.inf
        elif self.waiting > 0:
            blocked = state == len(self.states) - 1
            mean = self.waiting / self.rate / self.states[-1]  # Little's law, over those that wait
            wait[blocked] = rng.exponential(mean, int(blocked.sum()))
        return wait

    def _tpot(
        self, rng: np.random.Generator, state: NDArray[np.int64], tokens: Floats, first: Floats
    ) -> Floats:
        """Mean step over a request's life: the batch it joins, which drifts while it decodes, and the prompts
        that come: during its own first step, during its decode steps, and during the time that those prompts
        take (a branching process, so prompts come in bursts)."""
        full = len(self.states) - 1
        steps = np.maximum(tokens - 1, 1)
        joined = np.minimum(state + 1, full)
        after = np.minimum(np.arange(full + 1) + 1, full)
        typical = float(self.states @ self.decode_s[after])
        deviation = math.sqrt(float(self.states @ (self.decode_s[after] - typical) ** 2))
        # the batch relaxes to its mean at the rate at which sequences end, slowed by longer steps
        i = max(min(round(self.batch), full - 1), 1)
        slope = i * (self.step_s[min(i + 1, full)] - self.step_s[i]) / self.step_s[i] if full > i else 0.0
        life = steps / max(self.shape.decoded, 1.0) * max(1 - slope, 0.02)
        memory = -np.expm1(-life) / life
        variance = np.maximum(2 * (life + np.expm1(-life)) / life**2 - memory**2, 0.0)
        level = typical + (self.decode_s[joined] - typical) * memory
        level = level + deviation * np.sqrt(variance) * rng.standard_normal(len(state))
        level = np.maximum(level, self.decode_s[1])
        start = np.maximum(self.base_s[joined] - self.decode_s[joined], 0.0)  # of a step with prompts at all
        spent, born = np.zeros(len(state)), first + steps * level
        for _ in range(12):
            arrivals = rng.poisson(self.served * born)
            born = self.token_s[joined] * self._prompts(rng, arrivals) + start * arrivals
            spent += born
            if not born.any():
                break
        return np.where(tokens > 1, level + spent / steps, np.nan)

    def quantiles(self, levels: tuple[float, ...] = (0.5, 0.9, 0.95, 0.99)) -> dict[str, dict[str, float]]:
        """Latency quantiles, seconds, by metric and level ("p50", …)."""
        drawn = {name: values[~np.isnan(values)] for name, values in self.samples().items()}
        return {
            name: {f"p{100 * q:g}": float(np.quantile(v, q, method="higher")) for q in levels}
            for name, v in drawn.items()
            if len(v)
        }

    def goodput(self, objectives: tuple[Objective, ...]) -> float:
        """Requests per second that meet every objective's limit."""
        drawn = self.samples()
        good = np.ones(len(drawn["ttft"]), bool)
        for o in objectives:
            with np.errstate(invalid="ignore"):
                good &= ~(drawn[o.metric] > o.limit)
        return self.served * float(good.mean())


def steady(costs: StepCosts, policy: EnginePolicy, shape: Shape, rate: float) -> Steady:
    """The stationary state of one replica that receives `rate` requests per second."""
    if not 0 <= rate < math.inf:
        raise InputError("fluid model", "rate", rate, "requests per second from 0")
    batch = _largest_batch(policy, shape)
    served, waiting = rate, 0.0
    table = _table(costs, policy, shape, rate, batch)
    step = table[:, 4]
    factors = rate * shape.decoded * step[1:] / np.arange(1, batch + 1)
    last = rate * shape.decoded * step[-1] / batch  # load of the full batch
    if last >= 1:  # overload: always full, and prompts come as fast as sequences end
        states = np.zeros(batch + 1)
        states[-1] = 1.0
        served, waiting = _saturated(costs, policy, shape, batch), math.inf
        table = _table(costs, policy, shape, served, batch)
    else:
        log = np.concatenate([[0.0], np.cumsum(np.log(np.maximum(factors, 1e-300)))])
        states = np.exp(log - log.max())
        tail = states[-1] * last / (1 - last)  # states beyond the full batch
        waiting = tail / (1 - last) / (states.sum() + tail)
        states[-1] += tail
        states /= states.sum()
    decode, base, token, mixed, step, joules, prompt_s = table.T
    watts = joules / step
    # with nobody decoding, prompts come alone: busy for prompt_s, then idle for 1/rate on average
    computing = prompt_s[0] * served / (1 + prompt_s[0] * served)
    busy = float(1 - states[0] * (1 - computing))
    watts[0] = (joules[0] * served + costs.idle_watts) / (1 + prompt_s[0] * served)
    room = max(policy.max_step_tokens - batch, 1)
    return Steady(
        rate, served, states, decode, base, token, mixed, step, waiting, float(states @ watts), busy, room, shape
    )  # fmt: skip


def _largest_batch(policy: EnginePolicy, shape: Shape) -> int:
    """Sequences that the scheduler and the KV blocks allow at once."""
    held = shape.context / policy.block_tokens + 0.5 + policy.sequence_blocks
    return max(min(policy.max_sequences, int(policy.kv_blocks / held)), 1)


def _table(costs: StepCosts, policy: EnginePolicy, shape: Shape, rate: float, batch: int) -> Floats:
    """[batch+1, 7]: `_state` for every number decoding."""
    return np.array([_state(costs, policy, shape, rate, i) for i in range(batch + 1)])


def _state(
    costs: StepCosts, policy: EnginePolicy, shape: Shape, rate: float, batch: int
) -> tuple[float, float, float, float, float, float, float]:
    """With `batch` decoding: seconds of a decode step; seconds of a step with prompts, at all and per prompt
    token; the share of steps with prompts; seconds and joules of the mean step; seconds of the mean step with
    prompts."""
    context = shape.context if batch else 0.0
    decode, decode_joules = costs.step(batch, context, 0.0, 0.0) if batch else (0.0, 0.0)
    room = max(policy.max_step_tokens - batch, 1)
    step, share, chunk = decode, 1.0, min(shape.computed, room)
    mixed, work = costs.step(batch, context, chunk, shape.visible)
    if batch:
        for _ in range(100):
            arrivals = rate * step
            share = -math.expm1(-arrivals)
            chunk = shape.computed * arrivals / share if arrivals > 1e-12 else shape.computed
            if chunk > room:  # prompts take several steps
                share, chunk = min(share * chunk / room, 1.0), room
            mixed, work = costs.step(batch, context, chunk, shape.visible)
            before, step = step, (1 - share) * decode + share * mixed
            if abs(step - before) <= 1e-9 * step:
                break
    half, _ = costs.step(batch, context, chunk / 2, shape.visible)
    token = max((mixed - half) / (chunk / 2), 0.0)
    base = max(mixed - token * chunk, 0.0)
    if not batch:
        return mixed, base, token, 1.0, mixed, work, mixed
    return decode, base, token, share, step, (1 - share) * decode_joules + share * work, mixed


def _saturated(costs: StepCosts, policy: EnginePolicy, shape: Shape, batch: int) -> float:
    """Requests per second that a replica sustains with its batch always full."""
    low, high = 0.0, batch / max(shape.decoded, 1.0) / max(costs.step(batch, shape.context, 0, 0)[0], 1e-12)
    for _ in range(60):
        rate = (low + high) / 2
        step = _state(costs, policy, shape, rate, batch)[4]
        if rate * max(shape.decoded, 1e-12) * step < batch:
            low = rate
        else:
            high = rate
    return low
