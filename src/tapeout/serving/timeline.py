"""A simulation as a Perfetto trace: what each replica held over time, and the life of each request.

The JSON trace-event format, which ui.perfetto.dev and chrome://tracing open
(https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.files import write_atomic
from tapeout.serving.cluster import Outcome


def counts(
    starts: NDArray[np.float64], ends: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.int64]:
    """How many of the intervals [start, end) cover each edge."""
    return np.searchsorted(np.sort(starts), edges, "right") - np.searchsorted(np.sort(ends), edges, "right")


def series(outcome: Outcome, points: int = 400) -> dict[str, NDArray[Any]]:
    """Over the time of the simulation, [points] each: seconds, requests waiting or in prefill, decoding,
    output tokens per second."""
    rows = outcome.records.rows()
    edges = np.linspace(0.0, outcome.seconds, points + 1)
    middle = (edges[1:] + edges[:-1]) / 2
    waiting = counts(rows["arrival_s"], rows["first_token_s"], middle)
    decoding = counts(rows["first_token_s"], rows["finish_s"], middle)
    # a request's tokens come evenly between its first and its last
    tokens = np.zeros(points)
    span = np.maximum(rows["finish_s"] - rows["first_token_s"], 1e-9)
    rate = rows["output_tokens"] / span
    begin = np.clip(np.searchsorted(edges, rows["first_token_s"], "right") - 1, 0, points - 1)
    end = np.clip(np.searchsorted(edges, rows["finish_s"], "right") - 1, 0, points - 1)
    change = np.zeros(points + 1)
    np.add.at(change, begin, rate)
    np.add.at(change, end + 1, -rate)
    tokens = np.cumsum(change)[:points]
    # whole bins are counted above; take back what lies outside the request in its first and last bin
    width = edges[1] - edges[0] if points else 1.0
    np.add.at(tokens, begin, -rate * (rows["first_token_s"] - edges[begin]) / width)
    np.add.at(tokens, end, -rate * (edges[end + 1] - rows["finish_s"]) / width)
    return {
        "seconds": middle,
        "waiting": waiting,
        "decoding": decoding,
        "tokens_per_second": np.maximum(tokens, 0.0),
    }


def write_perfetto(path: Path, outcome: Outcome, requests: int = 5000) -> None:
    """Write the first `requests` requests and the counters of the whole run as a trace."""
    events: list[dict[str, Any]] = []
    rows = outcome.records.rows()
    for r in outcome.replicas:
        name = f"replica {r.number}" + ("" if r.role == "both" else f" ({r.role})")
        events.append({"ph": "M", "pid": r.number + 1, "name": "process_name", "args": {"name": name}})
    for i in range(min(len(rows["request"]), requests)):
        common = {"pid": int(rows["replica"][i]) + 1, "cat": "request", "id": int(rows["request"][i])}
        times = (rows["arrival_s"][i], rows["first_token_s"][i], rows["finish_s"][i])
        arguments = {
            k: int(rows[k][i]) for k in ("prompt_tokens", "output_tokens", "cached_tokens", "preemptions")
        }
        for name, begin, end in (("prefill", times[0], times[1]), ("decode", times[1], times[2])):
            events.append({"ph": "b", "ts": begin * 1e6, "name": name, "args": arguments, "tid": 0, **common})
            events.append({"ph": "e", "ts": end * 1e6, "name": name, "tid": 0, **common})
    found = series(outcome)
    events.append({"ph": "M", "pid": 0, "name": "process_name", "args": {"name": "deployment"}})
    for name in ("waiting", "decoding", "tokens_per_second"):
        for t, value in zip(found["seconds"].tolist(), found[name].tolist(), strict=True):
            events.append({"ph": "C", "pid": 0, "ts": t * 1e6, "name": name, "args": {name: value}})
    write_atomic(path, json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
