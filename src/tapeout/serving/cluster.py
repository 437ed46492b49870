"""A deployment under load: replicas, a router before them, and one clock.

The events are arrivals, the ends of what replicas do, KV transfers (where prefill and decode are separate),
failures and repairs. At equal times arrivals come first, so that a step begins with all that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any

import numpy as np

from tapeout.errors import InputError
from tapeout.serving.costs import StepCosts
from tapeout.serving.policy import Admission, EnginePolicy, Failures, Routing
from tapeout.serving.records import Recorder
from tapeout.serving.replica import NEVER, Replica, Role
from tapeout.serving.requests import Requests
from tapeout.serving.routing import router
from tapeout.serving.sequence import Sequence
from tapeout.serving.slo import Objective
from tapeout.serving.synthetic import ClosedLoop

Row = tuple[float, int, int, int, tuple[int, ...]]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Pool:
    """`replicas` equal replicas of `chips` chips each. `role`: both, or one half of a disaggregated pair."""

    costs: StepCosts
    policy: EnginePolicy
    replicas: int = 1
    chips: int = 1
    role: Role = "both"


@dataclass(frozen=True)
class Transfer:
    """How a prefilled sequence's KV reaches its decode replica: latency plus bytes over bandwidth."""

    bytes_per_token: float
    bytes_per_sequence: float = 0.0
    bandwidth: float = 50e9
    latency_s: float = 1e-3

    def seconds(self, tokens: int) -> float:
        """Seconds for a sequence of `tokens` cached tokens."""
        return self.latency_s + (self.bytes_per_sequence + self.bytes_per_token * tokens) / self.bandwidth


@dataclass(frozen=True)
class Deployment:
    """Pools behind one router. Either one pool with role "both", or one "prefill" and one "decode" pool
    and the `transfer` between them."""

    pools: tuple[Pool, ...]
    routing: Routing = "least_requests"
    transfer: Transfer | None = None
    entry_seconds: float = 0.0  # from a request's arrival until an engine sees it
    admission: Admission = Admission()
    failures: Failures = Failures()

    def __post_init__(self) -> None:
        roles = sorted(pool.role for pool in self.pools)
        if roles not in (["both"], ["decode", "prefill"]):
            raise InputError(
                "deployment", "pools", roles, "one pool of both, or one of prefill and one of decode"
            )
        if len(roles) == 2 and self.transfer is None:
            raise InputError("deployment", "transfer", None, "how KV reaches the decode pool")
        for pool in self.pools:
            if pool.replicas < 1 or pool.chips < 1:
                raise InputError("deployment", "replicas, chips", (pool.replicas, pool.chips), "at least 1")

    @property
    def chips(self) -> int:
        """Chips in all pools."""
        return sum(pool.replicas * pool.chips for pool in self.pools)


@dataclass
class Outcome:
    """The end of a simulation. Times in seconds from the first arrival, energy in joules of the chips."""

    requests: int
    refused: int
    failed: int
    seconds: float
    chips: int
    joules: float
    idle_joules: float
    records: Recorder
    replicas: tuple[Replica, ...]
    pool_chips: tuple[int, ...]  # chips of each replica
    timeline: dict[str, list[float]] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Any]:
        """The results for programs: latencies, throughput, goodput, utilisation, energy."""
        r, span = self.records, max(self.seconds, 1e-12)
        tokens = max(r.output_tokens, 1)
        total = self.joules + self.idle_joules
        quantiles = {
            name: {f"p{q:g}": 1e3 * getattr(r, name).quantile(q / 100) for q in (50, 90, 95, 99)}
            | {"mean": 1e3 * getattr(r, name).mean}
            for name in ("ttft", "tpot", "e2e")
        }
        count = len(self.replicas)
        return {
            "requests": self.requests,
            "finished": r.finished,
            "refused": self.refused,
            "failed": self.failed,
            "seconds": self.seconds,
            "requests_per_second": r.finished / span,
            "output_tokens_per_second": r.output_tokens / span,
            "goodput_requests_per_second": r.good / span,
            "goodput_tokens_per_second": r.good_tokens / span,
            "goodput_share": r.good / max(self.requests, 1),
            **{f"{name}_ms": _plain(values) for name, values in quantiles.items()},
            "chips": self.chips,
            "output_tokens_per_second_per_chip": r.output_tokens / span / self.chips,
            "utilisation": sum(p.busy_seconds for p in self.replicas) / span / count,
            "mean_batch": sum(p.batch_seconds for p in self.replicas)
            / max(sum(p.busy_seconds for p in self.replicas), 1e-12),
            "kv_occupancy": sum(p.blocks_seconds / p.policy.kv_blocks for p in self.replicas) / span / count,
            "prefix_hit_share": sum(p.cached for p in self.replicas)
            / max(sum(p.cached + p.prefilled for p in self.replicas), 1),
            "preemptions": sum(p.preemptions for p in self.replicas),
            "recomputed_tokens": sum(p.recomputed for p in self.replicas),
            "joules": total,
            "joules_per_output_token": total / tokens,
            "mean_watts_per_chip": total / span / self.chips,
        }


