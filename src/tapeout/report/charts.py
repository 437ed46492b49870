"""ECharts options of the charts that reports share, as plain JSON-able dictionaries.

Colours are names of the page's palette (`{"$color": "accent"}`) and functions are names of the page's own
(`{"$fn": "si", "args": ["W"]}`); the page's script fills both in, so data can never name code.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Option = dict[str, Any]

PALETTE = tuple(f"r{i}" for i in range(1, 9))


def colour(name: str) -> dict[str, str]:
    """A colour of the page's palette."""
    return {"$color": name}


def function(name: str, *args: Any) -> dict[str, Any]:
    """A function of the page's script."""
    return {"$fn": name, "args": list(args)}


def axis(
    name: str,
    *,
    log: bool = False,
    unit: str = "",
    gap: int = 30,
    low: float | None = None,
    high: float | None = None,
    **more: Any,
) -> Option:
    """A value axis with its name along it."""
    found: Option = {
        "type": "log" if log else "value",
        "name": name,
        "nameGap": gap,
        "axisLabel": {"formatter": function("si", unit)},
    }
    if low is not None:
        found["min"] = low
    if high is not None:
        found["max"] = high
    return found | more


def stacked_bars(
    categories: Sequence[str],
    series: Mapping[str, Sequence[float]],
    *,
    unit: str,
    name: str,
    category_name: str = "",
    colours: Mapping[str, str] | None = None,
) -> Option:
    """Horizontal bars, one for each category, each a stack of the series."""
    palette = dict(zip(series, (PALETTE[i % 8] for i in range(len(series))), strict=True)) | dict(
        colours or {}
    )
    return {
        "grid": {"left": 8, "right": 24, "top": 40, "bottom": 34, "containLabel": True},
        "legend": {},
        "tooltip": {
            "trigger": "axis",
            "axisPointer": {"type": "shadow"},
            "formatter": function("stack", unit),
        },
        "xAxis": axis(name, unit=unit),
        "yAxis": {
            "type": "category",
            "data": list(categories),
            "inverse": True,
            "name": category_name,
            "nameLocation": "start",
        },
        "series": [
            {
                "name": label,
                "type": "bar",
                "stack": "all",
                "data": list(values),
                "barMaxWidth": 30,
                "itemStyle": {"color": colour(palette[label])},
                "emphasis": {"focus": "series"},
            }
            for label, values in series.items()
        ],
    }


def lines(
    series: Sequence[tuple[str, Sequence[Sequence[Any]], Mapping[str, Any]]],
    x: Option,
    y: Option,
    *,
    tooltip: Sequence[tuple[str, int, str]],
    mark_x: tuple[float, str] | None = None,
    right: int = 110,
) -> Option:
    """Curves; thick ones are labelled at their ends. Each series: name, points, look (colour, width, points, dash)."""
    drawn: list[Option] = []
    for name, points, look in series:
        one: Option = {
            "name": name,
            "type": "line",
            "data": [list(p) for p in points],
            "symbolSize": look.get("points", 4),
            "showSymbol": look.get("points", 4) > 0,
            "symbol": "circle",
            "lineStyle": {
                "color": colour(look.get("colour", "muted")),
                "width": look.get("width", 1.6),
                "type": look.get("dash", "solid"),
            },
            "itemStyle": {"color": colour(look.get("colour", "muted"))},
            "endLabel": {
                "show": look.get("width", 1.6) > 2,
                "formatter": "{a}",
                "color": colour(look.get("colour", "muted")),
                "fontSize": 11.5,
                "fontWeight": 600 if look.get("width", 1.6) > 2 else 400,
            },
            "labelLayout": {"moveOverlap": "shiftY"},
            "emphasis": {"focus": "series"},
            "z": 5 if look.get("width", 1.6) > 2 else 2,
        }
        if look.get("area"):
            one["areaStyle"] = {"color": colour(look["colour"]), "opacity": 0.1}
        drawn.append(one)
    if mark_x is not None and drawn:
        drawn[0]["markLine"] = _mark(mark_x)
    return {
        "grid": {"left": 30, "right": right, "top": 46, "bottom": 44, "containLabel": True},
        "legend": {},
        "tooltip": {"trigger": "item", "formatter": function("point", [list(t) for t in tooltip])},
        "xAxis": x,
        "yAxis": {"nameRotate": 90} | y,
        "series": drawn,
    }


def _mark(at: tuple[float, str]) -> Option:
    return {
        "symbol": "none",
        "silent": True,
        "data": [{"xAxis": at[0]}],
        "lineStyle": {"color": colour("soft"), "type": "dashed", "width": 1},
        "label": {"formatter": at[1], "color": colour("soft"), "fontSize": 11, "position": "insideEndTop"},
    }


