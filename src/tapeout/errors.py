"""The two ways a command can end that are not success, both told in one line."""

from __future__ import annotations


class Phrase(str):
    """What was found, in words; an InputError prints it without the quotes that a value gets."""


class TapeoutError(Exception):
    """Base of every error meant for the user; its text is one line and needs no traceback."""

    exit_code = 2


class InputError(TapeoutError):
    """Bad input: says which file or option, which field, what was found and what was expected.

    >>> print(InputError("config.json", "num_hidden_layers", 0, "an integer from 1 to 10000"))
    config.json: num_hidden_layers: found 0, expected an integer from 1 to 10000
    """

    def __init__(self, where: object, field: str, found: object, expected: str) -> None:
        self.where, self.field, self.found, self.expected = str(where), field, found, expected
        name = printable(f"{where}: {field}" if field else f"{where}")
        super().__init__(f"{name}: found {shown(found)}, expected {expected}")


class MissingDependency(TapeoutError):
    """An optional library is not installed; says which extra brings it."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs the '{extra}' extra: pip install 'tapeout[{extra}]'")


class DoesNotHold(TapeoutError):
    """The input was good, but the check or the plan does not hold."""

    exit_code = 1


def shown(value: object, limit: int = 80) -> str:
    """`value` as one printable line of at most `limit` characters."""
    text = str(value) if isinstance(value, Phrase) else repr(value)
    text = printable(text)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def printable(text: str) -> str:
    """`text` on one line: what cannot be printed becomes a question mark."""
    return "".join(c if c.isprintable() else "?" for c in text)
