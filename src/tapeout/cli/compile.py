"""Compile a model for a core of a chip, and say where the cycles will go.

MODEL is demo, a shipped model's name or a Hugging Face folder; weights are not read. The program serves every length of
a sequence up to its context. The report is a simulated decode step, cycle by cycle: for each operator the shares of
the matrix engine's peak and of the memory port's bandwidth, and what the rest waited for.

Examples:

    tapeout compile demo --chip tiny -o demo.program

    tapeout compile demo --chip tiny --prefill 32 --position 500 --json -o demo.program
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from tapeout.cli.common import print_json


def compile(
    model: Annotated[str, typer.Argument(help="demo, a model's name or a folder", metavar="MODEL")],
    chip: Annotated[str, typer.Option("--chip", help="chip.toml or preset")] = "tiny",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="default: NAME.program")] = None,
    plan: Annotated[str, typer.Option(help="formats, as in tapeout run")] = "mxint8",
    context: Annotated[
        int | None, typer.Option(help="positions of a sequence", min=1, show_default="the model's")
    ] = None,
    slots: Annotated[int, typer.Option(help="sequences at work", min=1)] = 1,
    prefill: Annotated[
        list[int] | None,
        typer.Option(
            help="tokens of an entry for prompts; repeatable, 0: none",
            show_default="what the scratchpad holds",
        ),
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="sequences of an entry that decodes; repeatable")
    ] = None,
    beyond_memory: Annotated[
        bool,
        typer.Option("--beyond-memory", help="a model larger than the chip's memory, for its time alone"),
    ] = False,
    position: Annotated[int, typer.Option(help="tokens before the step of the report", min=0)] = 0,
    latency: Annotated[int, typer.Option(help="cycles of an access of memory", min=1)] = 100,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Compile, write, report."""
    from tapeout.chip import load as load_chip
    from tapeout.compiler import compile as compiled
    from tapeout.errors import InputError, Phrase
    from tapeout.model import load
    from tapeout.simulator.cycle import Memory
    from tapeout.simulator.cycle.step import step
    from tapeout.simulator.cycle.utilisation import utilisation

    spec, source = load_chip(chip), load(model)
    for name, values in (("--prefill", prefill), ("--batch", batch)):
        for value in values or ():
            if value < 2 and (name, value) != ("--prefill", 0):
                raise InputError(name, "", value, "at least 2")
    begun = time.perf_counter()
    program = compiled(
        source,
        spec,
        plan,
        context=context,
        slots=slots,
        prefill=None if prefill is None else tuple(n for n in prefill if n),
        batches=tuple(batch or ()),
        beyond_memory=beyond_memory,
    )
    seconds = time.perf_counter() - begun
    if position >= program.context:
        raise InputError("--position", "", position, f"0 to {program.context - 1}")
    path = out or Path(f"{source.name}.program")
    if path.is_dir():
        raise InputError(path, "", Phrase("a folder"), "a file")
    program.save(path)
    timeline = step(program, position, memory=Memory(latency))
    used = utilisation(timeline, program.operators)
    rate = spec.clock_ghz * 1e9 / timeline.cycles
    result: dict[str, Any] = {
        "program": str(path), "model": program.model, "chip": spec.name, "compile_seconds": seconds,
        "instructions": len(program.code), "memory_bytes": program.memory_bytes, "context": program.context,
        "entries": [e.name for e in program.entries], "position": position, "cycles": timeline.cycles,
        "tokens_per_second": rate, **used.to_dict(),
    }  # fmt: skip
    if json:
        print_json(result)
        return
    typer.echo(
        f"{path}: {len(program.code):,} instructions, {program.memory_bytes / 2**20:,.1f} MiB of memory, context "
        f"{program.context:,}; compiled in {seconds:.1f} s"
    )
    typer.echo(
        f"decode at position {position}: {timeline.cycles:,} cycles, {rate:,.0f} tokens/s at {spec.clock_ghz} GHz"
    )
    typer.echo(used.text())
