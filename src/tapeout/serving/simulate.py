"""`tapeout.simulate`: a model on some chips under some load, in one call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tapeout.errors import InputError
from tapeout.model import load as load_model
from tapeout.model.architecture import Model
from tapeout.serving import traces
from tapeout.serving.cluster import Cluster, Deployment, Outcome, Pool, Transfer
from tapeout.serving.deploy import Target
from tapeout.serving.policy import Admission, Failures, Routing, Speculation
from tapeout.serving.requests import Requests
from tapeout.serving.slo import Objective, parse
from tapeout.serving.synthetic import ClosedLoop
from tapeout.serving.targets import target_maker
from tapeout.workload.formats import bytes_of
from tapeout.workload.parallelism import Parallelism


@dataclass(frozen=True)
class SimulationResult:
    """What came of it: `figures` for programs, `outcome` for everything else."""

    model: str
    target: str
    parallelism: Parallelism
    replicas: int
    load: dict[str, Any]
    objectives: tuple[Objective, ...]
    outcome: Outcome

    @property
    def met(self) -> dict[str, bool]:
        """Whether each objective holds."""
        records = self.outcome.records
        return {str(o): not records.statistic(o) > o.limit for o in self.objectives}

    @property
    def figures(self) -> dict[str, Any]:
        """One object with the deployment, the load and what was measured."""
        p = self.parallelism
        return {
            "model": self.model,
            "target": self.target,
            "chips": self.outcome.chips,
            "replicas": self.replicas,
            "parallelism": {n: int(getattr(p, n)) for n in ("tp", "ep", "pp", "attention_dp")},
            "load": self.load,
            "objectives": self.met,
            **self.outcome.figures,
        }


def simulate(
    model: str | Path | Model,
    target: str | Path,
    load: Requests | ClosedLoop | str | Path,
    *,
    chips: int | None = None,
    slo: str = "",
    parallelism: Parallelism | None = None,
    max_sequences: int = 256,
    max_step_tokens: int = 8192,
    chunked_prefill: bool = True,
    prefix_caching: bool = True,
    routing: Routing = "least_requests",
    speculation: Speculation | None = None,
    split: tuple[int, int] | None = None,
    network_gigabytes_per_second: float = 50.0,
    admission: Admission | None = None,
    failures: Failures | None = None,
    seed: int = 0,
    keep: bool = True,
    progress: Callable[[int], None] | None = None,
) -> SimulationResult:
    """Serve `load` with `model` on `chips` chips of `target`.

    target: a chip.toml, a shipped chip or an accelerator of the catalog. load: requests, a closed loop, or a
    trace file. chips: None for one replica. parallelism: of one replica; None: tensor parallel over the
    fewest chips that leave a third of their memory for the cache. split: (prefill replicas, decode
    replicas) of a disaggregated deployment, whose KV travels at `network_gigabytes_per_second` per sequence.

    Raises InputError for anything that cannot be: a model that does not fit, chips that make no whole replica.

    >>> from tapeout import simulate
    >>> from tapeout.serving.synthetic import Lengths, poisson
    >>> load = poisson(200, 4.0, Lengths(500), Lengths(100))
    >>> simulate("gpt-oss-20b", "flagship", load, slo="ttft p99 < 1s").met
    {'ttft p99 < 1000ms': True}
    """
    known = model if isinstance(model, Model) else load_model(model)
    requests = traces.read(Path(load)) if isinstance(load, str | Path) else load
    objectives = parse(slo) if slo else ()
    make = target_maker(known, target)
    p = parallelism or smallest(make)
    found = make(p)
    policy = found.policy(max_sequences, max_step_tokens, speculation, chunked_prefill, prefix_caching)
    costs = found.costs(policy)
    replicas = _replicas(chips, found, split)
    transfer = None
    if split is None:
        pools: tuple[Pool, ...] = (Pool(costs, policy, replicas, found.chips),)
    else:
        pools = (
            Pool(costs, policy, split[0], found.chips, "prefill"),
            Pool(costs, policy, split[1], found.chips, "decode"),
        )
        bandwidth = network_gigabytes_per_second * 1e9
        per_token = (
            known.cache_bytes_per_token(None, "bf16") * bytes_of(found.formats.cache) / bytes_of("bf16")
        )
        transfer = Transfer(per_token, 0.0, bandwidth)
    deployment = Deployment(
        pools, routing, transfer, found.entry_seconds, admission or Admission(), failures or Failures()
    )
    prefix_tokens = requests.prefix_block if isinstance(requests, Requests) else 512
    cluster = Cluster(deployment, objectives, seed, keep, prefix_tokens=prefix_tokens)
    outcome = cluster.run(requests, progress)
    summary = requests.summary() | {"source": requests.source} if isinstance(requests, Requests) else {
        "clients": requests.clients, "requests": requests.count, "think_seconds": requests.think_seconds,
    }  # fmt: skip
    return SimulationResult(known.name, found.name, p, replicas, summary, objectives, outcome)


def smallest(make: Callable[[Parallelism], Target], keep_free: float = 1 / 3) -> Parallelism:
    """Tensor parallelism over the fewest chips that leave `keep_free` of their memory for the cache."""
    last: InputError | None = None
    tight: Parallelism | None = None  # holds the weights, but leaves little for the cache
    for tp in (1, 2, 4, 8, 16, 32, 64, 128):
        p = Parallelism(tp=tp)
        try:
            target = make(p)
            target.blocks()
        except InputError as e:
            last = e if last is None or "memory for" in str(e) else last
            continue
        tight = p
        if target.weight_share <= 1 - keep_free:
            return p
    if tight is not None:
        return tight
    assert last is not None
    raise last


def _replicas(chips: int | None, target: Target, split: tuple[int, int] | None) -> int:
    if split is not None:
        if min(split) < 1:
            raise InputError(
                "--split", "", f"{split[0]}:{split[1]}", "at least 1 prefill and 1 decode replica"
            )
        if chips is not None and sum(split) * target.chips != chips:
            need = f"{sum(split) * target.chips}, as {split[0]} + {split[1]} replicas of {target.chips} chips need"
            raise InputError("--chips", "", chips, need)
        return sum(split)
    if chips is None:
        return 1
    if chips < 1 or chips % target.chips:
        raise InputError("--chips", "", chips, f"a multiple of the {target.chips} chips of one replica")
    return chips // target.chips
