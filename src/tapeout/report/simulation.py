"""The page of a serving simulation: what was asked, what users saw, what the deployment did."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeout.report.charts import axis, lines
from tapeout.report.markup import Markup, tag
from tapeout.report.numbers import figures, percent, si
from tapeout.report.page import Page, Tile, callout, chart_figure, table, tiles
from tapeout.serving.simulate import SimulationResult
from tapeout.serving.timeline import series

METRICS = (("ttft", "Time to first token"), ("tpot", "Time per output token"), ("e2e", "End to end"))
LEVELS = ("p50", "p90", "p95", "p99", "mean")


def page(result: SimulationResult) -> str:
    """The whole HTML document."""
    f = result.figures
    met = result.met
    verdict = None
    if met:
        missed = [name for name, ok in met.items() if not ok]
        verdict = "Meets " + ", ".join(met) if not missed else "Misses " + ", ".join(missed)
    report = Page(
        title=f"{result.model} on {f['chips']} × {result.target}",
        lead=f"{f['requests']:,} requests over {si(f['seconds'], 's')} in simulation. Load: {_load(f['load'])}.",
        verdict=verdict,
        footer="Step times come from the closed-form estimate; the engine is simulated event by event.",
    )
    report.section("What users saw", _tiles(f), _latencies(f), _distribution(result))
    report.section("Over time", *_timeline(result))
    report.section("What the deployment did", _deployment(f), _replicas(result))
    return report.render()


def _load(load: dict[str, Any]) -> str:
    if "clients" in load:
        return f"{load['clients']} clients in a closed loop"
    rate = load["requests_per_second"]
    words = f"{load['source']}, mean {figures(load['prompt_tokens_mean'])} tokens in and "
    words += f"{figures(load['output_tokens_mean'])} out"
    return words + (f", {figures(rate)} requests/s" if rate else "")


def _tiles(f: dict[str, Any]) -> Markup:
    chips = f["chips"]
    return tiles(
        [
            Tile("Output tokens", figures(f["output_tokens_per_second"]), "/s",
                 f"{figures(f['output_tokens_per_second'] / chips)} per chip"),
            Tile("Goodput", percent(f["goodput_share"], 1), "",
                 f"{figures(f['goodput_requests_per_second'])} requests/s meet every limit"),
            Tile("Energy", figures(f["joules_per_output_token"]), "J/token",
                 f"{figures(f['mean_watts_per_chip'])} W per chip on average"),
            Tile("Busy", percent(f["utilisation"]), "", f"mean batch {figures(f['mean_batch'])}"),
        ]
    )  # fmt: skip


def _latencies(f: dict[str, Any]) -> Markup:
    rows = []
    for key, name in METRICS:
        values = f[f"{key}_ms"]
        rows.append([name, *("–" if values[q] is None else si(values[q] / 1e3, "s") for q in LEVELS)])
    return table(["", *LEVELS], rows, numeric=range(1, 6))


def _distribution(result: SimulationResult) -> Markup:
    records = result.outcome.records
    curves = []
    for (key, name), colour in zip(METRICS, ("accent", "good", "muted"), strict=True):
        sketch = getattr(records, key)
        if sketch.count:
            levels = np.concatenate([np.linspace(0.01, 0.99, 60), [0.995, 0.999]])
            points = [(sketch.quantile(q) * 1e3, 100 * q) for q in levels]
            curves.append((name, points, {"colour": colour, "points": 0, "width": 2}))
    chart = lines(
        curves,
        axis("milliseconds", log=True),
        axis("% of requests no slower"),
        tooltip=[("latency", 0, "ms"), ("requests", 1, "%")],
        right=150,
    )
    return chart_figure("latency", [("", chart)], caption="Cumulative distribution of latencies.", height=320)


def _timeline(result: SimulationResult) -> list[Markup]:
    found = series(result.outcome)
    seconds = found["seconds"].tolist()

    def curve(name: str, key: str, colour: str) -> tuple[str, list[tuple[float, float]], dict[str, Any]]:
        points = list(zip(seconds, found[key].tolist(), strict=True))
        return name, points, {"colour": colour, "points": 0, "width": 1.5}

    requests = lines(
        [curve("decoding", "decoding", "accent"), curve("waiting", "waiting", "bad")],
        axis("seconds"), axis("requests"), tooltip=[("at", 0, "s"), ("requests", 1, "")],
    )  # fmt: skip
    tokens = lines(
        [curve("tokens/s", "tokens_per_second", "good")],
        axis("seconds"), axis("output tokens per second"), tooltip=[("at", 0, "s"), ("tokens/s", 1, "")],
    )  # fmt: skip
    return [
        chart_figure("requests", [("", requests)], caption="Requests in the deployment.", height=280),
        chart_figure("tokens", [("", tokens)], caption="Output tokens per second.", height=280),
    ]


def _deployment(f: dict[str, Any]) -> Markup:
    split = ", ".join(f"{k.replace('_', '-')} {v}" for k, v in f["parallelism"].items())
    rows = [
        ["Replicas", f"{f['replicas']} of {f['chips'] // f['replicas']} chips ({split})"],
        ["KV cache in use, mean", percent(f["kv_occupancy"], 1)],
        ["Prompt tokens found in the prefix cache", percent(f["prefix_hit_share"], 1)],
        ["Preemptions", f"{f['preemptions']:,} ({f['recomputed_tokens']:,} tokens computed again)"],
        ["Requests refused / failed", f"{f['refused']:,} / {f['failed']:,}"],
    ]
    remark = callout("Nothing was refused, nothing was lost.") if not f["refused"] + f["failed"] else None
    return Markup(table(["", ""], rows) + (remark or ""))


def _replicas(result: SimulationResult) -> Markup:
    span = max(result.outcome.seconds, 1e-12)
    rows = []
    for r, chips in list(zip(result.outcome.replicas, result.outcome.pool_chips, strict=True))[:64]:
        joules = r.joules + (result.outcome.seconds - r.busy_seconds) * r.costs.idle_watts
        rows.append(
            [
                f"{r.number}" + ("" if r.role == "both" else f" ({r.role})"),
                str(chips),
                percent(r.busy_seconds / span),
                figures(r.batch_seconds / max(r.busy_seconds, 1e-12)),
                f"{r.prefilled:,}",
                f"{r.decoded:,}",
                si(joules / span, "W"),
            ]
        )
    heads = ["replica", "chips", "busy", "mean batch", "prompt tokens", "output tokens", "mean power"]
    more = len(result.outcome.replicas) - len(rows)
    note = tag("p", f"and {more} more") if more > 0 else Markup("")
    return Markup(table(heads, rows, numeric=range(1, 7)) + note)
