"""ServeGen client descriptions (arXiv 2505.09999): rates and distributions from which requests are drawn.

A client is two files: `chunk-I-trace.csv`, per window of time its start (s), request rate (1/s), coefficient
of variation, arrival family (Gamma or Weibull; empty: idle) and that family's shape and scale; and
`chunk-I-dataset.json`, per window the densities of `input_tokens` and `output_tokens` as
"{tokens: probability}". `read` takes one client's trace.csv or a folder of clients. The gaps between
arrivals are drawn from the family with its shape, scaled to the window's rate.
"""

from __future__ import annotations

import ast
import bisect
import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.errors import InputError, Phrase
from tapeout.files import read_json
from tapeout.serving.requests import Floats, Integers, Requests
from tapeout.serving.traces.columns import MAX_TOKENS, in_order

SUFFIX = "-trace.csv"


@dataclass(frozen=True)
class Window:
    """One window of one client: gaps of `family` with `shape`, at `rate` per second, from `start` seconds."""

    start: float
    rate: float
    family: str
    shape: float

    def gaps(self, count: int, rng: np.random.Generator) -> Floats:
        """[count] seconds between arrivals, of mean 1/rate."""
        if self.family == "Weibull":
            return rng.weibull(self.shape, count) / math.gamma(1 + 1 / self.shape) / self.rate
        return rng.gamma(self.shape, 1 / (self.shape * self.rate), count)


@dataclass(frozen=True)
class Lengths:
    """A density over token counts."""

    tokens: Integers
    probability: Floats

    def draw(self, count: int, rng: np.random.Generator) -> Integers:
        """[count] token counts, at least 1."""
        return np.maximum(rng.choice(self.tokens, count, p=self.probability), 1)


def recognise(first_line: str) -> bool:
    """Whether the line is a window of a client's trace."""
    cells = first_line.split(",")
    return len(cells) == 6 and cells[3] in ("", "Gamma", "Weibull") and cells[0].isdigit()


def read(path: Path, seed: int = 0) -> Requests:
    """Requests drawn from the clients at `path` (a client's trace.csv, or a folder of them), by `seed`.

    Raises InputError naming the file and line that is malformed.
    """
    clients = sorted(path.glob(f"*{SUFFIX}")) if path.is_dir() else [path]
    if not clients:
        raise InputError(path, "", Phrase(f"no *{SUFFIX}"), "ServeGen client files")
    arrival: list[float] = []
    prompt: list[int] = []
    output: list[int] = []
    for number, client in enumerate(clients):
        rng = np.random.default_rng([seed, number])
        questions, answers = densities(client)
        rows = windows(client)
        for window, after in zip(rows, [*rows[1:], None], strict=True):
            if window.rate == 0:
                continue
            end = after.start if after else window.start + 600.0  # the published window length
            when = arrivals(window, end, rng)
            q, a = nearest(questions, window.start), nearest(answers, window.start)
            if q is None or a is None:
                continue
            arrival += when.tolist()
            prompt += q.draw(len(when), rng).tolist()
            output += a.draw(len(when), rng).tolist()
    if not arrival:
        raise InputError(path, "", Phrase("no requests"), "at least one active window")
    return in_order(path, arrival, prompt, output, f"ServeGen, {len(clients)} clients, seed {seed}")


def arrivals(window: Window, end: float, rng: np.random.Generator) -> Floats:
    """Arrival times in [start, end): a renewal process that begins anew in each window."""
    expected = window.rate * (end - window.start)
    times = window.start + np.cumsum(window.gaps(int(2 * expected) + 16, rng))
    while times[-1] < end:
        times = np.concatenate([times, times[-1] + np.cumsum(window.gaps(len(times), rng))])
    return times[times < end]


def windows(path: Path) -> list[Window]:
    """The windows of one client's trace.csv."""
    found: list[Window] = []
    with path.open(newline="", encoding="utf-8", errors="replace") as f:
        for line, row in enumerate(csv.reader(f), 1):
            if not row:
                continue
            try:
                start, rate, _, family, shape, _ = row
                window = Window(float(start), float(rate), family, float(shape))
            except ValueError:
                raise InputError(
                    path, f"line {line}", ",".join(row), "start,rate,cv,family,shape,scale"
                ) from None
            idle = window.rate == 0 or family == ""
            if not idle and (family not in ("Gamma", "Weibull") or not 0.01 <= window.shape < 1e6):
                raise InputError(
                    path, f"line {line}", ",".join(row), "Gamma or Weibull with a shape from 0.01"
                )
            if not 0 <= window.rate < 1e7 or (found and window.start <= found[-1].start):
                raise InputError(path, f"line {line}", ",".join(row), "windows in order, rates from 0 to 1e7")
            found.append(Window(window.start, 0.0 if idle else window.rate, family, window.shape))
    if not found:
        raise InputError(path, "", Phrase("no windows"), "at least one")
    return found


def densities(trace: Path) -> tuple[dict[float, Lengths], dict[float, Lengths]]:
    """Densities of prompt and output tokens by window start, from the client's dataset.json."""
    path = trace.with_name(trace.name.replace(SUFFIX, "-dataset.json"))
    questions: dict[float, Lengths] = {}
    answers: dict[float, Lengths] = {}
    for start, fields in read_json(path).items():
        for name, into in (("input_tokens", questions), ("output_tokens", answers)):
            where = f"{start}.{name}"
            if not isinstance(fields, dict) or name not in fields:
                raise InputError(path, where, Phrase("nothing"), "a density over token counts")
            if (lengths := _density(path, where, fields[name])) is not None:
                into[float(start)] = lengths
    return questions, answers


def _density(path: Path, where: str, text: object) -> Lengths | None:
    expected = "{tokens: probability} summing to 1"
    try:
        table: Any = ast.literal_eval(text) if isinstance(text, str) else text
        if table == {}:
            return None
        tokens = np.array([int(k) for k in table], np.int64)
        probability = np.array([float(p) for p in table.values()])
    except (ValueError, SyntaxError, TypeError, AttributeError, MemoryError, RecursionError):
        raise InputError(path, where, text, expected) from None
    total = probability.sum()
    if not (0.99 < total < 1.01) or probability.min() < 0 or tokens.min() < 0 or tokens.max() > MAX_TOKENS:
        raise InputError(path, where, text, expected)
    return Lengths(tokens, probability / total)


def nearest(table: dict[float, Lengths], start: float) -> Lengths | None:
    """The density of the window that `start` falls in, or the first one."""
    starts = sorted(table)
    return table[starts[max(bisect.bisect_right(starts, start) - 1, 0)]] if starts else None
