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

from tapeout.estimate.accelerators import REFERENCE_RATE, REFERENCE_TDP, dense_watts, machine
from tapeout.estimate.engines import Engine, engine
from tapeout.estimate.least_squares import Fit, least_squares
from tapeout.estimate.machine import Machine
from tapeout.estimate.packed import Packed, pack, seconds
from tapeout.estimate.parameters import ENGINE, HARDWARE, POWER, Parameters
from tapeout.estimate.prediction import arrays, groups, predict_points
from tapeout.estimate.published import Point, Row
from tapeout.estimate.serving_point import batch_limit, next_batch, steps

Array = NDArray[np.float64]

TPOT_SCALE = 0.08  # a residual of this size (logarithm) is one standard deviation
JOULES_SCALE = 0.10
DENSE_SCALE = (
    0.01  # a dense product above the power limit is no prediction: the limit is enforced in hardware
)
TTFT_SCALE = 0.3  # looser: what clients, tokenisers and queues add is in no equation
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
    carrying: Array
    together: Array
    concurrency: Array
    wait_steps: Array
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
        tpot = self.passes * (decode + self.carrying * np.maximum(mixed - decode, 0.0))
        first = of("first_s") + self.passes * (
            (of("first_steps") + self.wait_steps) * decode + self.chunks * mixed
        )
        return tpot, first + of("wave") * self.concurrency * self.chunks * mixed / self.together


def build(points: Sequence[Point], parameters: Parameters, batch: Array | None = None) -> Problem:
    """Pack `points` at `batch` (that of `parameters`' prediction by default)."""
    if batch is None:
        batch = predict_points(points, parameters).batch
    decode, mixed, firsts = [], [], []
    setting = np.zeros(len(points), dtype=np.intp)
    chunks, carrying, together = np.ones((3, len(points)))
    for n, where in enumerate(groups(points).values()):
        chosen = [points[i] for i in where]
        e = engine(chosen[0].engine, parameters)
        m = machine(chosen[0].accelerator, parameters, e)
        load, parallelism = arrays(chosen)
        at = np.array(where, dtype=np.intp)
        s = steps(m, e, chosen[0].model, chosen[0].formats, parallelism, load, batch[at])
        decode.append(pack(s.decode, m, n, at, len(points)))
        mixed.append(pack(s.mixed, m, n, at, len(points)))
        setting[at], chunks[at], carrying[at], together[at] = n, s.chunks, s.carrying, s.together
        firsts.append(where[0])
    load, parallelism = arrays(points)
    return Problem(
        tuple(points), setting, tuple(firsts), Packed.join(decode), Packed.join(mixed), batch, chunks, carrying,
        together, np.asarray(load.concurrency), np.asarray(load.wait_steps),
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


def calibrate_serving(
    rows: Sequence[Row], passes: int = 2, keep: NDArray[np.bool_] | None = None
) -> tuple[Parameters, Problem]:
    """Parameters fitted to the rows that have a point (to those where `keep`), and the packed problem."""
    points = [r.point for r in rows if r.point is not None]
    if len(points) != len(rows):
        raise ValueError("every row must have a point")
    parameters = Parameters.priors()
    chosen = np.ones(len(points), dtype=bool) if keep is None else keep
    for _ in range(passes):
        problem = build(points, parameters)
        found = fit(problem, rows, chosen, start=parameters)
        parameters = unpacked(Parameters.priors(), found.x)
    deviations = {**Parameters.priors().deviations}
    deviations |= {p.name: float(s) for p, s in zip(FITTED, found.deviation, strict=True)}
    return Parameters(parameters.values, deviations), build(points, parameters)


def calibrate_power(
    rows: Sequence[Row], parameters: Parameters, keep: NDArray[np.bool_] | None = None
) -> Parameters:
    """`parameters` with the power model fitted to the measured joules of energy `rows` (where `keep`).

    Joules are linear in the power parameters. The part that goes with time uses the measured time, so that what the
    time model gets wrong is not put on the power model. Beside the rows stand dense products in BF16 and FP8, of which
    is known that they draw at most the power limit: serving alone, at small batches and short prompts, does not say
    how much of its power goes with multiplications.
    """
    free = [p for p in POWER if p.fitted]
    points = [r.point for r in rows if r.point is not None]
    chosen = np.ones(len(rows), dtype=bool) if keep is None else keep
    joules, tpot = measured(rows, "joules"), measured(rows, "tpot_s")
    chosen = chosen & np.isfinite(joules)
    nothing = dict.fromkeys((p.name for p in POWER), 0.0)

    def basis(name: str) -> Array:
        one = predict_points(points, parameters.replaced({**nothing, name: 1.0}))
        timed = np.where(np.isfinite(tpot), tpot / one.tpot_s, 1.0)
        return one.joules_per_token * (timed if name in ("power.idle", "power.active") else 1.0)

    table = {p.name: basis(p.name) for p in POWER}
    fixed = sum(p.prior * table[p.name] for p in POWER if not p.fitted)
    prior = np.log([p.prior for p in free])

    def residuals(x: Array) -> Array:
        at = dict(zip((p.name for p in free), np.exp(x), strict=True))
        total = fixed + sum(v * table[name] for name, v in at.items())
        known = {p.name: p.prior for p in POWER if not p.fitted} | at
        over = [max(np.log(dense_watts(known, c) / REFERENCE_TDP), 0.0) / DENSE_SCALE for c in REFERENCE_RATE]
        return np.concatenate([np.log(total[chosen] / joules[chosen]) / JOULES_SCALE, over])

    found = least_squares(residuals, prior, np.array([p.spread for p in free]), tolerance=1e-6)
    values = {p.name: float(v) for p, v in zip(free, np.exp(found.x), strict=True)}
    deviations = {p.name: float(s) for p, s in zip(free, found.deviation, strict=True)}
    return Parameters(
        {**parameters.values, **values}, {**parameters.deviations, **deviations}, parameters.provenance
    )


def calibrate(rows: Sequence[Row], keep: NDArray[np.bool_] | None = None) -> Parameters:
    """All parameters from serving and energy `rows` (where `keep`); rows without a point teach nothing.

    Raises ValueError if no row is left.
    """
    usable = np.array([r.point is not None for r in rows], dtype=bool)
    chosen = usable if keep is None else usable & keep
    rows = [r for r, u in zip(rows, chosen, strict=True) if u]
    if not rows:
        raise ValueError("nothing to calibrate on")
    parameters, _ = calibrate_serving(rows)
    energy = [r for r in rows if "joules" in r.measured]
    return calibrate_power(energy, parameters) if energy else parameters


__all__ = [
    "FITTED",
    "Problem",
    "batch_limit",
    "build",
    "calibrate",
    "calibrate_power",
    "calibrate_serving",
    "fit",
    "next_batch",
]
