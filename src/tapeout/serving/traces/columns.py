"""Reading CSV traces: named columns, checked numbers, complaints that name the line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import InputError, Phrase
from tapeout.serving.requests import Requests

MAX_TOKENS = 100_000_000  # of one request; longer is not a length but a mistake


def rows(path: Path, names: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """(line number, values of `names`) for each row of the CSV file."""
    try:
        with path.open(newline="", encoding="utf-8") as f:
            reader = csv.reader(f)
            header = [h.strip() for h in next(reader, [])]
            missing = [n for n in names if n not in header]
            if missing:
                raise InputError(path, "line 1", ",".join(header), f"a column {missing[0]}")
            places = [header.index(n) for n in names]
            for number, row in enumerate(reader, 2):
                if not row:
                    continue
                if len(row) <= max(places):
                    raise InputError(path, f"line {number}", Phrase(f"{len(row)} columns"), f"{len(header)}")
                yield number, [row[i].strip() for i in places]
    except UnicodeDecodeError:
        raise InputError(path, "", Phrase("bytes that are not UTF-8"), "a CSV file in UTF-8") from None
    except csv.Error as e:
        raise InputError(path, "", Phrase(e), "a CSV file") from None


def tokens(path: Path, line: int, name: str, value: str) -> int:
    """A token count from a cell; some publishers write integers as 12.0."""
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= MAX_TOKENS or number != int(number):
        raise InputError(path, f"line {line}: {name}", value, f"a token count from 0 to {MAX_TOKENS}")
    return int(number)


def table(
    path: Path, names: tuple[str, str, str], time: Callable[[int, str], float], source: str
) -> Requests:
    """Requests from the CSV columns (time, prompt tokens, output tokens); `time` parses a cell to seconds.

    Requests that produced nothing (failed ones, in BurstGPT) are left out and counted in `source`.
    """
    arrival: list[float] = []
    prompt: list[int] = []
    output: list[int] = []
    empty = 0
    for line, (when, question, answer) in rows(path, names):
        q, a = tokens(path, line, names[1], question), tokens(path, line, names[2], answer)
        if q == 0 or a == 0:
            empty += 1
            continue
        arrival.append(time(line, when))
        prompt.append(q)
        output.append(a)
    if not arrival:
        raise InputError(path, "", Phrase("no requests"), "at least one")
    return in_order(
        path, arrival, prompt, output, source + (f", {empty} empty requests left out" if empty else "")
    )


def in_order(
    path: Path, arrival: list[float], prompt: list[int], output: list[int], source: str, **more: Any
) -> Requests:
    """`Requests` sorted by arrival (publishers sort by completion at times), starting at 0 s."""
    when = np.asarray(arrival, float)
    order = np.argsort(when, kind="stable")
    if more.get("prefixes") is not None:
        more["prefixes"] = [more["prefixes"][i] for i in order]
    return Requests(
        arrival=when[order] - when.min(),
        prompt=np.asarray(prompt, np.int64)[order],
        output=np.asarray(output, np.int64)[order],
        source=f"{path.name} ({source})",
        **more,
    )
