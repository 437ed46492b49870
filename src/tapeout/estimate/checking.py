"""Predicting a table of measurements: errors, coverage of the intervals, the worst rows and why."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tapeout.estimate.accelerators import machine
from tapeout.estimate.calibration import measured
from tapeout.estimate.engines import engine
from tapeout.estimate.intervals import LEVEL, Intervals, shipped
from tapeout.estimate.parameters import Parameters
from tapeout.estimate.prediction import arrays, protocol_of
from tapeout.estimate.published import Row
from tapeout.estimate.serving_point import ServingEstimate, serve
from tapeout.estimate.validation import METRICS, Predicted, accelerator_of, by_group, engine_of, predict_rows

WORST = 8


@dataclass(frozen=True, eq=False)
class Check:
    """Predictions of a table, the protocol whose interval each row gets, and the summary."""

    predicted: Predicted
    protocols: tuple[str, ...]
    intervals: Intervals
    summary: dict[str, Any]

    def bounds(self, metric: str, row: int) -> tuple[float, float]:
        """The 80 % interval of a row's prediction."""
        low, high = self.intervals.factors(metric, self.protocols[row])
        value = float(self.predicted.values[metric][row])
        return value * low, value * high

    def predictions(self) -> list[dict[str, Any]]:
        """Every row: what was predicted, in seconds and joules with its interval, or why nothing was."""
        found = []
        for i, row in enumerate(self.predicted.rows):
            entry: dict[str, Any] = {"row": row.number, "protocol": self.protocols[i], "reason": row.reason}
            for metric, name in METRICS.items():
                value = float(self.predicted.values[metric][i])
                bounds = self.bounds(metric, i) if metric in self.intervals.quantiles else (np.nan, np.nan)
                known = np.isfinite([value, *bounds])
                entry[metric] = {
                    "measured": row.measured.get(name),
                    "predicted": value if known[0] else None,
                    "low": bounds[0] if known[1] else None,
                    "high": bounds[1] if known[2] else None,
                }
            entry["queue_limited"] = bool(self.predicted.queue_limited[i])
            found.append(entry)
        return found


def check(rows: Sequence[Row], parameters: Parameters, intervals: Intervals | None = None) -> Check:
    """Predict every row and compare. A row that cannot be predicted counts as an error of 100 %."""
    bands = intervals or shipped()
    p = predict_rows(rows, parameters)
    protocols = tuple(
        protocol_of(r.point.model, r.point.accelerator, parameters) if r.point else "accelerator"
        for r in rows
    )
    table = []
    for metric, name in METRICS.items():
        e = p.errors(metric)
        if not e.rows:
            continue
        factors = np.array(
            [bands.factors(metric, q) if metric in bands.quantiles else (0.0, np.inf) for q in protocols]
        )
        truth, value = measured(rows, name), p.values[metric]
        known = np.isfinite(truth) & np.isfinite(value)
        if metric == "ttft":
            known &= ~p.queue_limited
        inside = (truth >= value * factors[:, 0]) & (truth <= value * factors[:, 1])
        covered = float(inside[known].mean()) if known.any() else None
        table.append(
            {"metric": metric, "protocol": "shipped parameters", **e.__dict__, "coverage": covered,
             "level": LEVEL, "target": None, "holds": None}
        )  # fmt: skip
    found = {
        "rows": len(rows),
        "queue_limited": int(p.queue_limited.sum()),
        "table": table,
        "groups": by_group(p),
        "unpredicted": dict(Counter(r.reason for r in rows if r.point is None).most_common(20)),
        "worst": worst(p, parameters),
        "label_notes": dict(Counter(n for r in rows for n in r.notes).most_common(20)),
    }
    return Check(p, protocols, bands, found)


def worst(p: Predicted, parameters: Parameters, count: int = WORST) -> list[dict[str, Any]]:
    """The rows whose prediction is furthest off, and what their time is made of."""
    found = []
    for metric, name in METRICS.items():
        truth = measured(p.rows, name)
        with np.errstate(invalid="ignore"):
            signed = p.values[metric] / truth - 1.0
        size = np.where(np.isfinite(signed), np.abs(np.log1p(np.maximum(signed, -0.999))), -1.0)
        if metric == "ttft":
            size = np.where(p.queue_limited, -1.0, size)
        found += [
            {
                "row": p.rows[i].number,
                "metric": metric,
                "error": float(signed[i]),
                "measured": float(truth[i]),
                "predicted": float(p.values[metric][i]),
                "what": describe(p.rows[i]),
                "why": explain(p.rows[i], parameters),
            }
            for i in np.argsort(-size, kind="stable")[:count]
            if size[i] > 0
        ]
    return found


def describe(row: Row) -> str:
    """The point in a few words."""
    p = row.point
    if p is None:
        return row.labels.get("model", "")
    return (
        f"{row.labels.get('model')} on {accelerator_of(row)} x{p.tp * p.attention_dp * p.pp}, {engine_of(row)},"
        f" {p.prompt:.0f} + {p.output:.0f} tokens, {p.concurrency:.0f} requests"
    )


def explain(row: Row, parameters: Parameters) -> str:
    """What the predicted time of a decoding step is made of, and how labels were read."""
    p = row.point
    if p is None:
        return row.reason
    e = engine(p.engine, parameters)
    load, sharding = arrays([p])
    found: ServingEstimate = serve(
        machine(p.accelerator, parameters, e), e, p.model, p.formats, sharding, load
    )
    d = found.decode
    total = float(np.sum(d.time_s))
    parts = {"compute": d.compute_s, "memory": d.memory_s, "network": d.network_s, "overhead": d.overhead_s}
    shares = sorted(((float(np.sum(v)) / total, k) for k, v in parts.items()), reverse=True)
    made = ", ".join(f"{k} {100 * share:.0f} %" for share, k in shares)
    prefill = 1 - float(np.sum(d.time_s)) / float(np.sum(found.tpot_s)) * p.pp
    notes = [
        f"step of {1e3 * total:.1f} ms if nothing overlapped: {made}; prefill adds {100 * prefill:.0f} %"
    ]
    if bool(np.any(found.queue_limited)):
        notes.append("caches of all requests do not fit")
    if not p.engine:
        notes.append("engine unknown: the mean of those known")
    return "; ".join([*notes, *row.notes])


def csv_of(c: Check) -> str:
    """Every row with its predictions, intervals and errors, as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    heads = [f"{m}_{x}" for m in METRICS for x in ("measured", "predicted", "low", "high")]
    writer.writerow(["row", "model", "accelerator", "engine", "protocol", *heads, "reason"])
    truths = {m: measured(c.predicted.rows, name) for m, name in METRICS.items()}
    for i, row in enumerate(c.predicted.rows):
        values: list[str] = []
        for m in METRICS:
            low, high = c.bounds(m, i) if m in c.intervals.quantiles else (np.nan, np.nan)
            cells = (truths[m][i], c.predicted.values[m][i], low, high)
            values += ["" if not np.isfinite(v) else f"{v:.6g}" for v in cells]
        labels = [
            _safe(row.labels.get("model", "")),
            accelerator_of(row),
            _safe(engine_of(row)),
            c.protocols[i],
        ]
        writer.writerow([row.number, *labels, *values, row.reason])
    return text.getvalue()


def _safe(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t") else text
