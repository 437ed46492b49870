"""Azure LLM inference traces 2023 and 2024 (github.com/Azure/AzurePublicDataset, CC-BY).

CSV: TIMESTAMP (ISO date and time, up to seven decimals, with a UTC offset in 2024), ContextTokens,
GeneratedTokens. Described in Splitwise (ISCA 2024) and DynamoLLM (HPCA 2025).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from tapeout.errors import InputError
from tapeout.serving.requests import Requests
from tapeout.serving.traces.columns import table

COLUMNS = ("TIMESTAMP", "ContextTokens", "GeneratedTokens")


def recognise(first_line: str) -> bool:
    """Whether the header is this format's."""
    return all(name in first_line for name in COLUMNS)


def read(path: Path) -> Requests:
    """The requests of the file. Raises InputError naming the line of a malformed one."""
    instants: dict[str, float] = {}

    def seconds(line: int, text: str) -> float:
        whole, _, rest = text.partition(".")
        digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
        zone = rest[len(digits) :]
        try:
            if whole + zone not in instants:  # a second is parsed once, for all requests in it
                moment = datetime.fromisoformat(whole + zone)
                moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
                instants[whole + zone] = moment.timestamp()
            return instants[whole + zone] + (float("0." + digits) if digits else 0.0)
        except ValueError:
            raise InputError(path, f"line {line}: TIMESTAMP", text, "a date and time") from None

    return table(path, COLUMNS, seconds, "Azure LLM inference trace")
