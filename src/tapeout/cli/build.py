"""Write the hardware of a chip's core: Verilog, ISA manual, register map, constraints, test vectors.

CHIP is a preset's name or a chip.toml. The folder's README says what is connected and what is not. With --check the
Verilog is linted and the test vectors run on it in Verilator, under random stalls of memory.

Examples:

    tapeout build tiny

    tapeout build tiny --check --out /tmp/tiny.build
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tapeout.cli.common import print_json


def build(
    chip: Annotated[str, typer.Argument(help="a preset's name or a chip.toml")],
    check: Annotated[bool, typer.Option("--check", help="lint, and run the vectors in Verilator")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="folder; default: NAME.build")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    seed: Annotated[int, typer.Option("--seed", help="of the stalls in --check", min=0)] = 1,
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
        failures = _check(blocks, tops, spec, seed, result)
        if failures:
            raise DoesNotHold(f"{spec.name}: " + "; ".join(failures[:5]))
    if json:
        print_json(result)
    elif check:
        typer.echo(f"{spec.name}: lint clean; {', '.join(result['vectors'])} equal to the executable ISA")


def _check(blocks: Any, tops: Any, spec: Any, seed: int, result: dict[str, Any]) -> list[str]:
    """Lint of each top, and each vector on the core; what fails, in words."""
    from tapeout.chip.isa.geometry import Geometry
    from tapeout.chip.rtl.core_package import PROGRAM, VECTORS, vector
    from tapeout.simulator.rtl.core import CoreSimulation
    from tapeout.simulator.rtl.lint import lint

    failures = []
    for name, top in tops.items():
        failures += [f"{name}: {line}" for line in lint(top)]
    result["vectors"] = {}
    for name in VECTORS:
        want = vector(name, Geometry.of(spec.core))
        memory = want.before.copy()
        simulation = CoreSimulation(blocks["core"], memory, latency=20, spread=20, stall=0.3, seed=seed)
        got = simulation.run(want.program, PROGRAM)
        wrong = int((memory != want.after).sum())
        if got.cause is not None or got.codes != want.codes or wrong:
            failures.append(
                f"vector {name}: cause {got.cause}, codes {got.codes}, {wrong} bytes of memory differ"
            )
        result["vectors"][name] = {"cycles": got.cycles, **got.counters}
    return failures
