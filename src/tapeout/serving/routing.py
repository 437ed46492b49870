"""Which replica a request goes to. A policy is a class with `choose`; its name is in `policy.ROUTINGS`."""

from __future__ import annotations

from collections.abc import Sequence as Ordered
from typing import Protocol

import numpy as np

from tapeout.serving.policy import Routing
from tapeout.serving.replica import Replica
from tapeout.serving.sequence import Sequence


class Router(Protocol):
    """Chooses among the replicas that are up (never empty)."""

    def choose(self, sequence: Sequence, replicas: Ordered[Replica]) -> Replica:
        """The replica for `sequence`."""


class RoundRobin:
    """One after the other."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.next = 0

    def choose(self, sequence: Sequence, replicas: Ordered[Replica]) -> Replica:
        """The replica after the last chosen one."""
        self.next += 1
        return replicas[(self.next - 1) % len(replicas)]


class Random:
    """Uniformly at random, by seed."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def choose(self, sequence: Sequence, replicas: Ordered[Replica]) -> Replica:
        """Any replica."""
        return replicas[int(self.rng.integers(len(replicas)))]


class LeastRequests:
    """Fewest requests outstanding; ties to the first."""

    def __init__(self, rng: np.random.Generator) -> None:
        pass

    def choose(self, sequence: Sequence, replicas: Ordered[Replica]) -> Replica:
        """The least loaded by count."""
        return min(replicas, key=lambda r: r.outstanding)


class LeastTokens:
    """Fewest tokens cached and queued; ties to the first."""

    def __init__(self, rng: np.random.Generator) -> None:
        pass

    def choose(self, sequence: Sequence, replicas: Ordered[Replica]) -> Replica:
        """The least loaded by tokens."""
        return min(replicas, key=lambda r: r.load_tokens)


class PowerOfTwo:
    """The less loaded of two drawn at random (Mitzenmacher, 2001)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng

    def choose(self, sequence: Sequence, replicas: Ordered[Replica]) -> Replica:
        """The less loaded of two."""
        one, other = (replicas[int(i)] for i in self.rng.integers(len(replicas), size=2))
        return one if one.outstanding <= other.outstanding else other


class PrefixAffinity:
    """The replica whose cache holds most of the prompt, unless it is much busier than the least busy one:
    then that one (cache-aware routing as in SGLang's router, arXiv 2312.07104)."""

    slack = 8  # requests by which the preferred replica may lead the least loaded one

    def __init__(self, rng: np.random.Generator) -> None:
        pass

    def choose(self, sequence: Sequence, replicas: Ordered[Replica]) -> Replica:
        """The best match within the slack."""
        idlest = min(replicas, key=lambda r: r.outstanding)
        if not sequence.prefix:
            return idlest
        limit = idlest.outstanding + self.slack
        near = [r for r in replicas if r.outstanding <= limit]
        return max(near, key=lambda r: (r.cache.hit(sequence.prefix), -r.outstanding))


_ROUTERS: dict[Routing, type[Router]] = {
    "round_robin": RoundRobin,
    "random": Random,
    "least_requests": LeastRequests,
    "least_tokens": LeastTokens,
    "power_of_two": PowerOfTwo,
    "prefix_affinity": PrefixAffinity,
}


def router(name: Routing, rng: np.random.Generator) -> Router:
    """The router of that name."""
    return _ROUTERS[name](rng)  # type: ignore[call-arg]
