"""The cheapest deployment that meets an objective: how many replicas, split how, batched how.

For each way of splitting the model and each batch limit, the fluid model gives a first guess of the
replicas needed; the event simulation then finds the smallest number that holds, by bisection (more
replicas never hurt: each serves a thinner share of the same requests).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tapeout.errors import DoesNotHold, InputError, Phrase
from tapeout.parallel import mapped
from tapeout.serving.cluster import Cluster, Deployment, Outcome, Pool
from tapeout.serving.costs import StepCosts
from tapeout.serving.deploy import Target
from tapeout.serving.fluid import Shape, steady
from tapeout.serving.policy import EnginePolicy, Routing
from tapeout.serving.requests import Requests
from tapeout.serving.slo import Objective
from tapeout.workload.parallelism import Parallelism


@dataclass(frozen=True)
class Candidate:
    """A deployment that was tried: `replicas` of `parallelism` with engines limited to `max_sequences`.

    `chips` is None, and `why` says why, where no number of replicas meets the objectives."""

    parallelism: Parallelism
    max_sequences: int
    replicas: int | None
    chips: int | None
    outcome: Outcome | None
    why: str = ""

    @property
    def label(self) -> str:
        """How the model is split, in the terms of serving engines."""
        p = self.parallelism
        names = (("tp", p.tp), ("ep", p.ep), ("pp", p.pp), ("attention-dp", p.attention_dp))
        return " ".join(f"{name}{int(value)}" for name, value in names if value != 1) or "tp1"

    def summary(self) -> dict[str, Any]:
        """For tables and JSON."""
        figures = self.outcome.figures if self.outcome else {}
        return {
            "parallelism": self.label,
            "max_sequences": self.max_sequences,
            "replicas": self.replicas,
            "chips": self.chips,
            "why": self.why,
            "ttft_p99_ms": figures.get("ttft_ms", {}).get("p99"),
            "tpot_p99_ms": figures.get("tpot_ms", {}).get("p99"),
            "joules_per_output_token": figures.get("joules_per_output_token"),
        }


def holds(outcome: Outcome, objectives: tuple[Objective, ...]) -> str:
    """The first objective that `outcome` misses, in words; empty if it meets all and served everything."""
    if outcome.refused or outcome.failed:
        return f"{outcome.refused + outcome.failed} of {outcome.requests} requests were not served"
    for o in objectives:
        measured = outcome.records.statistic(o)
        if math.isfinite(measured) and measured > o.limit:
            return f"{o.metric} {o.statistic} is {measured * 1e3:.4g} ms, more than {o.limit * 1e3:g} ms"
    return ""


@dataclass(frozen=True)
class Search:
    """What to look for: everything but the way the model is split."""

    make: Callable[[Parallelism], Target]
    requests: Requests
    objectives: tuple[Objective, ...]
    batches: tuple[int, ...] = (32, 64, 128, 256)
    max_step_tokens: int = 8192
    max_chips: int = 4096
    routing: Routing = "least_requests"
    seed: int = 0

    def split(self, parallelism: Parallelism) -> list[Candidate]:
        """The candidates of one way of splitting the model, one for each batch limit."""
        try:
            target = self.make(parallelism)
            target.blocks()
        except InputError as e:
            return [Candidate(parallelism, 0, None, None, None, str(e))]
        found: list[Candidate] = []
        best = self.max_chips
        for batch in self.batches:
            tokens = max(self.max_step_tokens, 2 * batch)
            policy = target.policy(max_sequences=batch, max_step_tokens=tokens)
            costs = target.costs(policy, _longest(self.requests))
            found.append(self._smallest(target, policy, costs, best))
            best = min(best, found[-1].chips or best)
        return found

    def _smallest(self, target: Target, policy: EnginePolicy, costs: StepCosts, max_chips: int) -> Candidate:
        """The fewest replicas of `target` that hold, up to `max_chips` chips."""
        most = max_chips // target.chips

        def run(replicas: int) -> tuple[Outcome, str]:
            pool = Pool(costs, policy, replicas, target.chips)
            deployment = Deployment((pool,), self.routing, entry_seconds=target.entry_seconds)
            outcome = Cluster(deployment, self.objectives, self.seed, keep=False).run(self.requests)
            return outcome, holds(outcome, self.objectives)

        def result(replicas: int | None, outcome: Outcome | None, why: str) -> Candidate:
            chips = replicas * target.chips if replicas is not None else None
            return Candidate(target.parallelism, policy.max_sequences, replicas, chips, outcome, why)

        if most < 1:
            return result(None, None, f"one replica is {target.chips} chips, more than {max_chips}")
        guess = min(max(_guess(costs, policy, self.requests, self.objectives), 1), most)
        low, high = 0, guess
        kept, why = run(high)
        while why:  # from the guess upwards until it holds
            if high >= most:
                return result(None, kept, why)
            low, high = high, min(max(high + 1, int(high * 1.3)), most)
            kept, why = run(high)
        while high - low > 1:
            middle = (low + high) // 2
            outcome, why = run(middle)
            if why:
                low = middle
            else:
                high, kept = middle, outcome
        return result(high, kept, "")


def cheapest(
    search: Search, splits: Sequence[Parallelism], workers: int = 1, ray: str | None = None
) -> list[Candidate]:
    """All candidates over `splits`, fewest chips first; those that cannot meet the objectives last. Splits are
    tried in parallel by `workers` processes, or on the Ray cluster at `ray`.

    Raises DoesNotHold if none meets the objectives.
    """
    if not search.objectives:
        raise InputError("--slo", "", Phrase("nothing"), "at least one objective to find a deployment for")
    found = [c for part in mapped(search.split, splits, workers, ray) for c in part]
    found.sort(key=lambda c: (c.chips is None, c.chips or 0, -c.max_sequences))
    if not found or found[0].chips is None:
        reasons = "; ".join(sorted({c.why for c in found if c.why})[:3])
        raise DoesNotHold(f"no deployment of up to {search.max_chips} chips meets the objectives: {reasons}")
    return found


def _longest(requests: Requests) -> int:
    return int((requests.prompt + requests.output).max()) + 1


def _guess(
    costs: StepCosts, policy: EnginePolicy, requests: Requests, objectives: tuple[Objective, ...]
) -> int:
    """Replicas at which the fluid model meets the objectives, for a smooth load of the same mean rate."""
    shape, total = Shape.of(requests, samples=4096), requests.rate
    if not math.isfinite(total):
        return 1
    replicas = 1
    while replicas < 1 << 16:
        state = steady(costs, policy, shape, total / replicas)
        if not state.overloaded:
            quantiles = state.quantiles()
            fine = all(
                quantiles[o.metric].get(o.statistic, 0.0) <= o.limit
                for o in objectives
                if o.metric in quantiles
            )
            if fine:
                return replicas
            if replicas > 16 and state.batch < 0.5:
                return replicas  # more will not help
        replicas = max(replicas + 1, int(replicas * 1.25))
    return replicas
