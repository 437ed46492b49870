"""Fit the accelerator model to published measurements, and measure how well it predicts what it was not fitted on.

Each FILE is a CSV table of whole-server runs or of energy per token. Written: fitted.toml, every
parameter with its uncertainty, prior and source; validation.json, held-out errors and the quantiles that prediction
intervals are made from. Deterministic.

Examples:

    tapeout calibrate --help

    tapeout calibrate gpu_serving.csv gpu_energy.csv --out calibration
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapeout.cli.common import print_json


def calibrate(
    data: Annotated[list[Path], typer.Argument(help="CSV tables of measurements", metavar="FILE...")],
    models: Annotated[
        Path | None, typer.Option(help="folder of Hugging Face configs of further models")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder to write to")] = Path("calibration"),
    quick: Annotated[bool, typer.Option("--quick", help="fit only; no held-out errors")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Fit, validate, write, and say what was found."""
    import json as encoder

    from tapeout.estimate import fitted
    from tapeout.estimate.provenance import calibrated, with_provenance
    from tapeout.estimate.published import Models, read_rows
    from tapeout.estimate.validation import cross_validate, summary
    from tapeout.files import write_atomic

    known = Models(models)
    tables = {path: read_rows(path, known) for path in data}
    rows = [row for table in tables.values() for row in table]
    skipped = [row for row in rows if row.point is None]
    for row in skipped:
        typer.echo(f"row {row.number}: not used: {row.reason}", err=True)
    if quick:
        parameters, found = calibrated(rows), None
    else:
        validation = cross_validate(rows, lambda what: typer.echo(what, err=True))
        parameters, found = validation.parameters, summary(validation)
    parameters = with_provenance(parameters, tables)
    fitted.write(out / fitted.NAME, parameters)
    if found is not None:
        write_atomic(out / "validation.json", encoder.dumps(found, indent=1, allow_nan=False) + "\n")
    if json:
        print_json(
            {
                "rows": len(rows),
                "skipped": len(skipped),
                "parameters": dict(parameters.values),
                "validation": found["table"] if found else None,
                "out": str(out),
            }
        )
        return
    if found is not None:
        from tapeout.cli.validate import print_table

        print_table(found["table"])
    typer.echo(f"{len(rows) - len(skipped)} rows used, {len(skipped)} not; written to {out}")
