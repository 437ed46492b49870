"""The command line: one thin file per verb, each a call into the library and a way to print it."""

from __future__ import annotations


def main() -> None:
    """Entry point of the `tapeout` command."""
    from tapeout.cli.app import app

    app()
