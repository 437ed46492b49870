"""Conversations in harmony, the chat format of gpt-oss (https://github.com/openai/harmony, docs/format.md).

A message is `<|start|>role<|message|>content<|end|>`; what the assistant writes names a channel first:
`<|start|>assistant<|channel|>final<|message|>…<|return|>`. `analysis` is its reasoning, `commentary` carries
calls of tools, `final` is for the user. The developer's instructions are the system messages of a chat API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from tapeout.errors import InputError, Phrase
from tapeout.model.checkpoint.tokenizer import Tokenizer

MARKERS = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|return|>", "<|call|>")
ROLES = ("system", "developer", "user", "assistant")
EFFORTS = ("low", "medium", "high")


def system_prompt(today: date, effort: str = "medium") -> str:
    """The content of the first message that gpt-oss was trained with."""
    return (
        "You are ChatGPT, a large language model trained by OpenAI.\n"
        f"Knowledge cutoff: 2024-06\nCurrent date: {today.isoformat()}\n\n"
        f"Reasoning: {effort}\n\n"
        "# Valid channels: analysis, commentary, final. Channel must be included for every message."
    )


def supported(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer has every marker of the format."""
    return all(tokenizer.token(m) is not None for m in MARKERS)


def encode(
    messages: Sequence[Mapping[str, object]], tokenizer: Tokenizer, *, system: str | None = None
) -> list[int]:
    """The ids of a conversation, ready for the assistant's answer.

    `messages` are a chat API's, each with `role` and `content`; system and developer messages become
    the developer's instructions. `system` is the content of the system message, None for none. Text
    cannot forge markers. Raises InputError for an unknown role or content that is not text.
    """
    ids: list[int] = []

    def marker(name: str) -> None:
        found = tokenizer.token(name)
        if found is None:
            raise InputError("tokenizer", name, Phrase("no such token"), "the markers of harmony")
        ids.append(found)

    def message(role: str, content: str, channel: str | None = None) -> None:
        marker("<|start|>")
        ids.extend(tokenizer.encode(role, special=True))
        if channel:
            marker("<|channel|>")
            ids.extend(tokenizer.encode(channel, special=True))
        marker("<|message|>")
        ids.extend(tokenizer.plain(content))
        marker("<|end|>")

    if system is not None:
        message("system", system)
    for i, entry in enumerate(messages):
        role, content = entry.get("role"), entry.get("content")
        if role not in ROLES:
            raise InputError(f"messages[{i}]", "role", role, f"one of {', '.join(ROLES)}")
        text = _text(content, i)
        if role in ("system", "developer"):
            message("developer", f"# Instructions\n\n{text}")
        else:
            message(str(role), text, "final" if role == "assistant" else None)
    marker("<|start|>")
    ids.extend(tokenizer.encode("assistant", special=True))
    return ids


def _text(content: object, index: int) -> str:
    """The content of a message: a string, or a list of parts of type text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [p.get("text") for p in content if isinstance(p, Mapping) and p.get("type") == "text"]
        if len(parts) == len(content) and all(isinstance(p, str) for p in parts):
            return "".join(str(p) for p in parts)
    raise InputError(f"messages[{index}]", "content", content, "a string, or a list of parts of type text")


@dataclass
class Answer:
    """What the assistant wrote, by channel."""

    final: str = ""
    analysis: str = ""
    commentary: str = ""


class AnswerStream:
    """Splits the assistant's tokens, one at a time, into channels, starting after `<|start|>assistant`."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._markers = {tokenizer.token(m): m for m in MARKERS}
        self._header: list[int] | None = []  # tokens of a header being read; None inside a message
        self._text = tokenizer.stream()
        self.channel = "final"
        self.answer = Answer()

    def push(self, token: int) -> tuple[str, str]:
        """(channel, the text that `token` completes in it)."""
        marker = self._markers.get(token)
        if marker is None:
            if self._header is not None:
                self._header.append(token)
                return self.channel, ""
            return self._write(self._text.push(token))
        if self._header is None:
            piece = self._write(self._text.finish())
            self._header = []
            return piece
        if marker == "<|message|>":
            header = self._tokenizer.decode(self._header, special=True)
            found = re.search(r"(analysis|commentary|final)", header)
            self.channel = found.group(1) if found else "final"
            self._header, self._text = None, self._tokenizer.stream()
        return self.channel, ""

    def _write(self, piece: str) -> tuple[str, str]:
        setattr(self.answer, self.channel, getattr(self.answer, self.channel) + piece)
        return self.channel, piece


def split(ids: Iterable[int], tokenizer: Tokenizer) -> Answer:
    """The channels of a whole answer, from the token after `<|start|>assistant`."""
    stream = AnswerStream(tokenizer)
    for token in ids:
        stream.push(token)
    return stream.answer
