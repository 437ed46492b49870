"""Draw the floorplan of a chip to scale: picture (SVG, PNG), GDSII, and every block as JSON.

CHIP is a preset's name or a chip.toml. Cores, what is in them, memory PHYs and links along the edges, the network on
chip, the dies and stacks of the package; checked against the reticle, the edges and the clock.

Examples:

    tapeout floorplan flagship

    tapeout floorplan edge --out /tmp/edge.floorplan --json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapeout.cli.common import print_json


def floorplan(
    chip: Annotated[str, typer.Argument(help="a preset's name or a chip.toml")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="folder; default: NAME.floorplan")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Lay out, check, write."""
    from tapeout.chip import load
    from tapeout.errors import InputError, Phrase
    from tapeout.files import write_atomic
    from tapeout.physical.floorplan.checks import findings, refuse
    from tapeout.physical.floorplan.die import floorplan as laid_out
    from tapeout.physical.floorplan.files import files

    spec = load(chip)
    folder = out or Path(f"{spec.name}.floorplan")
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "", Phrase("a file"), "a folder, or nothing")
    refuse(spec, chip)
    plan = laid_out(spec)
    refuse(spec, chip, plan)
    made = files(plan)
    for name, contents in made.items():
        write_atomic(folder / name, contents)
        typer.echo(f"{folder / name}", err=True)
    found = findings(plan)
    for words in found["warnings"]:
        typer.echo(f"note: {words}", err=True)
    if json:
        print_json({**found, "folder": str(folder), "files": sorted(made)})
        return
    die, network = found["die"], found["network"]
    typer.echo(
        f"{spec.name}: die of {die['width_mm']:.2f} × {die['height_mm']:.2f} mm, {die['utilisation']:.1%} in use; "
        f"{found['array']['columns']} × {found['array']['rows']} cores; longest hop "
        f"{network['longest_hop_mm']:.2f} mm, {network['longest_hop_ps']:.0f} of {network['wire_budget_ps']:.0f} ps"
    )
