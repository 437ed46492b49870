"""Fitting the accelerator model to published measurements.

Serving rows give the sustained fractions, kernel overheads and engines; energy rows the power model. The step
operators do not depend on the parameters, only (weakly) on the batch, so they are packed once per pass and the
fit evaluates arrays. Deterministic; seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.accelerators import machine
from tapeout.estimate.engines import Engine, engine
from tapeout.estimate.least_squares import Fit, least_squares
from tapeout.estimate.machine import Machine
from tapeout.estimate.packed import Packed, pack, seconds
from tapeout.estimate.parameters import ENGINE, HARDWARE, Parameters
from tapeout.estimate.prediction import arrays, groups, predict_points
from tapeout.estimate.published import Point, Row
from tapeout.estimate.serving_point import batch_limit, next_batch, steps

Array = NDArray[np.float64]

TPOT_SCALE = 0.08  # a residual of this size (logarithm) is one standard deviation
TTFT_SCALE = 0.5  # looser: what clients, tokenisers and queues add is in no equation
FITTED = tuple(p for p in HARDWARE + ENGINE if p.fitted)


@dataclass(frozen=True, eq=False)
class Problem:
    """Serving points with their operators packed at a given batch; everything but the parameters."""

    points: tuple[Point, ...]
    setting: NDArray[np.intp]  # of each point
    firsts: tuple[int, ...]  # a point of each setting
    decode: Packed
    mixed: Packed
    batch: Array
    chunks: Array
    prompt: Array
    output: Array
    concurrency: Array
    ranks: Array
    passes: Array

    def machines(self, parameters: Parameters) -> tuple[list[Machine], list[Engine]]:
        """Machine and engine of each setting."""
        engines = [engine(self.points[i].engine, parameters) for i in self.firsts]
        sheets = [self.points[i].accelerator for i in self.firsts]
        return [machine(s, parameters, e) for s, e in zip(sheets, engines, strict=True)], engines

    def times(self, parameters: Parameters) -> tuple[Array, Array]:
        """(tpot, ttft) of every point at the packed batch, as `serving_point.times` defines them."""
        machines, engines = self.machines(parameters)

        def of(name: str) -> Array:
            return np.array([getattr(e, name) for e in engines])[self.setting]

        host = of("step_s") + of("sequence_s") * self.batch / self.ranks
        decode = seconds(self.decode, machines) + host
        mixed = seconds(self.mixed, machines) + host + of("eager_s") * self.mixed.kernels
        extra = np.maximum(mixed - decode, 0.0)
        carried = self.batch / self.output / self.passes
        tpot = self.passes * (decode + carried * self.chunks * extra)
        first = of("first_s") + self.passes * (0.5 * decode + self.chunks * mixed)
        return tpot, first + of("wave") * self.concurrency * self.chunks * mixed


def build(points: Sequence[Point], parameters: Parameters, batch: Array | None = None) -> Problem:
    """Pack `points` at `batch` (that of `parameters`' prediction by default)."""
    if batch is None:
        batch = predict_points(points, parameters).batch
    decode, mixed, firsts = [], [], []
    setting = np.zeros(len(points), dtype=np.intp)
    chunks = np.ones(len(points))
    for n, where in enumerate(groups(points).values()):
        chosen = [points[i] for i in where]
        e = engine(chosen[0].engine, parameters)
        m = machine(chosen[0].accelerator, parameters, e)
        load, parallelism = arrays(chosen)
        at = np.array(where, dtype=np.intp)
        s = steps(m, e, chosen[0].model, chosen[0].formats, parallelism, load, batch[at])
        decode.append(pack(s.decode, m, n, at, len(points)))
        mixed.append(pack(s.mixed, m, n, at, len(points)))
        setting[at], chunks[at] = n, s.chunks
        firsts.append(where[0])
    load, parallelism = arrays(points)
    return Problem(
        tuple(points), setting, tuple(firsts), Packed.join(decode), Packed.join(mixed), batch, chunks,
        np.asarray(load.prompt_tokens), np.asarray(load.output_tokens), np.asarray(load.concurrency),
        np.asarray(parallelism.attention_dp * parallelism.pp), np.asarray(parallelism.pp),
    )  # fmt: skip


def measured(rows: Sequence[Row], name: str) -> Array:
    """What was measured, NaN where it was not."""
    return np.array([r.measured.get(name, np.nan) for r in rows])


def fit(
    problem: Problem, rows: Sequence[Row], keep: NDArray[np.bool_], start: Parameters | None = None
) -> Fit:
    """Fit to the rows where `keep`; the result's x are the logarithms of `FITTED`."""
    tpot, ttft = measured(rows, "tpot_s"), measured(rows, "ttft_s")
    use_tpot, use_ttft = keep & np.isfinite(tpot), keep & np.isfinite(ttft)
    base = Parameters.priors()
    prior = np.log([p.prior for p in FITTED])

    def residuals(x: Array) -> Array:
        predicted = problem.times(unpacked(base, x))
        with np.errstate(invalid="ignore"):
            return np.concatenate(
                [
                    np.log(predicted[0][use_tpot] / tpot[use_tpot]) / TPOT_SCALE,
                    np.log(predicted[1][use_ttft] / ttft[use_ttft]) / TTFT_SCALE,
                ]
            )

    begin = None if start is None else np.log([start.values[p.name] for p in FITTED])
    return least_squares(
        residuals, prior, np.array([p.spread for p in FITTED]), start=begin, iterations=25, tolerance=1e-4
    )


def unpacked(base: Parameters, x: Array) -> Parameters:
    """`base` with the fitted parameters at exp(x)."""
    return base.replaced({p.name: float(v) for p, v in zip(FITTED, np.exp(x), strict=True)})


def calibrate_serving(rows: Sequence[Row], passes: int = 2) -> tuple[Parameters, Problem]:
    """Parameters fitted to all serving `rows` that have a point, and the packed problem at the end."""
    usable = [r for r in rows if r.point is not None]
    points = [r.point for r in usable if r.point is not None]
    parameters = Parameters.priors()
    everything = np.ones(len(points), dtype=bool)
    found: Fit | None = None
    for _ in range(passes):
        problem = build(points, parameters)
        found = fit(problem, usable, everything, start=parameters)
        parameters = unpacked(Parameters.priors(), found.x)
    assert found is not None
    deviations = {**Parameters.priors().deviations}
    deviations |= {p.name: float(s) for p, s in zip(FITTED, found.deviation, strict=True)}
    return Parameters(parameters.values, deviations), build(points, parameters)


__all__ = ["FITTED", "Problem", "batch_limit", "build", "calibrate_serving", "fit", "next_batch", "unpacked"]
