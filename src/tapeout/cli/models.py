"""List the shipped models, or describe one: parameters, layers, experts, bytes.

MODEL is a shipped name, a Hugging Face id of a shipped model, a folder with a config.json, or a config.json.

Examples:

    tapeout models

    tapeout models openai/gpt-oss-120b --json
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.cli.common import print_json

if TYPE_CHECKING:
    from tapeout.model import Model


def models(
    model: Annotated[str | None, typer.Argument(help="one model; all shipped ones if absent")] = None,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
) -> None:
    """Print the table, or the model, or either as JSON."""
    from tapeout.model import load
    from tapeout.model.catalog import names

    chosen = [load(model)] if model is not None else [load(name) for name in names()]
    own = model is not None and Path(model).exists()
    rows = [summary(m, shipped=not own) for m in chosen]
    if json:
        print_json({"models": rows})
    else:
        _print_table(rows)
        if model is not None:
            _print_bytes(chosen[0])


def summary(model: Model, shipped: bool = True) -> dict[str, Any]:
    """What the table and `--json` say about a model."""
    from tapeout.model.catalog import SOURCES

    repository = SOURCES.get(model.name) if shipped else None
    return {
        "name": model.name,
        "source": f"https://huggingface.co/{repository}" if repository else None,
        "family": model.family,
        "parameters": model.parameters,
        "active_parameters": model.active_parameters,
        "layers": len(model.layers),
        "attention": model.attention_kind,
        "experts": model.experts,
        "experts_per_token": model.experts_per_token,
        "checkpoint_bytes": model.bytes,
        "bytes_by_format": model.bytes_by_format,
        "bytes_by_role": model.bytes_by_role,
        "cache_bytes_per_token_bf16": model.cache_bytes_per_token(),
        "context_tokens": model.context,
        "approximations": list(model.approximations),
    }


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("model", "family", "attention"):
        table.add_column(column, no_wrap=True)
    for column in ("params B", "active B", "layers", "experts", "weights GiB", "KV KiB/token", "context"):
        table.add_column(column, justify="right", no_wrap=True)
    for r in rows:
        table.add_row(
            r["name"],
            r["family"],
            r["attention"],
            f"{r['parameters'] / 1e9:.2f}",
            f"{r['active_parameters'] / 1e9:.2f}",
            str(r["layers"]),
            f"{r['experts_per_token']} of {r['experts']}" if r["experts"] else "",
            f"{r['checkpoint_bytes'] / 2**30:.2f}",
            f"{r['cache_bytes_per_token_bf16'] / 1024:.1f}",
            f"{r['context_tokens'] // 1024} Ki",
        )
    # A pipe or a narrow terminal must not cut the numbers.
    console = Console()
    console.width = max(console.width, 150)
    console.print(table)


def _print_bytes(model: Model) -> None:
    typer.echo()
    for role, count in sorted(model.bytes_by_role.items(), key=lambda item: -item[1]):
        typer.echo(f"{role:14} {count / 2**30:9.3f} GiB  {count / model.bytes:6.1%}")
    for line in model.approximations:
        typer.echo(f"Approximation: {line}.")
