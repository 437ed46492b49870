"""The validation page: held-out errors, and scatter plots of predicted against measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from tapeout.estimate.calibration import measured
from tapeout.estimate.checking import Check, describe
from tapeout.estimate.published import Row
from tapeout.estimate.validation import METRICS, accelerator_of, engine_of
from tapeout.report.markup import Content, Markup, tag
from tapeout.report.numbers import percent
from tapeout.report.page import Page, table

_NAMES = {"tpot": "time per output token", "ttft": "time to first token", "joules": "joules per output token"}
_SCALES = {"tpot": (1e3, "ms"), "ttft": (1e3, "ms"), "joules": (1.0, "J")}
_COLOURS = (
    "#2a6fbb",
    "#c8553d",
    "#3f8f5f",
    "#8a5fb0",
    "#b08a2e",
    "#4a9aa8",
    "#a84a78",
    "#6b7280",
    "#1f3f6e",
    "#d9a3a0",
)
_SIZE, _MARGIN = 350, 52
_KEYS: dict[str, Callable[[Row], str]] = {
    "accelerator": accelerator_of,
    "model": lambda r: r.point.model.name if r.point else "",
    "engine": engine_of,
}


def page(shipped: dict[str, Any], check: Check | None) -> str:
    """The page: `shipped` is the calibration's summary, `check` the predictions of a table, if any."""
    p = Page(
        "How far to trust the predictions",
        lead="Predictions beside measurements. A row that cannot be predicted counts as an error of 100 %; none is left"
        " out because it fits badly.",
    )
    if check is not None:
        s = check.summary
        p.section(
            "This table",
            f"{s['rows']} rows, {sum(s['unpredicted'].values())} not predicted, {s['queue_limited']} queue-limited"
            " (not counted in time to first token).",
            _errors(s["table"]),
            lead="Predicted with the parameters as they are; rows that those were fitted to are in sample here.",
        )
        for metric in METRICS:
            drawings = [_scatter(check, metric, by, key) for by, key in _KEYS.items()]
            if drawings[0] is not None:
                row = tag("div", drawings, style="display:flex;flex-wrap:wrap;gap:1rem")
                p.section(f"{_NAMES[metric].capitalize()}: predicted against measured", row)
        p.section("By accelerator, model and engine", _groups(s["groups"]))
        if s["worst"]:
            rows = [
                (w["row"], _NAMES[w["metric"]], percent(w["error"]), w["what"], w["why"]) for w in s["worst"]
            ]
            p.section("Worst rows", table(("row", "metric", "error", "what", "why"), rows, numeric=(0, 2)))
        if s["unpredicted"]:
            p.section(
                "Not predicted",
                table(("rows", "reason"), [(n, r) for r, n in s["unpredicted"].items()], numeric=(0,)),
            )
    p.section(
        "Held-out errors of the calibration",
        _errors(shipped["table"]),
        lead="Fitted without some rows and predicting those: whole configurations, one accelerator at a time, one"
        " architecture at a time, one engine at a time. The leave-one-out rows are the ones to believe: a new chip"
        " is an accelerator that nobody has measured yet.",
    )
    p.section(
        "The same by accelerator, model and engine",
        _groups(shipped["groups"]),
        lead="Configurations held out.",
    )
    return p.render()


def _errors(rows: Sequence[dict[str, Any]]) -> Markup:
    heads = (
        "metric",
        "protocol",
        "rows",
        "unpredicted",
        "median",
        "mean",
        "90 % below",
        "bias",
        "in 80 % interval",
        "target",
    )
    body: list[Sequence[Content]] = []
    for e in rows:
        target = e.get("target")
        verdict = (
            f"{'met' if e['holds'] else 'missed'}: {percent(target[0])} median, {percent(target[1])} mean"
            if target
            else ""
        )
        covered = e.get("coverage")
        body.append(
            (_NAMES[e["metric"]], e["protocol"], e["rows"], e["unpredicted"], percent(e["median"], 1),
             percent(e["mean"], 1), percent(e["p90"], 1), percent(e["bias"], 1),
             percent(covered, 1) if covered is not None else "", verdict)
        )  # fmt: skip
    return table(heads, body, numeric=range(2, 9))


