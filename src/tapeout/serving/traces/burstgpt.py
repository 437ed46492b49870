"""BurstGPT (arXiv 2401.17644; github.com/HPMLL/BurstGPT, CC-BY).

CSV: Timestamp (seconds), Model, Request tokens, Response tokens, Total tokens, Log Type. Failed requests
have no response tokens.
"""

from __future__ import annotations

from pathlib import Path

from tapeout.errors import InputError
from tapeout.serving.requests import Requests
from tapeout.serving.traces.columns import table

COLUMNS = ("Timestamp", "Request tokens", "Response tokens")


def recognise(first_line: str) -> bool:
    """Whether the header is this format's."""
    return all(name in first_line for name in COLUMNS)


def read(path: Path) -> Requests:
    """The requests of the file that were answered. Raises InputError naming a malformed line."""

    def seconds(line: int, text: str) -> float:
        try:
            return float(text)
        except ValueError:
            raise InputError(path, f"line {line}: Timestamp", text, "seconds") from None

    return table(path, COLUMNS, seconds, "BurstGPT")
