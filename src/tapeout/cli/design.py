"""Design the inference chip that serves a model best, and compare it with today's accelerators.

MODEL is a shipped name (see `tapeout models`), a Hugging Face folder or a config.json. Writes chip.toml,
report.html, results.parquet and summary.json to ./NAME.design/, and prints a summary. If interrupted, the same
command resumes.

Examples:

    tapeout design gpt-oss-120b

    tapeout design llama-3.1-70b --objective tokens_per_dollar --tpot 30 --node N5 --hbm hbm3e
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tapeout.cli.common import print_json

if TYPE_CHECKING:
    from tapeout.search.explore import Progress
    from tapeout.search.result import DesignResult


def design(
    model: Annotated[
        str, typer.Argument(help="shipped name, Hugging Face folder or config.json", metavar="MODEL")
    ],
    objective: Annotated[
        str, typer.Option(help="tokens_per_joule, tokens_per_dollar, tokens_per_chip or latency")
    ] = "tokens_per_joule",
    max_power: Annotated[float, typer.Option(help="design power of a package, watts")] = 1000.0,
    node: Annotated[str, typer.Option(help="process nodes the search may use: N7, N5, N3E, N2")] = "N3E",
    hbm: Annotated[str, typer.Option(help="memories it may use: hbm2e, hbm3, hbm3e, hbm4")] = "hbm3e,hbm4",
    tpot: Annotated[
        float | None, typer.Option(help="longest time per output token, ms", show_default="20")
    ] = None,
    ttft: Annotated[
        float | None, typer.Option(help="longest time to first token, ms", show_default="2000")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="tokens held while decoding, on the mean", show_default="8192")
    ] = None,
    batch: Annotated[int | None, typer.Option(help="sequences of a replica", show_default="the best")] = None,
    scenario: Annotated[Path | None, typer.Option(help="traffic and targets, a TOML file")] = None,
    accelerators: Annotated[
        str | None, typer.Option(help="those to compare, names or TOML files", show_default="all shipped")
    ] = None,
    effort: Annotated[str, typer.Option(help="how much to search: quick, normal or thorough")] = "normal",
    seed: Annotated[int, typer.Option(help="of the search; the same seed gives the same chip")] = 0,
    out: Annotated[
        Path | None, typer.Option(help="folder of the results", show_default="NAME.design")
    ] = None,
    workers: Annotated[int, typer.Option(help="threads")] = 2,
    ray: Annotated[
        str | None, typer.Option(help="address of a Ray cluster to search on", metavar="ADDRESS")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Search, choose, compare, write."""
    from tapeout.errors import InputError
    from tapeout.report.design import design as run
    from tapeout.report.summary import summary

    if not 1 <= workers <= 1024:
        raise InputError("design", "--workers", workers, "an integer from 1 to 1024")
    folder = out if out is not None else Path(f"{_folder_name(model)}.design")
    with _progress() as progress:
        result = run(
            model,
            objective=objective,  # type: ignore[arg-type]
            scenario=scenario,
            tpot_ms=tpot,
            ttft_ms=ttft,
            context=context,
            batch=batch,
            max_watts=max_power,
            nodes=_names(node),
            memories=_names(hbm),
            accelerators=None if accelerators is None else _names(accelerators),
            seed=seed,
            effort=effort,
            out=folder,
            workers=workers,
            ray=ray,
            progress=progress,
        )
    if json:
        print_json(summary(result) | {"report": str(folder / "report.html")})
    else:
        _print(result, folder)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _folder_name(model: str) -> str:
    """The last part of the model's name or path, as part of a file name."""
    path = Path(model)
    name = path.resolve().parent.name if path.name == "config.json" else path.resolve().name
    kept = "".join(c if c.isalnum() or c in "._+-" else "-" for c in name).strip(".-")
    return kept[:100] or "model"


@contextmanager
def _progress() -> Iterator[Progress]:
    """A bar on stderr."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("searching"),
        BarColumn(),
        TextColumn("{task.fields[designs]:,} designs, {task.fields[evaluations]:.1f} M evaluations"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, designs=0, evaluations=0.0)

        def told(done: int, total: int, designs: int, evaluations: int) -> None:
            bar.update(task, completed=done, total=total, designs=designs, evaluations=evaluations / 1e6)

        yield told


def _print(result: DesignResult, folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from tapeout.report.design_simulated import line as told

    chip, engine, o = result.chip, result.chip.core.matrix, result.operation
    console = Console()
    console.width = max(console.width, 124)
    formats = ", ".join(f.upper() for f in engine.formats)
    die, watts, dollars = (
        result.silicon.die_mm2.value,
        result.silicon.design_watts.value,
        result.silicon.unit_dollars.value,
    )
    console.print(f"[bold]{chip.name}[/bold]", highlight=False)
    for line in (
        f"{chip.node}, {chip.dies} × {die:.0f} mm², {watts:.0f} W, {chip.clock_ghz:g} GHz, {dollars:,.0f} $ a package",
        f"{chip.cores} cores of {engine.rows} × {engine.columns} units of {engine.lanes} lanes ({formats}),"
        f" {chip.core.scratchpad.kibibytes} KiB",
        f"{chip.memory.stacks} × {chip.memory.gibibytes_per_stack} GiB {chip.memory.kind.upper()},"
        f" {chip.links.scale_up_lanes} × {chip.links.gigabits_per_lane}G scale-up",
        f"best at {result.objective.replace('_', ' ')}: {o.split}, batch {o.batch}; {result.scenario.describe()}",
    ):
        console.print("  " + line, highlight=False, markup=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("at the same targets", no_wrap=True)
    for column in (
        "tokens/s/chip",
        "tokens/s/W",
        "M tokens/$",
        "W",
        "TPOT ms",
        "TTFT ms",
        "chips",
        "batch",
        "tokens/W ×",
    ):
        table.add_column(column, justify="right", no_wrap=True)

    def figure(value: float, digits: int) -> str:
        return f"{value:,.{digits}f}" if value == value else "–"

    for name, op in [(chip.name, o)] + [(r.name, r.operation) for r in result.rivals]:
        if op is None:
            table.add_row(Text(name), "does not fit")
            continue
        if not op.meets:
            table.add_row(
                Text(name), "misses the targets", "", "", "", figure(op.tpot_ms, 1), figure(op.ttft_ms, 0)
            )
            continue
        table.add_row(
            Text(name),
            figure(op.tokens_per_s, 0),
            figure(op.tokens_per_joule, 2),
            figure(op.tokens_per_dollar / 1e6, 2),
            figure(op.watts, 0),
            figure(op.tpot_ms, 1),
            figure(op.ttft_ms, 0),
            str(op.chips),
            str(op.batch),
            figure(o.tokens_per_joule / op.tokens_per_joule, 1),
        )
    console.print(table)
    console.print("[bold]in the cycle simulator[/bold]", highlight=False)
    for c in result.confirmations:
        console.print("  " + told(c), highlight=False, markup=False, soft_wrap=True)
    typer.echo(f"report: {folder / 'report.html'}")
