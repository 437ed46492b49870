"""Mooncake traces (FAST'25; github.com/kvcache-ai/Mooncake, Apache-2.0): JSON lines with prefix hashes.

{"timestamp": ms, "input_length": tokens, "output_length": tokens, "hash_ids": [...]}: `hash_ids` name the
512-token blocks of the prompt, the last of which may be partial; equal ids mean equal prefixes.
"""

from __future__ import annotations

import json
from pathlib import Path

from tapeout.errors import InputError, Phrase
from tapeout.fields import Fields
from tapeout.serving.requests import Requests
from tapeout.serving.traces.columns import MAX_TOKENS, in_order

BLOCK = 512


def recognise(first_line: str) -> bool:
    """Whether the first line is this format's."""
    return first_line.startswith("{") and '"hash_ids"' in first_line


def read(path: Path) -> Requests:
    """The requests of the file. Raises InputError naming the line of a malformed one."""
    arrival: list[float] = []
    prompt: list[int] = []
    output: list[int] = []
    prefixes: list[tuple[int, ...]] = []
    with path.open(encoding="utf-8", errors="replace") as f:
        for number, line in enumerate(f, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                raise InputError(path, f"line {number}", line.strip(), "a JSON object")
            fields = Fields(record, path, f"line {number}")
            length = fields.integer("input_length", high=MAX_TOKENS)
            hashes = fields.array("hash_ids")
            if not all(isinstance(h, int) and not isinstance(h, bool) for h in hashes):
                raise fields.fail("hash_ids", hashes, "a list of integers")
            arrival.append(fields.number("timestamp") / 1000)
            prompt.append(length)
            output.append(fields.integer("output_length", high=MAX_TOKENS))
            prefixes.append(tuple(hashes[: length // BLOCK]))  # only full blocks can be shared
    if not arrival:
        raise InputError(path, "", Phrase("no requests"), "at least one")
    return in_order(path, arrival, prompt, output, "Mooncake", prefixes=prefixes, prefix_block=BLOCK)
