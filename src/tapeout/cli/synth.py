"""Synthesise a chip's core to a cell library: area, cells, flip-flops, critical path and clock, block by block.

CHIP is a preset's name or a chip.toml. --lib is asap7, gt2n or sky130 (found in the folders of TAPEOUT_PDK) or the path
of a Liberty file. Without --block every engine's blocks and the whole core are done; with it, those blocks.

Examples:

    tapeout synth tiny --lib asap7 --block fp32_add

    tapeout synth tiny --lib asap7 --block reducer --wire estimate --json
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from tapeout.cli.common import print_json


def synth(
    chip: Annotated[str, typer.Argument(help="a preset's name or a chip.toml")],
    lib: Annotated[str, typer.Option("--lib", help="asap7, gt2n, sky130, or a Liberty file")] = "asap7",
    block: Annotated[list[str] | None, typer.Option("--block", help="this block; may be repeated")] = None,
    target: Annotated[
        float | None, typer.Option("--target", help="ns to map for; default: the library's")
    ] = None,
    wire: Annotated[str, typer.Option("--wire", help="none, estimate, or fF per fanout")] = "none",
    energy: Annotated[
        bool, typer.Option("--energy", help="and energy per operation, on real operands")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="write the result there as JSON")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Map, time, print."""
    import json as text

    from tapeout.chip import load
    from tapeout.errors import InputError, MissingDependency, Phrase
    from tapeout.files import write_atomic

    spec = load(chip)
    if out and out.is_dir():
        raise InputError(out, "", Phrase("a folder"), "a file to write")
    if target is not None and not 0 < target < math.inf:
        raise InputError("--target", "", target, "nanoseconds above 0")
    try:
        from tapeout.physical.synthesis import blocks, flow, pdk
    except ImportError:
        raise MissingDependency("synthesis", "rtl") from None
    kit = pdk.find(lib)
    chosen = blocks.choose(spec, chip, block) if block else blocks.table(spec, chip)
    rows: list[dict[str, Any]] = []
    energies_of: list[Any] = []
    if not json:
        typer.echo(f"{kit.known.title}: {kit.library.name}, {kit.library.voltage:g} V")
        typer.echo(blocks.HEADING)
    for one in chosen:
        typer.echo(f"{one.module_name} …", err=True)
        result = flow.synthesise(one, kit, target_ns=target, wire=wire)
        row = {"block": blocks.name_of(one), **result.to_json()}
        if energy:
            from tapeout.physical.synthesis.operations import energies

            found = energies(one, result)
            energies_of += found
            row["energy"] = [e.to_json() for e in found]
        rows.append(row)
        if not json:
            typer.echo(blocks.line(row))
    whole: dict[str, Any] = {
        "chip": spec.name,
        "library": kit.library.name,
        "sha256": kit.library.digest,
        "blocks": rows,
    }
    if energies_of:
        from tapeout.physical.synthesis.token import token

        if spent := token(energies_of):
            whole["demo_token"] = spent.to_json()
            if not json:
                typer.echo(blocks.token_line(spent))
    if out:
        write_atomic(out, text.dumps(whole, indent=2) + "\n")
    if json:
        print_json(whole)
