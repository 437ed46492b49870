"""The command tree. A verb is a module here with a function of the same name; heavy imports are inside it."""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from tapeout.cli.common import verb

VERBS: tuple[str, ...] = (
    "build",
    "calibrate",
    "chips",
    "compile",
    "design",
    "floorplan",
    "handoff",
    "models",
    "plan",
    "run",
    "serve",
    "simulate",
    "synth",
    "trace",
    "validate",
    "verify",
)

app = typer.Typer(
    name="tapeout",
    help="From a language model to its own inference chip, and from the chip to the fleet that serves it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tapeout {version('tapeout')}")
        raise typer.Exit


@app.callback()
def _root(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Options of the command itself; its presence also keeps verbs by name, even where there is only one."""


for _name in VERBS:
    _module = import_module(f"tapeout.cli.{_name}")
    app.command(_name, help=_module.__doc__)(verb(getattr(_module, _name)))
