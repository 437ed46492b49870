"""Predicting serving points in bulk, and one at a time: the Python API of the accelerator model.

Points of one model, format, accelerator and engine are one set of array operations; predictions come
back in the order of the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.accelerators import Accelerator, accelerator, machine
from tapeout.estimate.engines import engine, generation
from tapeout.estimate.fitted import fitted
from tapeout.estimate.intervals import Protocol
from tapeout.estimate.parameters import Parameters
from tapeout.estimate.published import Point, formats_of
from tapeout.estimate.serving_point import Load, ServingEstimate, serve
from tapeout.model.architecture import Model
from tapeout.model.load import load
from tapeout.workload.formats import Formats
from tapeout.workload.parallelism import Parallelism

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Arrays over points. Seconds; `joules_per_token` of all the replica's chips, host excluded."""

    tpot_s: Array
    ttft_s: Array
    batch: Array
    output_tokens_per_s: Array
    joules_per_token: Array
    fits: NDArray[np.bool_]
    queue_limited: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.tpot_s)


def group_key(p: Point) -> tuple[Any, ...]:
    """What points must share to be predicted together."""
    return (p.model.name, id(p.model), p.formats, p.accelerator.key, id(p.accelerator), p.engine)


def groups(points: Sequence[Point]) -> dict[tuple[Any, ...], list[int]]:
    """Indices of the points of each group."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for i, p in enumerate(points):
        found.setdefault(group_key(p), []).append(i)
    return found


def arrays(points: Sequence[Point]) -> tuple[Load, Parallelism]:
    """The load and sharding of points of one group, as arrays."""

    def of(name: str) -> Array:
        return np.array([getattr(p, name) for p in points], dtype=float)

    return (
        Load(of("prompt"), of("output"), of("concurrency"), of("wait_steps")),
        Parallelism(tp=of("tp"), ep=of("ep"), pp=of("pp"), attention_dp=of("attention_dp")),
    )


def predict_points(points: Sequence[Point], parameters: Parameters | None = None) -> Predictions:
    """Predictions of `points` under `parameters` (those shipped by default)."""
    p = parameters or fitted()
    count = len(points)
    names = ("tpot_s", "ttft_s", "batch", "output_tokens_per_s", "joules_per_token", "fits", "queue_limited")
    table = {n: np.zeros(count, dtype=bool if n in ("fits", "queue_limited") else float) for n in names}
    for where in groups(points).values():
        first = points[where[0]]
        e = engine(first.engine, p)
        m = machine(first.accelerator, p, e)
        load_, parallelism = arrays([points[i] for i in where])
        found = serve(m, e, first.model, first.formats, parallelism, load_)
        for n in names:
            table[n][where] = np.broadcast_to(getattr(found, n), (len(where),))
    return Predictions(**table)


def predict(
    model: str | Model,
    on: str | Accelerator,
    *,
    prompt_tokens: float | Array = 1024.0,
    output_tokens: float | Array = 1024.0,
    concurrency: float | Array = 16.0,
    tp: int | Array = 1,
    ep: int | Array = 1,
    attention_dp: int | Array = 1,
    pp: int | Array = 1,
    precision: str = "",
    formats: Formats | None = None,
    backend: str = "vllm",
    version: str | None = None,
    wait_steps: float | Array = 0.0,
    parameters: Parameters | None = None,
) -> ServingEstimate:
    """A model served on an accelerator of the catalog, closed loop; any number may be an array.

    `precision`: as the checkpoint is published if empty, else bf16, fp8, fp8_block, nvfp4, mxfp4, int4;
    `formats` overrides it. Token counts are means over requests; `wait_steps`: see
    `Load`. Raises InputError for an unknown model or
    accelerator, or if the model cannot be split so.

    >>> point = predict("llama-3.1-70b", "h200", tp=2, precision="fp8", concurrency=32)
    >>> 0.01 < float(point.tpot_s) < 0.04
    True
    """
    p = parameters or fitted()
    what = load(model) if isinstance(model, str) else model
    sheet = accelerator(on) if isinstance(on, str) else on
    chosen = formats or formats_of(what, precision, "", "", [])
    e = engine(generation(backend, version), p)
    parallelism = Parallelism(tp=tp, ep=ep, pp=pp, attention_dp=attention_dp)
    if not parallelism.valid(what).all():
        parallelism.check(replace(what))
    return serve(
        machine(sheet, p, e),
        e,
        what,
        chosen,
        parallelism,
        Load(prompt_tokens, output_tokens, concurrency, wait_steps),
    )


def protocol_of(model: Model, sheet: Accelerator, parameters: Parameters | None = None) -> Protocol:
    """Which of the calibration's held-out errors a prediction resembles: those of an accelerator that was not
    measured, of an architecture that was not (or not on that accelerator), of both, or of new configurations of
    a pair that was."""
    known = (parameters or fitted()).provenance.get("measured", {})
    shape = architecture(model)
    if sheet.key not in known.get("accelerators", []):
        return "accelerator" if shape in known.get("architectures", []) else "accelerator and model"
    return "configuration" if f"{sheet.key} {shape}" in known.get("pairs", []) else "model"


def architecture(model: Model) -> str:
    """What makes two models the same work for an accelerator: family, width and depth."""
    return f"{model.family} {model.hidden}x{len(model.layers)}"
