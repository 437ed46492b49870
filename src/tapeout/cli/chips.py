"""List the shipped chips and the off-the-shelf accelerators, or describe one: area, power, cost, limits, sources.

CHIP is a preset's name, a chip.toml or an accelerator of the catalogue (its datasheet).

Examples:

    tapeout chips

    tapeout chips flagship --json
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.cli.common import print_json

if TYPE_CHECKING:
    from rich.table import Table

    from tapeout.chip import ChipSpec
    from tapeout.estimate.accelerators import Accelerator


def chips(
    chip: Annotated[str | None, typer.Argument(help="one chip; all, and the accelerators, if absent")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Print the table, or the chip, or either as JSON."""
    from tapeout.chip import available, load

    bought = [a for a in _accelerators() if chip in (None, a["name"])]
    names = available() if chip is None else () if bought else (chip,)
    ours = [summary(load(name)) for name in names]
    if json:
        parts = {"chips": ours, "accelerators": bought}
        print_json(parts if chip is None else {k: v for k, v in parts.items() if v})
    elif chip is None:
        _print_tables(ours, bought)
    elif bought:
        _print_datasheet(bought[0])
    else:
        _print_chip(ours[0])


def summary(spec: ChipSpec) -> dict[str, Any]:
    """What the table and `--json` say about a chip of ours; areas are of one die."""
    import numpy as np

    from tapeout.chip.spec import MATRIX_FORMATS
    from tapeout.chip.toml import to_table
    from tapeout.physical.area import area, memory_bandwidth
    from tapeout.physical.cost import unit_cost
    from tapeout.physical.limits import problems
    from tapeout.physical.power import design_activity, power, thermal_design_power

    def one(value: Any) -> float:
        return round(float(np.ravel(value)[0]), 6)

    hertz, engine = spec.clock_ghz * 1e9, spec.core.matrix
    areas, drawn, cost = area(spec), power(spec, design_activity(spec)), unit_cost(spec)
    return {
        "name": spec.name,
        "node": spec.node,
        "peak_tflops": {
            f: 2 * spec.cores * engine.macs_per_cycle(f) * hertz / 1e12
            for f in MATRIX_FORMATS
            if f in engine.formats
        },
        "memory_kind": spec.memory.kind,
        "memory_gib": spec.memory.stacks * spec.memory.gibibytes_per_stack,
        "memory_gb_per_s": one(memory_bandwidth(spec)) / 1e9,
        "scratchpad_mib": spec.cores * spec.core.scratchpad.kibibytes / 1024,
        "die_mm2": one(areas.total),
        "area_mm2": {k: one(v) for k, v in areas.parts().items()},
        "design_watts": one(thermal_design_power(spec)),
        "watts_by_part": {k: one(v) for k, v in drawn.parts().items()},
        "unit_cost_usd": one(cost.total),
        "cost_usd": {k: one(v) for k, v in cost.parts().items()},
        "problems": problems(spec),
        "spec": to_table(spec),
    }


def _accelerators() -> list[dict[str, Any]]:
    from tapeout.estimate.accelerators import catalog

    return [_datasheet(a) for a in catalog().values()]


def _datasheet(a: Accelerator) -> dict[str, Any]:
    """Datasheet figures in fixed units, with the source of each."""

    def value(name: str, unit: str) -> float | None:
        return a.quantities[name].to(unit) if name in a.quantities else None

    peaks = [n for n in a.quantities if n.startswith("peak.")]
    return {
        "name": a.key,
        "product": a.name,
        "vendor": a.vendor,
        "node": a.node,
        "peak_tflops": {n.removeprefix("peak."): value(n, "TFLOP/s") for n in peaks},
        "memory_gib": value("memory.capacity", "GiB"),
        "memory_gb_per_s": value("memory.bandwidth", "GB/s"),
        "watts": value("power.tdp", "W"),
        "sources": {n: q.source for n, q in a.quantities.items()},
    }


def _table(*columns: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i < 2 else "right", no_wrap=True)
    return table


def _print_tables(ours: list[dict[str, Any]], bought: list[dict[str, Any]]) -> None:
    from rich.console import Console

    table = _table(
        "chip", "node", "FP4 TF/s", "8-bit TF/s", "memory GiB", "GB/s", "SRAM MiB", "die mm²", "W", "$"
    )
    for r in ours:
        peak = r["peak_tflops"]
        table.add_row(
            r["name"],
            r["node"],
            _number(peak.get("mxfp4")),
            _number(peak.get("mxint8") or peak.get("mxfp8")),
            *(_number(r[k]) for k in ("memory_gib", "memory_gb_per_s", "scratchpad_mib", "die_mm2")),
            *(_number(r[k]) for k in ("design_watts", "unit_cost_usd")),
        )
    sheets = _table(
        "accelerator", "node", "FP4 TF/s", "8-bit TF/s", "BF16 TF/s", "memory GiB", "GB/s", "W", "source"
    )
    sheets.columns[-1].justify = "left"
    for r in bought:
        peak = r["peak_tflops"]
        source = next((s for n, s in r["sources"].items() if n.startswith("peak.")), "")
        sheets.add_row(
            r["name"],
            r["node"],
            _number(peak.get("fp4")),
            _number(peak.get("fp8") or peak.get("int8")),
            _number(peak.get("bf16")),
            *(_number(r[k]) for k in ("memory_gib", "memory_gb_per_s", "watts")),
            source,
        )
    console = Console()  # a pipe or a narrow terminal must not cut the numbers
    console.width = max(console.width, 190)
    console.print(table)
    if bought:
        console.print()
        console.print(sheets)


def _print_chip(r: dict[str, Any]) -> None:
    for form, peak in r["peak_tflops"].items():
        typer.echo(f"peak {form:9} {_number(peak):>9} TFLOP/s")
    typer.echo(f"memory         {_number(r['memory_gib']):>9} GiB  {_number(r['memory_gb_per_s'])} GB/s")
    for title, parts, unit, total in (
        ("die", "area_mm2", "mm²", r["die_mm2"]),
        ("power", "watts_by_part", "W", sum(r["watts_by_part"].values())),
        ("cost", "cost_usd", "$", r["unit_cost_usd"]),
    ):
        typer.echo(f"\n{title:14} {total:9.1f} {unit}")
        for name, value in r[parts].items():
            if value > 0:
                typer.echo(f"  {name:12} {value:9.2f} {unit}")
    typer.echo(f"\ndesign power   {r['design_watts']:9.0f} W")
    for problem in r["problems"]:
        typer.echo(f"cannot be built: {problem}")


def _print_datasheet(r: dict[str, Any]) -> None:
    typer.echo(f"{r['product']}, {r['vendor']}, {r['node']}\n")
    rows = [(f"peak {k}", v, "TFLOP/s") for k, v in r["peak_tflops"].items()]
    rows += [
        ("memory", r["memory_gib"], "GiB"),
        ("", r["memory_gb_per_s"], "GB/s"),
        ("power", r["watts"], "W"),
    ]
    for name, value, unit in rows:
        typer.echo(f"{name:12} {_number(value):>9} {unit}")
    for source in dict.fromkeys(r["sources"].values()):
        typer.echo(f"source       {source}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