def scatter(
    series: Sequence[tuple[str, Sequence[Sequence[Any]], Mapping[str, Any]]],
    x: Option,
    y: Option,
    *,
    tooltip: Sequence[tuple[str, int, str]],
) -> Option:
    """Clouds of points; each series: name, points (x, y, then whatever the tooltip shows), look."""
    return {
        "grid": {"left": 34, "right": 26, "top": 46, "bottom": 44, "containLabel": True},
        "legend": {},
        "tooltip": {"trigger": "item", "formatter": function("point", [list(t) for t in tooltip])},
        "dataZoom": [{"type": "inside", "xAxisIndex": 0, "filterMode": "none"}],
        "xAxis": x,
        "yAxis": {"nameRotate": 90} | y,
        "series": [
            {
                "name": name,
                "type": look.get("type", "scatter"),
                "data": [list(p) for p in points],
                "symbolSize": look.get("size", 5),
                "symbol": look.get("symbol", "circle"),
                "itemStyle": {
                    "color": colour(look.get("colour", "muted")),
                    "opacity": look.get("opacity", 1),
                },
                "lineStyle": {"color": colour(look.get("colour", "muted")), "width": 1.5},
                "step": look.get("step", False),
                "large": len(points) > 20_000,
                "z": look.get("z", 2),
                "label": {
                    "show": bool(look.get("label")),
                    "formatter": look.get("label") or "",
                    "position": look.get("position", "top"),
                    "color": colour("ink"),
                    "fontWeight": 600,
                    "fontSize": 12,
                },
            }
            for name, points, look in series
        ],
    }


def parallel(
    axes: Sequence[tuple[str, Mapping[str, Any]]], series: Sequence[tuple[str, Sequence[Any], str, float]]
) -> Option:
    """Parallel coordinates; drag along an axis to keep part of it. Series: name, rows, colour, opacity."""
    return {
        "legend": {},
        "tooltip": {"show": False},
        "parallel": {
            "left": 34,
            "right": 44,
            "top": 76,
            "bottom": 24,
            "parallelAxisDefault": {"nameGap": 14},
        },
        "parallelAxis": [{"dim": i, "name": name} | dict(more) for i, (name, more) in enumerate(axes)],
        "series": [
            {
                "name": name,
                "type": "parallel",
                "data": [list(r) for r in rows],
                "smooth": 0.12,
                "lineStyle": {
                    "color": colour(tint),
                    "opacity": opacity,
                    "width": 3 if len(rows) == 1 else 1,
                },
                "inactiveOpacity": 0.02,
                "activeOpacity": min(1.0, opacity * 2.5),
                "z": 10 if len(rows) == 1 else 2,
            }
            for name, rows, tint, opacity in series
        ],
    }


def waterfall(steps: Sequence[tuple[str, float, float, str, str]], *, name: str) -> Option:
    """Bars on a logarithmic axis, from where the last step ended to where this one does: (label, from, to, colour,
    words at the bar's end)."""
    low = min(min(a, b) for _, a, b, *_ in steps) / 1.1
    return {
        "grid": {"left": 12, "right": 60, "top": 8, "bottom": 40, "containLabel": True},
        "tooltip": {"show": False},
        "xAxis": axis(name, log=True, low=low, logBase=2),
        "yAxis": {
            "type": "category",
            "inverse": True,
            "data": [label for label, *_ in steps],
            "axisLabel": {"fontSize": 12, "width": 250, "overflow": "break", "lineHeight": 14, "interval": 0},
        },
        "series": [
            {
                "type": "custom",
                "renderItem": function("span", [words for *_, words in steps]),
                "encode": {"x": [1, 2], "y": 0},
                "data": [
                    {"value": [i, a, b], "itemStyle": {"color": colour(tint)}}
                    for i, (_, a, b, tint, _) in enumerate(steps)
                ],
            }
        ],
    }


def whiskers(rows: Sequence[tuple[str, float, float, float, str]], *, name: str, log: bool = False) -> Option:
    """A point with its range for each row: (label, low, value, high, colour)."""
    return {
        "grid": {"left": 8, "right": 30, "top": 12, "bottom": 40, "containLabel": True},
        "tooltip": {
            "trigger": "item",
            "formatter": function("point", [["value", 0, ""], ["low", 2, ""], ["high", 3, ""]]),
        },
        "xAxis": axis(name, log=log),
        "yAxis": {"type": "category", "inverse": True, "data": [r[0] for r in rows]},
        "series": [
            {
                "type": "custom",
                "renderItem": function("whisker"),
                "encode": {"x": [1, 2], "y": 0},
                "silent": True,
                "data": [
                    {"value": [i, low, high], "itemStyle": {"color": colour(tint)}}
                    for i, (_, low, _, high, tint) in enumerate(rows)
                ],
            },
            {
                "type": "scatter",
                "symbolSize": 9,
                "data": [
                    {"value": [value, i, low, high, label], "itemStyle": {"color": colour(tint)}}
                    for i, (label, low, value, high, tint) in enumerate(rows)
                ],
            },
        ],
    }
