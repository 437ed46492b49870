"""What every verb shares: exit codes, `--json`, one-line errors."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import typer

from tapeout.errors import TapeoutError

F = TypeVar("F", bound=Callable[..., Any])


def verb(function: F) -> F:
    """Turn the errors a user can cause into one line on stderr and the documented exit code."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except TapeoutError as e:
            typer.echo(f"tapeout: {e}", err=True)
            raise typer.Exit(e.exit_code) from None
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(0) from None
        except KeyboardInterrupt:
            kept = (
                "; what was finished is kept, the same command resumes"
                if function.__name__ == "design"
                else ""
            )
            typer.echo(f"tapeout: interrupted{kept}", err=True)
            raise typer.Exit(130) from None

    return run  # type: ignore[return-value]


def print_json(value: Any) -> None:
    """One JSON object on stdout (`--json`); everything else a verb says goes to stderr."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
