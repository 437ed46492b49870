"""Predict published measurements, and say how far off the predictions are and why.

Without --data: the held-out errors of the shipped calibration. With it, every row of each FILE (the columns of
a serving or an energy table) is predicted with the shipped parameters; a row that cannot be counts as an error of
100 %.

Examples:

    tapeout validate

    tapeout validate --json
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tapeout.cli.common import print_json


def validate(
    data: Annotated[
        list[Path] | None, typer.Option(help="CSV table of measurements; may be given again")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="folder of Hugging Face configs of further models")
    ] = None,
    parameters: Annotated[
        Path | None, typer.Option(help="fitted parameters other than those shipped")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="folder for validation.html and predictions.csv")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Predict, print the errors, write the page."""
    from tapeout.estimate import fitted
    from tapeout.estimate.intervals import shipped_summary
    from tapeout.files import write_atomic
    from tapeout.report.validation import page

    if not data:
        found = shipped_summary()
        if out is not None:
            write_atomic(out / "validation.html", page(found, None))
        if json:
            print_json(found | {"out": str(out) if out else None})
        else:
            print_table(found["table"])
        return
    from tapeout.estimate.checking import check, csv_of
    from tapeout.estimate.published import Models, read_rows

    chosen = fitted.read(parameters) if parameters is not None else fitted.fitted()
    known = Models(models)
    rows = [row for path in data for row in read_rows(path, known)]
    result = check(rows, chosen)
    if out is not None:
        write_atomic(out / "validation.html", page(shipped_summary(), result))
        write_atomic(out / "predictions.csv", csv_of(result))
    if json:
        print_json(result.summary | {"predictions": result.predictions(), "out": str(out) if out else None})
        return
    print_table(result.summary["table"])
    print_groups(result.summary["groups"])
    for reason, count in result.summary["unpredicted"].items():
        typer.echo(f"{count} rows not predicted: {reason}")
    for w in result.summary["worst"]:
        typer.echo(f"row {w['row']}: {w['metric']} {100 * w['error']:+.0f} %: {w['what']}; {w['why']}")
    if out is not None:
        typer.echo(f"written: {out / 'validation.html'}, {out / 'predictions.csv'}")


def _share(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def print_table(table: Sequence[dict[str, Any]]) -> None:
    """Errors by metric and protocol."""
    heads = (
        "metric",
        "protocol",
        "rows",
        "unpredicted",
        "median",
        "mean",
        "bias",
        "in 80 %",
        "target (median, mean)",
    )
    body = []
    for e in table:
        target = e.get("target")
        verdict = ""
        if target is not None:
            verdict = f"{_share(target[0])}, {_share(target[1])}: {'met' if e['holds'] else 'missed'}"
        figures = [_share(e[k]) for k in ("median", "mean", "bias")]
        body.append(
            (
                e["metric"],
                e["protocol"],
                e["rows"],
                e["unpredicted"],
                *figures,
                _share(e.get("coverage")),
                verdict,
            )
        )
    _print(heads, body, text=(0, 1, 8))


def print_groups(groups: Sequence[dict[str, Any]]) -> None:
    """Errors by accelerator, model and engine."""
    heads = ("by", "group", "metric", "rows", "median", "mean", "bias")
    body = [
        (g["by"], g["group"], g["metric"], g["rows"], *(_share(g[k]) for k in ("median", "mean", "bias")))
        for g in groups
    ]
    _print(heads, body, text=(0, 1, 2))


def _print(heads: Sequence[str], body: Sequence[Sequence[object]], text: Sequence[int]) -> None:
    cells = [[str(c) for c in row] for row in (heads, *body)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(heads))]
    for row in cells:
        parts = (
            c.ljust(w) if i in text else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True))
        )
        typer.echo("  ".join(parts).rstrip())
    typer.echo("")
