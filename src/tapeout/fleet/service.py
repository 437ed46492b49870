"""What one chip serves: requests per second and watts of each accelerator for each kind of request, at the same
interactivity.

Steps are those of `serving` (calibrated for accelerators of others, under the best of the engines they were measured
with; derived from the design for ours). Prompts are computed on replicas of their own and decoding on others, as large
services do, so a request takes

    chip-seconds = chips × decode step(batch) / batch × (output - 1) + chips × prefill(chunk) / prompts
    in a chunk / load

The batch is the largest whose step is within the target of time per token when the number decoding stands at the 90th
percentile of its Poisson spread; it fits the memory. The load of the prefill replicas is the largest at which the 90th
percentile of waiting (M/G/1, exponential tail), computing, moving the cache and the first step is
within the target of time
to first token. Software that attains a share of the estimated speed makes every step longer, so the rate at the targets
falls by more than that share: it is solved at several shares and interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.spec import ChipSpec
from tapeout.errors import DoesNotHold, InputError, TapeoutError
from tapeout.estimate.engines import ENGINES
from tapeout.model import load
from tapeout.model.architecture import Model
from tapeout.serving.deploy import Target
from tapeout.serving.targets import target_maker
from tapeout.workload.capacity import cache_bytes
from tapeout.workload.operators import Step
from tapeout.workload.parallelism import Parallelism

Floats = NDArray[np.float64]
SHARES = (
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.75,
    0.9,
    1.0,
    1.15,
    1.35,
)  # of the estimated speed, at which the rate is solved
MOST_SEQUENCES = 2048
CHUNK = 8192  # prompt tokens of a prefill step
SPREAD = 1.0  # squared coefficient of variation of prompt lengths, as in public traces
P90 = 1.2816  # of the standard normal
WIRE = 50e9  # bytes/s at which a chip sends caches: one port of 400 Gb/s to the scale-out network
LEAST = (
    1e-9  # requests per second of a chip that cannot meet the targets: it is of no use, but can be counted
)
FULLEST = 0.95  # load of the prefill replicas
OLD_ENGINES = ("vllm",)  # superseded by a later generation of the same
NVIDIA_ONLY = ("trtllm",)
BATCHES = np.unique(np.rint(2 ** np.arange(0, 11.01, 0.5)))


@dataclass(frozen=True)
class Load:
    """One kind of request: mean tokens, the share of the prompt found in the cache, and targets in seconds."""

    model: str
    prompt: float
    cached: float
    output: float
    tpot: float
    ttft: float

    @property
    def fresh(self) -> float:
        """Prompt tokens computed."""
        return max(self.prompt * (1 - self.cached), 1.0)


@dataclass(frozen=True)
class Service:
    """Of one accelerator for one load, at each of `SHARES`: requests per second and chip (0 where the targets
    cannot be met) and watts of a chip at that rate; the rest at the full estimate: idle watts, chips of a decoding
    replica and its batch, how it and the prefill replica are split, percentiles of latency, share of chip-time that
    computes prompts."""

    rate: Floats
    watts: Floats
    idle_watts: float
    chips: int
    split: str
    batch: int
    tpot_p90: float
    ttft_p90: float
    prefill_share: float

    def at(self, share: Floats) -> tuple[Floats, Floats]:
        """(rate, watts) with software that attains `share` of the estimate; beyond the ends the end's."""
        rate = np.maximum(np.interp(share, SHARES, self.rate), LEAST)
        return rate, np.interp(share, SHARES, self.watts)


@dataclass(frozen=True)
class _Pool:
    """Chip-seconds and joules per request on one kind of replica, and the latency it adds."""

    chip_seconds: float
    joules: float
    latency: float
    batch: int
    label: str
    chips: int


def splits_of(model: Model) -> tuple[int, ...]:
    """Chips of a replica worth trying, by the size of the model's weights."""
    gigabytes = model.bytes / 1e9
    return (1, 2, 4, 8, 16) if gigabytes < 150 else (4, 8, 16, 32, 64)


