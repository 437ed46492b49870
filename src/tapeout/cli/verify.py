"""Hold a checkpoint in the functional simulator against transformers: agreement, margins, perplexity, layers.

FOLDER is a Hugging Face checkpoint, or demo for the one that is shipped. Needs the ref extra. The exit code
is 1 if a format plan does not do what its formats promise.

Examples:

    tapeout verify demo --tokens 2048

    tapeout verify demo --plan mxint8 --plan widest --tokens 1024 --json
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tapeout.cli.common import print_json

if TYPE_CHECKING:
    from tapeout.simulator.reference.compare import Comparison
    from tapeout.simulator.reference.verify import Verification


def verify(
    folder: Annotated[str, typer.Argument(help="a checkpoint's folder, or demo")],
    plan: Annotated[
        list[str] | None, typer.Option("--plan", help="formats to compare; may be given several times")
    ] = None,
    text: Annotated[
        Path | None, typer.Option("--text", help="text to run over; default: held_out.txt, else sampled")
    ] = None,
    tokens: Annotated[int, typer.Option("--tokens", help="at most this many tokens; 0: all", min=0)] = 8192,
    seed: Annotated[int, typer.Option("--seed", help="of a sampled text", min=0)] = 0,
    threads: Annotated[int, typer.Option("--threads", help="threads of both", min=1, max=1024)] = 1,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on stdout")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="write the JSON object here")] = None,
) -> None:
    """Compare, print, and fail if it does not hold."""
    from tapeout.errors import DoesNotHold
    from tapeout.simulator.reference.verify import DEFAULT_PLANS
    from tapeout.simulator.reference.verify import verify as compare

    result = compare(
        folder,
        plan or DEFAULT_PLANS,
        text=text,
        tokens=tokens,
        seed=seed,
        threads=threads,
        progress=lambda line: typer.echo(line, err=True),
    )
    if out is not None:
        _write(out, result.to_dict())
    if json:
        print_json(result.to_dict())
    else:
        _print(result)
    if not result.holds:
        failed = [f"{p.plan}: {c.name} {c.value:.4g}" for p in result.plans for c in p.checks if not c.holds]
        raise DoesNotHold(
            f"{folder} differs from transformers by more than its formats explain: {'; '.join(failed)}"
        )


def _write(out: Path, value: dict[str, Any]) -> None:
    import json

    from tapeout.files import write_atomic

    write_atomic(out, json.dumps(value, indent=2, allow_nan=False) + "\n")


def _print(result: Verification) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console()
    console.width = max(console.width, 130)
    bf16 = result.bf16
    console.print(
        f"{result.model.name}: {bf16.positions} tokens in {result.texts} texts, "
        f"perplexity {bf16.reference_perplexity:.4f} in transformers FP32"
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("against FP32", no_wrap=True)
    for column in (
        "tokens agree",
        "perplexity",
        "KL nats",
        "logit error",
        "experts agree",
        "margin",
        "router margin",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    table.add_row("transformers BF16", *_row(bf16), "")
    for p in result.plans:
        table.add_row(
            p.plan, *_row(p.comparison, p.forced), "holds" if p.holds else "[bold red]does not hold[/]"
        )
    console.print(table)
    console.print("\nRelative error of the residual stream after each layer:")
    layers = Table(box=None, pad_edge=False, header_style="bold")
    layers.add_column("", no_wrap=True)
    for i in range(len(bf16.layer_error)):
        layers.add_column(str(i), justify="right", no_wrap=True)
    for name, c in (("transformers BF16", bf16), *((p.plan, p.comparison) for p in result.plans)):
        layers.add_row(name, *(f"{e:.1e}" for e in c.layer_error))
    console.print(layers)
    console.print("\nChecks:")
    for p in result.plans:
        for check in p.checks:
            sign = "≥" if check.name.startswith("agreement") else "≤"
            verdict = "holds" if check.holds else "does not hold"
            console.print(
                f"  {p.plan:16}{check.name:24}{check.value:.6g} {sign} {check.bound:.6g}: {verdict}"
            )
    console.print(
        "\nMargins and logit errors are in standard deviations of the reference's logits. Margin: the largest by which "
        "the reference preferred its token where another was chosen, each token sent to the reference's experts; "
        "router margin: likewise of experts."
    )


def _row(c: Comparison, held: Comparison | None = None) -> list[str]:
    return [
        f"{c.agreement:.3%}",
        f"{c.perplexity_change:+.3%}",
        f"{c.kl:.1e}",
        f"{c.logit_error:.5f}",
        "" if c.expert_agreement is None else f"{c.expert_agreement:.3%}",
        f"{held.largest_margin:.4f}" if held else "",
        f"{held.largest_flip_margin:.4f}" if held and held.largest_flip_margin is not None else "",
    ]
