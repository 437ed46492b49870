"""Plan a fleet of own chips: how many, where, when, at what cost, against buying others; what could go wrong.

Writes plan.html, plan.json and Parquet tables to --out.

Examples:

    tapeout plan --scenario ten-gigawatts

    tapeout plan --scenario ten-gigawatts --why capex.2028
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.cli.common import print_json

if TYPE_CHECKING:
    from tapeout.fleet.plan import Plan


def plan(
    scenario: Annotated[str, typer.Option(help="a shipped scenario, or a TOML file")] = "ten-gigawatts",
    chip: Annotated[
        str | None, typer.Option(help="a shipped chip or a chip.toml, instead of the scenario's")
    ] = None,
    model: Annotated[str | None, typer.Option(help="one model for every kind of request")] = None,
    samples: Annotated[
        int, typer.Option(help="samples of the uncertain inputs; 0 for none", min=0, max=1 << 20)
    ] = 4096,
    seed: Annotated[int, typer.Option(help="of the samples", min=0)] = 0,
    out: Annotated[Path, typer.Option(help="folder of the results")] = Path("plan"),
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    why: Annotated[
        str | None,
        typer.Option(help="print the chain from a number to its inputs: NAME or NAME.YEAR, e.g. capex.2028"),
    ] = None,
    depth: Annotated[int, typer.Option(help="how far --why goes", min=1, max=60)] = 60,
) -> None:
    """Build the plan, then sample it, stress it and write it; or say why one of its numbers is what it is."""
    from concurrent.futures import ProcessPoolExecutor

    from tapeout.errors import DoesNotHold
    from tapeout.fleet.plan import build
    from tapeout.fleet.scenario import load_scenario
    from tapeout.fleet.solver import highs

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # two processes share the cores
    highs()
    loaded = load_scenario(scenario)

    def say(text: str) -> None:
        typer.echo(text, err=True)

    with ProcessPoolExecutor(min(os.cpu_count() or 1, 9)) as pool:
        made = build(loaded, chip, model, pool, lambda text: say(f"… {text}"))
    if why is not None:
        _why(made, why, depth, json)
        return
    found, text, tables = _work(made, samples, seed, say, _command(scenario, chip, model, samples, seed))
    from tapeout.files import write_atomic
    from tapeout.report.plan import summary

    for name, blob in tables.items():
        write_atomic(out / name, blob)
    write_atomic(out / "plan.html", text)
    if json:
        print_json(found)
    else:
        for label, value in summary(made).items():
            typer.echo(f"{label:30} {value}")
        for label, share in found.get("risk", {}).get("probability", {}).items():
            typer.echo(f"{label:30} in {share:.0%} of {samples:,} samples")
        typer.echo(f"{'written':30} {out}/plan.html, {', '.join(tables)}")
    short = made.shortfall()
    if short is not None:
        raise DoesNotHold(f"the plan misses its target: {short}")


def _command(scenario: str, chip: str | None, model: str | None, samples: int, seed: int) -> str:
    """The command that makes the same again."""
    parts = ["tapeout plan --scenario", scenario]
    parts += ["--chip", chip] if chip else []
    parts += ["--model", model] if model else []
    return " ".join([*parts, "--samples", str(samples), "--seed", str(seed)])


def _work(
    made: Plan, samples: int, seed: int, say: Callable[[str], None], command: str
) -> tuple[dict[str, Any], str, dict[str, bytes | str]]:
    """(the JSON object, the page, files by name)."""
    import json as text

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from tapeout.fleet import risk, stress
    from tapeout.fleet.output import as_plain, months_table, plain, result, samples_table
    from tapeout.report.plan import page

    s = made.scenario
    outputs = ("npv", *(f"versus.{a}.npv" for a in s.gpus))
    base = 1 << max(samples // 16, 16).bit_length() - 1 if samples else 0
    names = risk.uncertain(made)
    groups = len({risk.group_of(n) for n in names})
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=False) as bar:
        drawn, indices = None, {}
        if samples:
            task = bar.add_task("samples", total=samples)
            drawn = risk.sample(made, samples, seed, lambda n: bar.advance(task, n))
            task = bar.add_task("sensitivity", total=base * (groups + 2))
            indices = risk.group_indices(made, outputs, base, seed + 1, lambda n: bar.advance(task, n))
        task = bar.add_task("stress and conditions", total=None)
        cases = stress.run(made)
        conditions = {k: stress.conditions(made, k, stress.deciding(made, k, drawn)) for k in outputs}
        bar.update(task, total=1, completed=1)
    extra: dict[str, object] = {
        "stress": as_plain(cases),
        "must_be_true": {k: as_plain(v) for k, v in conditions.items()},
        "samples": samples,
        "seed": seed,
    }
    if drawn is not None:
        extra["risk"] = risk.summary(drawn, made)
        extra["sensitivity"] = {
            "first_order": {k: _largest(risk.first_order(drawn, k)) for k in outputs},
            "groups": {
                k: {g: {"first": i.first, "total": i.total} for g, i in v.items()} for k, v in indices.items()
            },
        }
    found = plain(result(made, extra))
    files: dict[str, bytes | str] = {
        "plan.json": text.dumps(found, indent=2, ensure_ascii=False, allow_nan=False) + "\n",
        "months.parquet": months_table(made),
    }
    if drawn is not None:
        files["samples.parquet"] = samples_table(drawn, made)
    return found, page(made, drawn, indices, cases, conditions, command), files


def _largest(index: dict[str, float], count: int = 25) -> dict[str, float]:
    return {k: index[k] for k in sorted(index, key=lambda k: -index[k])[:count]}


def _why(made: Plan, asked: str, depth: int, json: bool) -> None:
    from tapeout.fleet.output import plain
    from tapeout.fleet.why import chain, lines

    links = chain(made, asked, depth)
    if json:
        rows = [
            {
                "depth": x.depth,
                "name": x.name,
                "value": x.value,
                "unit": x.unit,
                "formula": x.formula,
                "when": x.when,
                "source": x.quantity.source if x.quantity else None,
            }
            for x in links
        ]
        print_json(plain({"asked": asked, "chain": rows}))
        return
    for line in lines(links):
        typer.echo(line)
