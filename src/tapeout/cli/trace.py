"""Simulate a step of a compiled program cycle by cycle, and write what every engine did when.

PROGRAM is a file of `tapeout compile`. The trace opens in https://ui.perfetto.dev: a track for the sequencer and each
engine with a slice for every instruction, by layer and operator; stalls; the memory port. A cycle is shown as a
microsecond.

Examples:

    tapeout compile demo --chip tiny -o demo.program && tapeout trace demo.program -o trace.json

    tapeout trace demo.program --position 500 --sequencer -o trace.json
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tapeout.cli.common import print_json


def trace(
    program: Annotated[Path, typer.Argument(help="a file of tapeout compile")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the trace")] = Path("trace.json"),
    position: Annotated[int, typer.Option(help="tokens that the sequence has before the step", min=0)] = 0,
    entry: Annotated[int, typer.Option(help="number of the program's entry; 0 decodes", min=0)] = 0,
    latency: Annotated[int, typer.Option(help="cycles of an access of memory", min=1)] = 100,
    sequencer: Annotated[bool, typer.Option("--sequencer", help="scalar instructions too")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Simulate and write."""
    from tapeout.compiler.program import Program
    from tapeout.report import perfetto
    from tapeout.simulator.cycle import Memory
    from tapeout.simulator.cycle.step import step
    from tapeout.simulator.cycle.utilisation import utilisation

    loaded = Program.load(program)
    timeline = step(loaded, position, entry, memory=Memory(latency), records=2 if sequencer else 1, window=64)
    count = perfetto.write(out, loaded, timeline)
    used = utilisation(timeline, loaded.operators)
    if json:
        print_json({"trace": str(out), "events": count, "cycles": timeline.cycles, **used.to_dict()})
    else:
        typer.echo(
            f"{out}: {count:,} events, {timeline.cycles:,} cycles; open it in ui.perfetto.dev", err=True
        )