def targets(model: Model, accelerator: str) -> Iterator[tuple[Target, str]]:
    """Every way to put the model on the accelerator that is tried, with its label."""
    make = target_maker(model, accelerator)
    device = make.device
    engines: tuple[str, ...] = ("",)
    if not isinstance(device, ChipSpec):
        without = OLD_ENGINES + (() if device.vendor == "NVIDIA" else NVIDIA_ONLY)
        engines = tuple(e for e in ENGINES if e not in without)
    for chips in splits_of(model):
        for engine in engines:
            try:
                split = _split(model, chips)
                if split is None:
                    continue
                if isinstance(device, ChipSpec):
                    target = make(split)
                else:
                    target = Target.accelerator(model, device, split, backend=engine)
                target.blocks()
            except InputError:
                continue  # the model does not fit or cannot be split so
            yield target, " ".join(x for x in (_label(split), engine) if x)


@dataclass(frozen=True)
class _Steps:
    """Steps of one way to put the model on the accelerator, for one load: seconds and joules of decoding over
    `BATCHES`, and of the step that computes `together` prompts, `passes` times for each."""

    target: Target
    label: str
    seconds: Floats
    joules: Floats
    together: int
    passes: float
    prefill_seconds: float
    prefill_joules: float
    most: int  # sequences whose caches fit
    move: float  # seconds to send a request's cache

    @staticmethod
    def of(model: Model, target: Target, label: str, load_: Load) -> _Steps:
        """Evaluate the steps."""
        ranks = int(target.parallelism.attention_dp)
        context = load_.prompt + load_.output / 2
        seconds, joules = target.evaluate(Step.decode(BATCHES, context))
        together = (
            max(min(int(CHUNK / load_.fresh), MOST_SEQUENCES) // ranks, 1) * ranks
        )  # each rank takes whole prompts
        chunk = min(load_.fresh, float(CHUNK))  # longer prompts take several steps
        passes = max(load_.fresh / chunk, 1.0)
        seen = load_.prompt * load_.cached + (load_.fresh - chunk) / 2
        one = np.ones(1)
        ps, pj = target.evaluate(Step.prefill(together * one, chunk, seen))
        blocks, fixed = target.blocks()
        moved = float(
            cache_bytes(model, load_.prompt, target.parallelism, target.formats)
        )  # of each chip of a rank
        return _Steps(
            target,
            label,
            np.broadcast_to(seconds, BATCHES.shape),
            np.broadcast_to(joules, BATCHES.shape),
            together,
            passes,
            float(np.ravel(ps)[0]),
            float(np.ravel(pj)[0]),
            min(MOST_SEQUENCES, int(blocks / (context / 16 + 0.5 + fixed))),
            moved / WIRE,
        )

    def decode(self, batch: float) -> tuple[float, float]:
        """(seconds, joules) of a decoding step, linear between the batches evaluated."""
        return float(np.interp(batch, BATCHES, self.seconds)), float(np.interp(batch, BATCHES, self.joules))


def solve(accelerator: str, load_: Load) -> Service:
    """The service of `accelerator` (a shipped chip, a chip.toml or one of the catalog) for a load.

    Raises DoesNotHold where nothing meets the targets.
    """
    model = load(load_.model)
    tried = [_Steps.of(model, target, label, load_) for target, label in targets(model, accelerator)]
    if not tried:
        raise DoesNotHold(f"{load_.model} does not fit {accelerator} on up to {max(splits_of(model))} chips")
    rate, watts, at_full = np.zeros(len(SHARES)), np.zeros(len(SHARES)), None
    for i, share in enumerate(SHARES):
        decode = _best(_decode(s, load_, share) for s in tried)
        prefill = (
            None if decode is None else _best(_prefill(s, share, load_.ttft - decode.latency) for s in tried)
        )
        if decode is None or prefill is None:
            continue
        seconds = decode.chip_seconds + prefill.chip_seconds
        rate[i], watts[i] = 1 / seconds, (decode.joules + prefill.joules) / seconds
        if share == 1.0:
            at_full = decode, prefill
    if at_full is None:
        raise DoesNotHold(
            f"{accelerator} cannot serve {load_.model} at {load_.tpot * 1e3:g} ms a token and "
            f"{load_.ttft:g} s to the first"
        )
    d, p = at_full
    return Service(
        rate,
        watts,
        tried[0].target.idle_watts,
        d.chips,
        f"decode {d.label}, prefill {p.label}",
        d.batch,
        d.latency,
        d.latency + p.latency,
        p.chip_seconds / (p.chip_seconds + d.chip_seconds),
    )


def _best(pools: Iterator[_Pool | None]) -> _Pool | None:
    found = [p for p in pools if p is not None]
    return min(found, key=lambda p: p.chip_seconds) if found else None


def _decode(s: _Steps, load_: Load, share: float) -> _Pool | None:
    """The decoding replica at its largest batch within the target, or None."""

    def crowded(batch: int) -> float:
        return s.decode(min(batch + P90 * math.sqrt(batch), s.most))[0] / share

    low, high = 0, s.most
    while low < high:  # the step grows with the batch
        middle = (low + high + 1) // 2
        low, high = (middle, high) if crowded(middle) <= load_.tpot else (low, middle - 1)
    if low < int(s.target.parallelism.attention_dp):
        return None
    seconds, joules = s.decode(low)
    steps = max(load_.output - 1, 1.0) / low
    chips = s.target.chips
    idle = s.target.idle_watts * chips * seconds * (1 / share - 1)
    return _Pool(
        chips * seconds / share * steps, max(joules + idle, 0.0) * steps, crowded(low), low, s.label, chips
    )


def _prefill(s: _Steps, share: float, room: float) -> _Pool | None:
    """The prefill replica at its fullest load within `room` seconds to the first token, or None."""
    service = s.prefill_seconds * s.passes / share
    left = room - service - s.move - s.target.entry_seconds
    if left <= 0:
        return None

    def wait(load: float) -> float:
        return service * (1 + SPREAD) / 2 / (1 - load) * max(math.log(10 * load), 0.0)

    low, high = 0.05, FULLEST
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if wait(middle) <= left else (low, middle)
    chips = s.target.chips
    idle = s.target.idle_watts * chips * service * (1 / low - share)
    return _Pool(
        chips * service / s.together / low,
        max(s.prefill_joules * s.passes + idle, 0.0) / s.together,
        room - left + wait(low),
        s.together,
        s.label,
        chips,
    )


def _label(p: Parallelism) -> str:
    names = (("tp", p.tp), ("ep", p.ep), ("attention-dp", p.attention_dp))
    return " ".join(f"{n}{int(v)}" for n, v in names if int(v) != 1) or "tp1"


def _split(model: Model, chips: int) -> Parallelism | None:
    """Experts dealt over all chips and attention in groups of eight, else plain tensor parallelism."""
    tensor = min(chips, 8)
    for p in (Parallelism(tp=tensor, ep=chips, attention_dp=chips // tensor), Parallelism(tp=chips)):
        try:
            p.check(model)
        except InputError:
            continue  # this model cannot be split so
        return p
    return None


def solve_all(
    accelerators: Mapping[str, str], loads: Mapping[str, Load], pool: Executor | None = None
) -> dict[tuple[str, str], Service]:
    """Every accelerator {name: target} for every load {class: load}."""
    jobs = {(a, c): (accelerators[a], loads[c]) for a in accelerators for c in loads}
    new = [j for j in dict.fromkeys(jobs.values()) if j not in _SOLVED or j[0].endswith(".toml")]
    each = (pool.map if pool is not None else map)(_guarded, [j[0] for j in new], [j[1] for j in new])
    for job, found in zip(new, each, strict=True):
        if isinstance(found, str):  # not every error can travel between processes
            raise DoesNotHold(found)
        _SOLVED[job] = found
    return {pair: _SOLVED[job] for pair, job in jobs.items()}


_SOLVED: dict[tuple[str, Load], Service] = {}  # what shipped accelerators serve does not change; files may


def _guarded(accelerator: str, load_: Load) -> Service | str:
    """`solve`, its error as text."""
    try:
        return solve(accelerator, load_)
    except TapeoutError as e:
        return str(e)
