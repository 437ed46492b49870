"""Write the hardware of a chip's core: Verilog, ISA manual, register map, constraints, test vectors.

CHIP is a preset's name or a chip.toml. The folder's README says what each file is. With --check the Verilog is linted,
the blocks of this configuration are compared with their twins in Verilator, what has to hold in every cycle is
proved, and the core runs the test vectors and random programs under random stalls of memory, every byte and register
compared with the executable ISA. `verification/` then has the results and what the programs covered, with the holes.
A check that is interrupted goes on where it was.

Examples:

    tapeout build tiny

    tapeout build tiny --check --programs 50 --seed 7 --out /tmp/tiny.build
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tapeout.cli.common import print_json


def build(
    chip: Annotated[str, typer.Argument(help="a preset's name or a chip.toml")],
    check: Annotated[
        bool, typer.Option("--check", help="lint, blocks, proofs, vectors, random programs")
    ] = False,
    programs: Annotated[int, typer.Option("--programs", help="random programs in --check", min=0)] = 20,
    out: Annotated[Path | None, typer.Option("--out", help="folder; default: NAME.build")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    seed: Annotated[
        int, typer.Option("--seed", help="of operands, programs and stalls in --check", min=0)
    ] = 1,
) -> None:
    """Build, write, and check if asked."""
    from tapeout.chip import load
    from tapeout.errors import DoesNotHold, InputError, Phrase
    from tapeout.files import write_atomic

    spec = load(chip)
    try:
        from tapeout.chip.rtl import core_package
    except ImportError:
        from tapeout.errors import MissingDependency

        raise MissingDependency("building hardware", "rtl") from None
    folder = out or Path(f"{spec.name}.build")
    if folder.exists() and not folder.is_dir():
        raise InputError(folder, "", Phrase("a file"), "a folder, or nothing")
    blocks, tops = core_package.build(spec, chip)
    files = core_package.package(spec, tops)
    for name, contents in files.items():
        write_atomic(folder / name, contents)
    result: dict[str, Any] = {"chip": spec.name, "folder": str(folder), "files": sorted(files)}
    for name in sorted(files):
        typer.echo(f"{folder / name}", err=True)
    if check:
        from tapeout.report.build_check import check_build

        failures = check_build(spec, blocks, tops, folder, programs, seed, result, _say)
        for line in failures:
            typer.echo(f"FAIL {line}", err=True)
        if failures:
            raise DoesNotHold(
                f"{spec.name}: {len(failures)} of the checks do not hold: " + "; ".join(failures[:3])
            )
    if json:
        print_json(result)
    elif check:
        typer.echo(
            f"{spec.name}: lint clean; {len(result['blocks'])} blocks equal their twins; {result['proofs']} proofs "
            f"hold; {', '.join(result['vectors'])} and {programs} random programs equal to the executable ISA"
        )


def _say(text: str) -> None:
    typer.echo(text, err=True)
