"""How good designs are at serving a model: each at its best operating point within the latency targets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_grid import estimate_grid
from tapeout.estimate.chip_work import ChipWork
from tapeout.model.architecture import Model
from tapeout.search.points import Points
from tapeout.search.scenario import Objective, Scenario
from tapeout.search.service import Service, serve
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Step
from tapeout.workload.parallelism import Parallelism

# watts of a chip at work [designs, points] → dollars per chip-hour
HourlyCost = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Work:
    """A model in given formats, prepared: one decoding step at every point, one mean prompt at every split.

    A prefill takes one prompt on every rank of attention data parallelism, so none of them idles.
    """

    decode: ChipWork
    prefill: ChipWork
    points: Points
    possible: NDArray[np.bool_]  # [points]: every rank has a sequence

    @staticmethod
    def of(model: Model, scenario: Scenario, points: Points, formats: Formats) -> Work:
        """Prepare `model` for all `points`."""
        grid, batch = points.grid()
        whole = scenario.prompt_tokens + scenario.output_tokens
        decode = ChipWork.of(
            model,
            Step.decode(batch.astype(float), scenario.decode_context),
            grid,
            formats,
            skew=scenario.zipf,
            # Sequences are at every stage of their life; memory is paged.
            resident_sequences=batch * np.asarray(grid.pp),
            resident_context=np.minimum(scenario.decode_context + 1, whole),
        )
        splits = points.splits()
        return Work(
            decode,
            prefill_work(model, scenario, splits, formats),
            points,
            batch >= np.asarray(grid.attention_dp),
        )


def prefill_work(model: Model, scenario: Scenario, splits: Parallelism, formats: Formats) -> ChipWork:
    """One mean prompt on every rank."""
    ranks = np.asarray(splits.attention_dp, dtype=float)
    step = Step.prefill(ranks, scenario.fresh_tokens, scenario.cached_tokens)
    return ChipWork.of(model, step, splits, formats, skew=scenario.zipf)


def service_of(
    designs: DesignArrays, work: Work, scenario: Scenario, *, threads: int = 1, dtype: Any = np.float32
) -> tuple[Service, NDArray[np.bool_]]:
    """Service of D designs (fields [D, 1]) at all P points, arrays [D, P], and where it is possible at all."""
    decode = estimate_grid(designs, work.decode, threads=threads, dtype=dtype)
    prefill = estimate_grid(designs, work.prefill, threads=threads, dtype=dtype)
    each = len(work.points.batches)
    _, batch = work.points.grid()
    service = serve(
        scenario,
        batch=batch.astype(dtype),
        chips=np.asarray(work.decode.chips, dtype=dtype),
        passes=np.asarray(work.decode.passes, dtype=dtype),
        decode_s=decode.seconds,
        decode_j=decode.joules,
        prefill_s=np.repeat(prefill.seconds, each, axis=-1),
        prefill_j=np.repeat(prefill.joules, each, axis=-1),
        prompts=np.repeat(np.asarray(work.points.attention_dp, dtype=dtype), each),
    )
    fits = np.asarray(decode.fits) & np.repeat(np.asarray(prefill.fits), each, axis=-1) & work.possible
    return service, fits


@dataclass(frozen=True, eq=False)
class Verdict:
    """Of each of D designs: its best point within the targets and what it does there. Arrays [D].

    `fits`: the model fits somewhere; `meets`: and the targets are met there. Figures are those of the best point
    that meets them; where none does, of the point that comes nearest. `least_tpot_s`: at any point.
    `excess`: how many times the nearest point is over its worse target (at most 1 where `meets`).
    """

    point: NDArray[Any]
    fits: NDArray[np.bool_]
    meets: NDArray[np.bool_]
    tpot_s: NDArray[Any]
    ttft_s: NDArray[Any]
    tokens_per_s: NDArray[Any]
    joules_per_token: NDArray[Any]
    watts: NDArray[Any]
    dollars_per_hour: NDArray[Any]
    least_tpot_s: NDArray[Any]
    excess: NDArray[Any]

    @property
    def tokens_per_joule(self) -> NDArray[Any]:
        """Which is tokens per second and watt."""
        return 1 / self.joules_per_token

    @property
    def tokens_per_dollar(self) -> NDArray[Any]:
        """Output tokens for a dollar of owning the chip."""
        return self.tokens_per_s * 3600 / self.dollars_per_hour


def merit(objective: Objective, service: Service, dollars_per_hour: NDArray[Any]) -> NDArray[Any]:
    """What the objective maximises, at every point."""
    with np.errstate(divide="ignore", invalid="ignore"):
        value = {
            "tokens_per_joule": lambda: 1 / service.joules_per_token,
            "tokens_per_dollar": lambda: service.tokens_per_s * 3600 / dollars_per_hour,
            "tokens_per_chip": lambda: service.tokens_per_s,
            "latency": lambda: 1 / service.tpot_s,
        }[objective]()
    return np.asarray(value)


def best_points(
    service: Service, fits: NDArray[np.bool_], scenario: Scenario, objective: Objective, hourly: HourlyCost
) -> Verdict:
    """Choose the point of each design: the most of the objective within the targets."""
    shape = fits.shape
    dollars = np.broadcast_to(hourly(np.asarray(service.watts)), shape)
    meets = fits & service.meets(scenario)
    value = np.where(meets, np.broadcast_to(merit(objective, service, dollars), shape), -np.inf)
    over = np.ones(shape, dtype=np.float32)
    with np.errstate(invalid="ignore"):
        if scenario.tpot_ms is not None:
            over = np.maximum(over, np.asarray(service.tpot_s) / (scenario.tpot_ms * 1e-3))
        if scenario.ttft_ms is not None:
            over = np.maximum(over, np.asarray(service.ttft_s) / (scenario.ttft_ms * 1e-3))
    over = np.where(fits & np.isfinite(over), over, np.inf)
    some = meets.any(axis=1)
    point = np.where(some, value.argmax(axis=1), over.argmin(axis=1))

    def at(values: Any) -> NDArray[Any]:
        return np.take_along_axis(np.broadcast_to(values, shape), point[:, None], axis=1)[:, 0]

    least = np.where(fits, np.broadcast_to(service.tpot_s, shape), np.inf).min(axis=1)
    return Verdict(
        point=point,
        fits=np.asarray(fits.any(axis=1)),
        meets=np.asarray(some),
        tpot_s=at(service.tpot_s),
        ttft_s=at(service.ttft_s),
        tokens_per_s=at(service.tokens_per_s),
        joules_per_token=at(service.joules_per_token),
        watts=at(service.watts),
        dollars_per_hour=at(dollars),
        least_tpot_s=least,
        excess=at(over),
    )