def _plain(values: dict[str, float]) -> dict[str, float | None]:
    return {k: (v if np.isfinite(v) else None) for k, v in values.items()}


class Cluster:
    """One simulation of a deployment. Make it, `run` it once."""

    def __init__(
        self,
        deployment: Deployment,
        objectives: tuple[Objective, ...] = (),
        seed: int = 0,
        keep: bool = True,
        audit: bool = False,
        prefix_tokens: int = 512,
    ) -> None:
        self.deployment, self.audit = deployment, audit
        self.rng = np.random.default_rng([seed, 1])
        self.front: list[Replica] = []  # take new requests
        self.back: list[Replica] = []  # decode what the front has prefilled
        self.pool_chips: list[int] = []
        for pool in deployment.pools:
            for _ in range(pool.replicas):
                number = len(self.pool_chips)
                rng = np.random.default_rng([seed, 2, number])
                replica = Replica(number, pool.costs, pool.policy, rng, pool.role, prefix_tokens)
                (self.back if pool.role == "decode" else self.front).append(replica)
                self.pool_chips.append(pool.chips)
        self.replicas = sorted(self.front + self.back, key=lambda r: r.number)
        self.routers = {
            id(group): router(deployment.routing, self.rng) for group in (self.front, self.back) if group
        }
        self.records = Recorder(objectives, keep)
        self.events: list[tuple[float, int, int, Any]] = []  # (time, tie-breaker, version, replica or action)
        self.ticket = 0
        self.refused = self.failed = self.arrived = self.in_flight = 0
        self.thinking = 0  # clients of a closed loop that are about to send
        self.now = 0.0
        self._on_end: Callable[[float], None] | None = None

    def run(self, load: Requests | ClosedLoop | Iterable[Row], progress: Progress | None = None) -> Outcome:
        """Serve the whole load. An iterable of rows (arrival, prompt, output, priority, prefix) in order of
        arrival is consumed as time goes, so a load of any length needs bounded memory."""
        rows: Iterator[Row]
        if isinstance(load, ClosedLoop):
            source = _ClosedSource(self, load)
            self._on_end = source.next_after
            source.start()
            rows = iter(())
        else:
            rows = load.rows() if isinstance(load, Requests) else iter(load)
        for replica in self.replicas:
            self._draw_failure(replica, 0.0)
        upcoming = next(rows, None)
        events = self.events
        while upcoming is not None or self.in_flight or self.thinking:
            when = upcoming[0] if upcoming is not None else NEVER
            if upcoming is not None and (not events or when <= events[0][0]):
                self.now = when
                self._arrive(Sequence(self.arrived, *upcoming))
                upcoming = next(rows, None)
            elif events:
                time, _, version, target = heappop(events)
                if isinstance(target, Replica):
                    if target.version != version:
                        continue
                    self.now = time
                    self._complete(target)
                else:
                    self.now = time
                    target()
            else:
                raise AssertionError("requests in flight and nothing under way")
            if self.audit:
                self.check()
            if progress is not None and self.arrived % 1024 == 0:
                progress(self.records.finished + len(self.records._buffer))
        self.records.flush()
        if self.audit:
            self.check_end()
        return self._outcome()

    # --- events -------------------------------------------------------------------------------------

    def _push(self, replica: Replica) -> None:
        if replica.event < NEVER:
            self.ticket += 1
            heappush(self.events, (replica.event, self.ticket, replica.version, replica))

    def _at(self, time: float, action: Callable[[], None]) -> None:
        self.ticket += 1
        heappush(self.events, (time, self.ticket, 0, action))

    def _arrive(self, sequence: Sequence) -> None:
        self.arrived += 1
        self.in_flight += 1
        entry = self.deployment.entry_seconds
        if entry > 0:
            self._at(self.now + entry, lambda: self._route(sequence, self.front))
        else:
            self._route(sequence, self.front)

    def _route(self, sequence: Sequence, group: list[Replica]) -> None:
        up = group if all(r.up for r in group) else [r for r in group if r.up]
        if not up:
            repair = self.deployment.failures.restart_seconds
            self._at(self.now + repair, lambda: self._route(sequence, group))
            return
        replica = up[0] if len(up) == 1 else self.routers[id(group)].choose(sequence, up)
        limit = self.deployment.admission.max_waiting
        full = limit is not None and group is self.front and len(replica.waiting) >= limit
        if full or replica.refuses(sequence):
            self.refused += 1
            self._ended()
            return
        version = replica.version
        replica.arrive(sequence, self.now)
        if replica.version != version:
            self._push(replica)

    def _complete(self, replica: Replica) -> None:
        finished, moved = replica.complete()
        self._push(replica)
        for sequence in finished:
            self.records.add(sequence, self.now)
            self._ended()
        for sequence in moved:
            self._move(replica, sequence)

    def _move(self, origin: Replica, sequence: Sequence) -> None:
        transfer = self.deployment.transfer
        assert transfer is not None
        arrival = self.now + transfer.seconds(sequence.prompt)
        life = origin.cache  # a failed origin has a new cache: then there is nothing to free

        def arrived() -> None:
            if origin.cache is life:
                version = origin.version
                origin.release(sequence, self.now)
                if origin.version != version:
                    self._push(origin)
            sequence.ready = True
            self._route(sequence, self.back)

        self._at(arrival, arrived)

    def _ended(self) -> None:
        self.in_flight -= 1
        if self._on_end is not None:
            self._on_end(self.now)

    def _draw_failure(self, replica: Replica, now: float) -> None:
        mtbf = self.deployment.failures.mtbf_seconds
        if mtbf < NEVER:
            self._at(now + float(self.rng.exponential(mtbf)), lambda: self._fail(replica))

    def _fail(self, replica: Replica) -> None:
        failures = self.deployment.failures
        lost = replica.fail(self.now)

        def repaired() -> None:
            replica.up = True
            self._draw_failure(replica, self.now)

        self._at(self.now + failures.restart_seconds, repaired)
        for sequence in lost:
            sequence.retries += 1
            sequence.generated = sequence.computed = sequence.private = sequence.shared = 0
            sequence.ready, sequence.first_token = False, -1.0
            if sequence.retries > failures.retries:
                self.failed += 1
                self._ended()
            else:
                self._route(sequence, self.front)

    # --- results and checks -------------------------------------------------------------------------

    def _outcome(self) -> Outcome:
        end = max(self.now, self.records.last_finish)
        idle = sum((end - r.busy_seconds) * r.costs.idle_watts for r in self.replicas)
        return Outcome(
            self.arrived,
            self.refused,
            self.failed,
            end,
            self.deployment.chips,
            sum(r.joules for r in self.replicas),
            idle,
            self.records,
            tuple(self.replicas),
            tuple(self.pool_chips),
        )

    def check(self) -> None:
        """Conservation at any event: blocks held are those of the sequences held, and nobody is lost."""
        for r in self.replicas:
            held = [s for _, s in r.running.values()] + r.prefilling
            if r.role != "prefill":
                expected = sum(self._blocks_held(r, s) for s in held)
                taken = r._step_blocks() if r._chunks and r._steps else 0  # of the mixed step under way
                assert r.cache.private == expected + taken, (r.cache.private, expected, taken)
                pins: dict[int, int] = {}
                for s in held:
                    for block in s.prefix[: s.shared]:
                        pins[block] = pins.get(block, 0) + 1
                assert pins == r.cache.references
            assert r.cache.used <= r.cache.blocks
            assert sum(r.residues) == len(r.running) <= r.policy.max_sequences
        done = self.records.finished + len(self.records._buffer) + self.refused + self.failed
        assert done + self.in_flight == self.arrived

    @staticmethod
    def _blocks_held(r: Replica, s: Sequence) -> int:
        if s.index not in r.running or r.drafts:
            return s.private
        return r.cache.blocks_of(s.base + r.step - s.shared * r.cache.prefix_tokens)

    def check_end(self) -> None:
        """Conservation at the end: every token that came out was produced once and every block is free."""
        assert all(r.cache.private == 0 and not r.cache.references for r in self.replicas)
        produced = sum(r.decoded for r in self.replicas)
        assert produced == self.records.output_tokens + sum(r.lost for r in self.replicas)
        done = self.records.finished + self.refused + self.failed
        assert done == self.arrived and self.in_flight == 0


class _ClosedSource:
    """Sends the requests of a closed loop: one per client, the next when one ends."""

    def __init__(self, cluster: Cluster, loop: ClosedLoop) -> None:
        self.cluster, self.loop = cluster, loop
        self.rows = loop.requests().rows()
        self.left = loop.count

    def start(self) -> None:
        for _ in range(min(self.loop.clients, self.loop.count)):
            self.send(0.0)

    def next_after(self, now: float) -> None:
        if self.left:
            self.send(now + self.loop.think_seconds)

    def send(self, when: float) -> None:
        self.left -= 1
        _, prompt, output, priority, prefix = next(self.rows)

        def arrive() -> None:
            cluster = self.cluster
            cluster.thinking -= 1
            cluster._arrive(Sequence(cluster.arrived, when, prompt, output, priority, prefix))

        self.cluster.thinking += 1
        self.cluster._at(when, arrive)
