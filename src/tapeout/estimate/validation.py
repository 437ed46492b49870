"""How well the model predicts what it was not fitted on: protocols, errors, coverage.

Three protocols fit without some rows and predict those: whole configurations (a model, accelerator, engine,
precision, sharding and length pair with all its concurrencies) in five folds, one accelerator at a time, one
architecture at a time (models of the same shape together), and one engine at a time. A row that cannot be
predicted counts as an error of 100 %; none is dropped because it fits badly.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.calibration import calibrate, measured
from tapeout.estimate.intervals import coverage, quantiles_of
from tapeout.estimate.parameters import Parameters
from tapeout.estimate.prediction import Predictions, architecture, predict_points
from tapeout.estimate.published import Row

Array = NDArray[np.float64]
FOLDS = 5
METRICS = {"tpot": "tpot_s", "ttft": "ttft_s", "joules": "joules"}
TARGETS: dict[tuple[str, str], tuple[float, float]] = {  # (metric, protocol): median, mean
    ("tpot", "configuration"): (0.08, 0.10),
    ("tpot", "accelerator"): (0.12, 0.16),
    ("tpot", "model"): (0.10, 0.14),
    ("ttft", "configuration"): (0.15, 0.20),
    ("joules", "model"): (0.15, 0.20),
}


@dataclass(frozen=True)
class Errors:
    """Absolute percentage errors (as fractions) of some rows; `bias` is the median signed error."""

    rows: int
    unpredicted: int
    median: float
    mean: float
    bias: float
    p90: float

    @staticmethod
    def of(predicted: Array, truth: Array) -> Errors:
        """Errors where `truth` is known; a prediction that is NaN counts as 100 %."""
        known = np.isfinite(truth)
        p, t = predicted[known], truth[known]
        if not len(t):
            return Errors(0, 0, float("nan"), float("nan"), float("nan"), float("nan"))
        signed = np.where(np.isfinite(p), p / t - 1.0, -1.0)
        size = np.abs(signed)
        return Errors(
            len(t), int((~np.isfinite(p)).sum()), float(np.median(size)), float(size.mean()),
            float(np.median(signed)), float(np.quantile(size, 0.9)),
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Predicted:
    """Rows beside their predictions, arrays over rows; NaN where there is none."""

    rows: tuple[Row, ...]
    values: dict[str, Array]  # by metric
    queue_limited: NDArray[np.bool_]

    def errors(self, metric: str, where: NDArray[np.bool_] | None = None) -> Errors:
        """Errors of one metric over the rows `where`; time to first token only where not queue-limited."""
        chosen = np.ones(len(self.rows), dtype=bool) if where is None else where.copy()
        if metric == "ttft":
            chosen &= ~self.queue_limited
        truth = measured(self.rows, METRICS[metric])
        return Errors.of(self.values[metric][chosen], truth[chosen])

    def log_errors(self, metric: str) -> Array:
        """log(measured / predicted); NaN where either is missing or, for time to first token, queue-limited."""
        truth = measured(self.rows, METRICS[metric])
        with np.errstate(invalid="ignore", divide="ignore"):
            found = np.log(truth / self.values[metric])
        return np.where(self.queue_limited, np.nan, found) if metric == "ttft" else found


def predict_rows(rows: Sequence[Row], parameters: Parameters) -> Predicted:
    """Predictions of all rows that have a point. A point that does not fit into memory is predicted all the
    same (engines offload or quantise further), since it was measured."""
    where = [i for i, r in enumerate(rows) if r.point is not None]
    found: Predictions | None = None
    if where:
        found = predict_points([p for r in rows if (p := r.point) is not None], parameters)

    def spread(values: Any, empty: float) -> Array:
        full = np.full(len(rows), empty)
        if found is not None:
            full[where] = values
        return full

    return Predicted(
        tuple(rows),
        {
            "tpot": spread(found.tpot_s if found else 0, np.nan),
            "ttft": spread(found.ttft_s if found else 0, np.nan),
            "joules": spread(found.joules_per_token if found else 0, np.nan),
        },
        spread(found.queue_limited if found else 0, 0.0) > 0,
    )


def accelerator_of(row: Row) -> str:
    """The accelerator, by the name of its datasheet."""
    return row.point.accelerator.key if row.point else row.labels.get("system") or row.labels.get("gpu", "")


def model_of(row: Row) -> str:
    """The architecture: models with the same layers count as one."""
    if row.point is None:
        return row.labels.get("model", "")
    return architecture(row.point.model)


def engine_of(row: Row) -> str:
    """The engine, all generations together."""
    return row.labels.get("backend", "vllm" if row.kind == "energy" else "")


def configuration_of(row: Row) -> str:
    """Everything but the concurrency."""
    names = ("model", "system", "gpu", "backend", "backend_version", "precision", "isl", "osl", "task",
             "tp", "pp", "attention_dp", "moe_ep", "ep", "num_gpus")  # fmt: skip
    return "|".join(row.labels.get(n, "") for n in names)


def _fold(row: Row) -> str:
    return str(zlib.crc32(configuration_of(row).encode()) % FOLDS)


PROTOCOLS: dict[str, Callable[[Row], str]] = {
    "configuration": _fold,
    "accelerator": accelerator_of,
    "model": model_of,
    "engine": engine_of,
}


@dataclass(frozen=True, eq=False)
class Validation:
    """What `cross_validate` found: held-out predictions by protocol, and the fold of each row."""

    rows: tuple[Row, ...]
    parameters: Parameters
    in_sample: Predicted
    held_out: dict[str, Predicted]
    folds: dict[str, NDArray[Any]] = field(default_factory=dict)

    def coverage(self, metric: str, protocol: str) -> float:
        """Share of held-out rows inside their 80 % interval, made from the other folds."""
        residuals = self.held_out[protocol].log_errors(metric)
        known = np.isfinite(residuals)
        return coverage(residuals[known], self.folds[protocol][known])


def cross_validate(rows: Sequence[Row], progress: Callable[[str], None] | None = None) -> Validation:
    """Fit to all rows, and without each fold of each protocol in turn."""
    rows = tuple(rows)
    parameters = calibrate(rows)
    held_out: dict[str, Predicted] = {}
    folds: dict[str, NDArray[Any]] = {}
    for name, key in PROTOCOLS.items():
        fold = np.array([key(r) for r in rows])
        values = {m: np.full(len(rows), np.nan) for m in METRICS}
        limited = np.zeros(len(rows), dtype=bool)
        distinct = sorted(set(fold))
        for f in distinct if len(distinct) > 1 else []:
            if progress is not None:
                progress(f"{name}: without {f}")
            here = fold == f
            found = predict_rows(
                [r for r, h in zip(rows, here, strict=True) if h], calibrate(rows, keep=~here)
            )
            for m in METRICS:
                values[m][here] = found.values[m]
            limited[here] = found.queue_limited
        held_out[name] = Predicted(rows, values, limited)
        folds[name] = fold
    return Validation(rows, parameters, predict_rows(rows, parameters), held_out, folds)


def serving_rows(rows: Sequence[Row]) -> NDArray[np.bool_]:
    """Which rows are whole-server runs."""
    return np.array([r.kind == "serving" for r in rows], dtype=bool)


def summary(v: Validation) -> dict[str, Any]:
    """The table of errors and targets, coverage, and the quantiles that intervals are made from."""
    serving = serving_rows(v.rows)
    table: list[dict[str, Any]] = []
    quantiles: dict[str, dict[str, list[float]]] = {}
    for metric in METRICS:
        scope = serving if metric in ("tpot", "ttft") else ~serving
        for protocol, p in {"in sample": v.in_sample, **v.held_out}.items():
            e = p.errors(metric, scope)
            if not e.rows or e.unpredicted == e.rows:
                continue
            target = TARGETS.get((metric, protocol))
            entry: dict[str, Any] = {"metric": metric, "protocol": protocol, **e.__dict__}
            entry["coverage"] = v.coverage(metric, protocol) if protocol in v.held_out else None
            entry["target"] = list(target) if target else None
            entry["holds"] = bool(e.median <= target[0] and e.mean <= target[1]) if target else None
            table.append(entry)
            if protocol in ("configuration", "accelerator", "model"):
                errors = p.log_errors(metric)[scope]
                quantiles.setdefault(metric, {})[protocol] = quantiles_of(errors, v.folds[protocol][scope])
    return {
        "table": table,
        "quantiles": quantiles,
        "groups": by_group(v.held_out.get("configuration", v.in_sample)),
    }


def by_group(p: Predicted) -> list[dict[str, Any]]:
    """Errors by accelerator, model, engine and metric."""
    found = []
    keys: dict[str, Callable[[Row], str]] = {
        "accelerator": accelerator_of,
        "model": lambda r: r.labels.get("model", ""),
        "engine": engine_of,
    }
    for name, key in keys.items():
        label = np.array([key(r) for r in p.rows])
        for value in sorted(set(label)):
            for metric in METRICS:
                e = p.errors(metric, label == value)
                if e.rows:
                    found.append({"by": name, "group": str(value), "metric": metric, **e.__dict__})
    return found
