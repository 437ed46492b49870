"""Text to token ids and back: the checkpoint's `tokenizer.json`, read by the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tapeout.errors import InputError, MissingDependency, Phrase
from tapeout.files import read_json, read_text

FILE = "tokenizer.json"
SETTINGS = (
    "generation_config.json",
    "config.json",
)  # where the tokens that end a text are listed, in this order
REPLACEMENT = "�"  # what an unfinished UTF-8 sequence decodes to


class Tokenizer:
    """The tokenizer of a checkpoint.

    `eos`: ids that end a generation; `vocabulary`: number of ids, special tokens included.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read the tokenizer of `folder`. Raises InputError if it is absent or malformed, MissingDependency
        without the `run` extra."""
        folder = Path(folder)
        text = read_text(folder / FILE)
        try:
            from tokenizers import Tokenizer as Library
        except ImportError:
            raise MissingDependency("text in, text out", "run") from None
        try:
            self._library: Any = Library.from_str(text)
        except Exception as e:  # the library raises bare Exception
            raise InputError(folder / FILE, "", Phrase(e), "a tokenizer of the tokenizers library") from None
        self.vocabulary: int = self._library.get_vocab_size()
        self.eos = _end_tokens(folder)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """The ids of a prompt. If `special`, the markers of special tokens in it are read as such and nothing is
        added; otherwise they are ordinary text, and what the tokenizer adds to every text (a begin-of-text
        token, in most families) is added."""
        if special:
            return list(self._library.encode(text, add_special_tokens=False).ids)
        before, after = self._added()
        return [*before, *self.plain(text), *after]

    def plain(self, text: str) -> list[int]:
        """The ids of `text` alone, in which nobody can forge a special token: markers are ordinary text."""
        ids: list[int] = []
        for piece in self._without_markers(text):
            ids += self._library.encode(piece, add_special_tokens=False).ids
        return ids

    def _without_markers(self, text: str) -> Iterable[str]:
        """`text` cut inside each special marker, so that none is whole; all of it in one piece if there is none."""
        cuts = {0, len(text)}
        for marker in self.special:
            start = text.find(marker)
            while start >= 0:
                cuts.add(start + max(1, len(marker) // 2))
                start = text.find(marker, start + 1)
        edges = sorted(cuts)
        return [text[a:b] for a, b in pairwise(edges)]

    def _added(self) -> tuple[list[int], list[int]]:
        """Ids that the tokenizer puts before and after every text."""
        plain = self._library.encode("a", add_special_tokens=False).ids
        full = self._library.encode("a").ids
        for start in range(len(full) - len(plain) + 1):
            if full[start : start + len(plain)] == plain:
                return full[:start], full[start + len(plain) :]
        return [], []

    @property
    def special(self) -> dict[str, int]:
        """The special tokens: marker to id."""
        added = self._library.get_added_tokens_decoder()
        return {token.content: i for i, token in added.items() if token.special}

    def token(self, marker: str) -> int | None:
        """The id of one token by its exact content, None if there is none."""
        found: int | None = self._library.token_to_id(marker)
        return found

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of `ids`, the markers of special tokens shown if `special`. Ids beyond the vocabulary (padding
        of the embedding) have no text."""
        return str(self._library.decode(list(ids), skip_special_tokens=not special))

    def stream(self, *, special: bool = False) -> TextStream:
        """A decoder that is given one id at a time."""
        return TextStream(self, special)


class TextStream:
    """Turns a growing list of ids into pieces of text that join to the text of the whole.

    A character whose bytes are spread over several tokens comes out with its last token. Each call decodes
    the tokens since the last settled piece, with those before it as context, so that the cost per
    token does not grow.
    """

    def __init__(self, tokenizer: Tokenizer, special: bool) -> None:
        self._tokenizer, self._special = tokenizer, special
        self._ids: list[int] = []
        self._settled, self._context = 0, 0  # ids[:settled] are out; ids[context:settled] give the spacing

    def push(self, token: int) -> str:
        """The text that `token` completes, perhaps none."""
        self._ids.append(token)
        return self._take(final=False)

    def finish(self) -> str:
        """What is left when no more tokens come: the replacement character for unfinished bytes."""
        return self._take(final=True)

    def _take(self, *, final: bool) -> str:
        def text(end: int) -> str:
            return self._tokenizer.decode(self._ids[self._context : end], special=self._special)

        before, now = text(self._settled), text(len(self._ids))
        if now.endswith(REPLACEMENT) and not final and len(self._ids) - self._settled < 8:
            return ""
        piece = now[len(before) :]
        if piece:
            self._context, self._settled = self._settled, len(self._ids)
        return piece


def _end_tokens(folder: Path) -> frozenset[int]:
    """`eos_token_id` of generation_config.json, else of config.json; it may be one id, a list or nothing."""
    for name in SETTINGS:
        if not (folder / name).exists():
            continue
        value = read_json(folder / name).get("eos_token_id")
        if value is None:
            continue
        ids = value if isinstance(value, list) else [value]
        if not all(type(i) is int and i >= 0 for i in ids):
            raise InputError(folder / name, "eos_token_id", value, "a token id or a list of them")
        return frozenset(ids)
    return frozenset()