def _groups(groups: Sequence[dict[str, Any]]) -> Markup:
    heads = ("by", "group", "metric", "rows", "median", "mean", "bias")
    body = [
        (g["by"], g["group"], _NAMES[g["metric"]], g["rows"], percent(g["median"], 1), percent(g["mean"], 1),
         percent(g["bias"], 1))
        for g in groups
    ]  # fmt: skip
    return table(heads, body, numeric=range(3, 7))


def _scatter(check: Check, metric: str, by: str, key: Callable[[Row], str]) -> Markup | None:
    """Predicted against measured, both axes logarithmic, coloured `by` accelerator, model or engine: plain SVG."""
    rows = check.predicted.rows
    scale, unit = _SCALES[metric]
    truth = measured(rows, METRICS[metric]) * scale
    value = check.predicted.values[metric] * scale
    known = np.isfinite(truth) & np.isfinite(value) & (truth > 0) & (value > 0)
    if not known.any():
        return None
    low = float(np.log10(min(truth[known].min(), value[known].min()))) - 0.05
    high = float(np.log10(max(truth[known].max(), value[known].max()))) + 0.05
    inner = _SIZE - 2 * _MARGIN

    def at(v: float) -> float:
        return (np.log10(v) - low) / (high - low) * inner

    parts: list[Content] = []
    lines = []
    for exponent in range(int(np.floor(low)), int(np.ceil(high)) + 1):
        for digit in (1, 2, 5) if high - low < 1.8 else (1, 3) if high - low < 2.5 else (1,):
            tick = digit * 10.0**exponent
            if low <= np.log10(tick) <= high:
                x = _MARGIN + at(tick)
                y = _SIZE - _MARGIN - at(tick)
                lines.append(f"M{x:.1f} {_MARGIN}V{_SIZE - _MARGIN}M{_MARGIN} {y:.1f}H{_SIZE - _MARGIN}")
                label = f"{tick:g}"
                parts.append(tag("text", label, x=f"{x:.1f}", y=_SIZE - _MARGIN + 16, text_anchor="middle"))
                parts.append(tag("text", label, x=_MARGIN - 6, y=f"{y + 4:.1f}", text_anchor="end"))
    grid = Markup(f'<path d="{"".join(lines)}" stroke="currentColor" opacity="0.15"/>')
    corner = f"M{_MARGIN} {_SIZE - _MARGIN}L{_SIZE - _MARGIN} {_MARGIN}"
    diagonal = Markup(f'<path d="{corner}" stroke="currentColor" opacity="0.6"/>')
    labels = sorted({key(rows[i]) for i in np.flatnonzero(known)})
    colour = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(labels)}
    points = [
        tag(
            "circle",
            tag(
                "title",
                f"row {rows[i].number}: {describe(rows[i])}:"
                f" measured {truth[i]:.4g} {unit}, predicted {value[i]:.4g}",
            ),
            cx=f"{_MARGIN + at(float(truth[i])):.1f}",
            cy=f"{_SIZE - _MARGIN - at(float(value[i])):.1f}",
            r="3",
            fill=colour[key(rows[i])],
            opacity="0.65",
        )
        for i in np.flatnonzero(known)
    ]
    legend = [
        tag(
            "g",
            tag("circle", cx=_MARGIN + 10, cy=_MARGIN + 12 + 18 * i, r="4", fill=colour[name]),
            tag("text", name or "unknown", x=_MARGIN + 20, y=_MARGIN + 16 + 18 * i),
        )
        for i, name in enumerate(labels)
    ]
    axes = [
        tag("text", f"by {by}", x=_MARGIN, y=_MARGIN - 10, font_weight="600"),
        tag("text", f"measured, {unit}", x=_SIZE / 2, y=_SIZE - 12, text_anchor="middle"),
        tag(
            "text",
            f"predicted, {unit}",
            x=10,
            y=_SIZE / 2,
            text_anchor="middle",
            transform=f"rotate(-90 10 {_SIZE / 2})",
        ),
    ]
    return tag(
        "svg",
        grid,
        diagonal,
        parts,
        points,
        legend,
        axes,
        viewBox=f"0 0 {_SIZE} {_SIZE}",
        width=_SIZE,
        role="img",
        style="max-width:100%;font-size:12px;fill:currentColor",
    )
