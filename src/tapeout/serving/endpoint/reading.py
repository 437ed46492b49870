"""From tokens to text as they come: channels of harmony, stop strings, characters spread over tokens.

A reader is given one token at a time and returns the pieces of text that are final. Text that may be the
beginning of a stop string is held back until it is known not to be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from tapeout.model.checkpoint.harmony import MARKERS, AnswerStream
from tapeout.model.checkpoint.tokenizer import Tokenizer

Pieces = list[tuple[str, str]]  # (channel, text)
TEXT = "final"  # the channel of what is for the user
SHOWN = {"final": "final", "commentary": "final", "analysis": "analysis"}
"""Preambles in `commentary` are for the user (harmony: "preambles"), calls of tools are not offered."""


class Reader(Protocol):
    """Text of one sequence. `channel`: that of the newest token."""

    channel: str

    @property
    def stopped(self) -> str | None:
        """The stop string that ended it."""
        ...

    def push(self, token: int) -> Pieces:
        """What `token` completes."""
        ...

    def finish(self) -> Pieces:
        """What is left at the end."""
        ...


@dataclass
class StopText:
    """Passes text on up to the first stop string; of several that end at the same token the earliest start."""

    stops: tuple[str, ...] = ()
    include: bool = False
    held: str = ""
    found: str | None = None

    def push(self, text: str) -> str:
        """The part of the text so far that can be shown."""
        if not self.stops or self.found is not None:
            return "" if self.found is not None else text
        self.held += text
        starts = [(i, s) for s in self.stops if (i := self.held.find(s)) >= 0]
        if starts:
            start, self.found = min(starts, key=lambda entry: (entry[0], -len(entry[1])))
            shown = self.held[: start + len(self.found) * self.include]
            self.held = ""
            return shown
        keep = self._beginning()
        shown, self.held = self.held[: len(self.held) - keep], self.held[len(self.held) - keep :]
        return shown

    def _beginning(self) -> int:
        """Length of the longest end of the held text that some stop string begins with."""
        longest = min(max(map(len, self.stops)) - 1, len(self.held))
        return next((n for n in range(longest, 0, -1) if self._begins(self.held[-n:])), 0)

    def _begins(self, text: str) -> bool:
        return any(s.startswith(text) for s in self.stops)

    def finish(self) -> str:
        """What was held back in vain."""
        shown, self.held = self.held, ""
        return shown


class PlainReader:
    """All text in one channel; special tokens have no text unless `special`."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...], include: bool, special: bool) -> None:
        self._stream = tokenizer.stream(special=special)
        self._stop = StopText(stops, include)
        self.channel = TEXT

    @property
    def stopped(self) -> str | None:
        """The stop string that was found."""
        return self._stop.found

    def push(self, token: int) -> Pieces:
        """See `Reader`."""
        text = self._stop.push(self._stream.push(token))
        return [(TEXT, text)] if text else []

    def finish(self) -> Pieces:
        """See `Reader`."""
        text = self._stop.push(self._stream.finish()) + self._stop.finish()
        return [(TEXT, text)] if text else []


class HarmonyReader:
    """The assistant's channels; stop strings are looked for in what is for the user. Markers and headers
    are in no channel."""

    def __init__(self, tokenizer: Tokenizer, stops: tuple[str, ...], include: bool) -> None:
        self._stream = AnswerStream(tokenizer)
        self._stop = StopText(stops, include)
        self._markers = {tokenizer.token(m) for m in MARKERS}
        self._opens = tokenizer.token("<|message|>")
        self._inside = False  # of a message's content
        self.channel = ""

    @property
    def stopped(self) -> str | None:
        """The stop string that was found."""
        return self._stop.found

    def push(self, token: int) -> Pieces:
        """See `Reader`."""
        said, text = self._stream.push(token)
        channel = SHOWN.get(said, TEXT)
        if token in self._markers:
            self._inside, self.channel = token == self._opens, ""
        else:
            self.channel = channel if self._inside else ""
        if channel == TEXT:
            text = self._stop.push(text)
        return [(channel, text)] if text else []

    def finish(self) -> Pieces:
        """See `Reader`."""
        text = self._stop.finish()
        return [(TEXT, text)] if text else []
