"""Write the package that goes to an implementation partner, or check one from its files alone.

TARGET is a preset's name or a chip.toml; with --check, the folder of a package. The package has RTL, constraints, power
intent, memory list, floorplan, pins and registers, the ISA manual, test vectors with a testbench that needs no Python,
what was proved and covered, and what the package is not. The same chip gives the same bytes.

Examples:

    tapeout handoff tiny -o handoff

    tapeout handoff --check handoff
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapeout.cli.common import print_json


def handoff(
    target: Annotated[str, typer.Argument(help="a preset's name or a chip.toml; with --check a folder")],
    check: Annotated[bool, typer.Option("--check", help="check a package")] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="folder; default: NAME.handoff")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="--check without the testbench")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Make or check."""
    from tapeout.errors import InputError, Phrase

    def say(words: str) -> None:
        typer.echo(words, err=True)

    if check:
        if out is not None:
            raise InputError("--out", "", str(out), "nothing: --check writes nothing")
        _check(Path(target), quick, json, say)
        return
    if quick:
        raise InputError("--quick", "", Phrase("no --check"), "--check beside it")
    from tapeout.chip import load
    from tapeout.physical.handoff import handoff as made

    spec = load(target)
    folder = out or Path(f"{spec.name}.handoff")
    files = made(target, folder, say)
    if json:
        print_json({"chip": spec.name, "folder": str(folder), "files": files})
    else:
        typer.echo(f"{spec.name}: {len(files)} files in {folder}; read README.md and LIMITS.md there first")


def _check(folder: Path, quick: bool, json: bool, say: object) -> None:
    from tapeout.errors import MissingDependency

    try:
        from tapeout.physical.handoff.check import as_json, raise_if_broken
        from tapeout.physical.handoff.check import check as checked
    except ImportError:
        raise MissingDependency("checking a package", "rtl") from None

    report = checked(folder, not quick, say)  # type: ignore[arg-type]
    for words in report.problems:
        typer.echo(f"problem: {words}", err=True)
    for words in report.skipped:
        typer.echo(f"not checked: {words}", err=True)
    if json:
        print_json(as_json(report))
    raise_if_broken(report)
    if not json:
        typer.echo(f"{folder}: {'; '.join(report.done)}: all as they should be")
