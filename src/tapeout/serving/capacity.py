"""The cheapest deployment that meets an objective: how many replicas, split how, batched how.

For each way of splitting the model and each batch limit, the fluid model gives a first guess of the
replicas needed; the event simulation then finds the smallest number that holds, by bisection (more
replicas never hurt: each serves a thinner share of the same requests).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from tapeout.errors import DoesNotHold, InputError
from tapeout.serving.cluster import Cluster, Deployment, Outcome, Pool
from tapeout.serving.costs import StepCosts
from tapeout.serving.deploy import Target
from tapeout.serving.fluid import Shape, steady
from tapeout.serving.policy import EnginePolicy, Routing
from tapeout.serving.requests import Requests
from tapeout.serving.slo import Objective
from tapeout.workload.parallelism import Parallelism

Progress = Callable[[str], None]


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


def cheapest(
    make: Callable[[Parallelism], Target],
    requests: Requests,
    objectives: tuple[Objective, ...],
    splits: Iterable[Parallelism],
    batches: Iterable[int] = (32, 64, 128, 256),
    max_step_tokens: int = 8192,
    max_chips: int = 4096,
    routing: Routing = "least_requests",
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Candidate]:
    """All candidates, fewest chips first; those that cannot meet the objectives last.

    Raises DoesNotHold if none does.
    """
    if not objectives:
        raise InputError("--slo", "", "nothing", "at least one objective to find a deployment for")
    found: list[Candidate] = []
    best = max_chips
    for split in splits:
        try:
            target = make(split)
            target.blocks()
        except InputError as e:
            found.append(Candidate(split, 0, None, None, None, str(e)))
            continue
        for batch in batches:
            policy = target.policy(max_sequences=batch, max_step_tokens=max(max_step_tokens, 2 * batch))
            costs = target.costs(policy, _longest(requests))
            if progress is not None:
                progress(f"{Candidate(split, batch, None, None, None).label}, batch {batch}")
            found.append(_smallest(target, policy, costs, requests, objectives, best, routing, seed))
            best = min(best, found[-1].chips or best)
    found.sort(key=lambda c: (c.chips is None, c.chips or 0, -(c.max_sequences)))
    if not found or found[0].chips is None:
        reasons = "; ".join(sorted({c.why for c in found if c.why})[:3])
        raise DoesNotHold(f"no deployment of up to {max_chips} chips meets the objectives: {reasons}")
    return found


def _longest(requests: Requests) -> int:
    return int((requests.prompt + requests.output).max()) + 1


def _smallest(
    target: Target,
    policy: EnginePolicy,
    costs: StepCosts,
    requests: Requests,
    objectives: tuple[Objective, ...],
    max_chips: int,
    routing: Routing,
    seed: int,
) -> Candidate:
    most = max_chips // target.chips

    def run(replicas: int) -> tuple[Outcome, str]:
        pool = Pool(costs, policy, replicas, target.chips)
        outcome = Cluster(Deployment((pool,), routing), objectives, seed, keep=False).run(requests)
        return outcome, holds(outcome, objectives)

    def result(replicas: int | None, outcome: Outcome | None, why: str) -> Candidate:
        chips = replicas * target.chips if replicas is not None else None
        return Candidate(target.parallelism, policy.max_sequences, replicas, chips, outcome, why)

    if most < 1:
        return result(None, None, f"one replica is {target.chips} chips, more than {max_chips}")
    guess = min(max(_guess(costs, policy, requests, objectives), 1), most)
    low, high, kept = 0, guess, None
    why = ""
    while True:  # from the guess upwards until it holds
        outcome, why = run(high)
        if not why:
            kept = outcome
            break
        low = high
        if high >= most:
            return result(None, outcome, why)
        high = min(max(high + 1, int(high * 1.3)), most)
    while high - low > 1:
        middle = (low + high) // 2
        outcome, why = run(middle)
        if why:
            low = middle
        else:
            high, kept = middle, outcome
    return result(high, kept, "")


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
