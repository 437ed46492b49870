"""Boolean functions as Liberty writes them: `!A`, `A'`, `A * B`, `A & B`, `A B`, `A + B`, `A | B`, `A ^ B`, 0, 1.

Precedence as in the Liberty User Guide: inversion, then exclusive or, then and, then or.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

_TOKEN = re.compile(r"\s*([A-Za-z_][\w.\[\]]*|[01]|[!'*&+|^()])")
ONES = ~0


@dataclass(frozen=True)
class Function:
    """A function of named pins; `evaluate` works bit by bit on integers and on arrays of words alike."""

    text: str
    inputs: tuple[str, ...]
    _run: Callable[[Mapping[str, Any]], Any]

    def evaluate(self, values: Mapping[str, Any]) -> Any:
        """The value for the inputs' values; constants come out as 0 or ~0."""
        return self._run(values)

    def sense(self, pin: str) -> str:
        """How the output follows `pin`: positive_unate, negative_unate or non_unate, by the truth table."""
        others = [i for i in self.inputs if i != pin]
        up = down = False
        for bits in product((0, ONES), repeat=len(others)):
            at = dict(zip(others, bits, strict=True))
            low, high = self._run(at | {pin: 0}) & 1, self._run(at | {pin: ONES}) & 1
            up, down = up or high > low, down or low > high
        return "non_unate" if up == down else "positive_unate" if up else "negative_unate"


def parse(text: str) -> Function:
    """The function in `text`. Raises ValueError, saying where, if it is none."""
    tokens: list[str] = []
    at = 0
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if not match:
            raise ValueError(f"{text[at:].strip()[:20]!r} in {text!r}")
        tokens.append(match[1])
        at = match.end()
    names = sorted({t for t in tokens if re.match(r"[A-Za-z_]", t)})
    rest = list(reversed(tokens))

    def peek() -> str:
        return rest[-1] if rest else ""

    def atom() -> Callable[[Mapping[str, Any]], Any]:
        token = rest.pop() if rest else ""
        if token == "!":
            inner = atom()
            return lambda v: ~inner(v)
        if token == "(":
            found = either()
            if not rest or rest.pop() != ")":
                raise ValueError(f"a parenthesis left open in {text!r}")
        elif token in ("0", "1"):
            constant = ONES if token == "1" else 0
            found = lambda v: constant  # noqa: E731
        elif re.match(r"[A-Za-z_]", token):
            found = lambda v: v[token]  # noqa: E731
        else:
            raise ValueError(f"{token or 'the end'!r} where a pin is expected in {text!r}")
        while peek() == "'":
            rest.pop()
            found = (lambda f: lambda v: ~f(v))(found)
        return found

    def chain(below: Callable[[], Any], operators: str, join: Callable[[Any, Any], Any]) -> Any:
        found = below()
        while peek() and (peek() in operators or (operators == "*&" and re.match(r"[\w(!]", peek()))):
            if peek() in operators:
                rest.pop()
            found = (lambda a, b: lambda v: join(a(v), b(v)))(found, below())
        return found

    def both() -> Any:
        return chain(lambda: chain(atom, "^", lambda a, b: a ^ b), "*&", lambda a, b: a & b)

    def either() -> Any:
        return chain(both, "+|", lambda a, b: a | b)

    run = either()
    if rest:
        raise ValueError(f"{rest[-1]!r} left over in {text!r}")
    return Function(text, tuple(names), run)
