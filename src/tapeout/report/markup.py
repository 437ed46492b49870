"""HTML from Python values: everything is text, and escaped, unless it is `Markup`."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Iterable
from typing import Any

VOID = frozenset({"br", "hr", "img", "input", "line", "link", "meta", "path", "rect", "use"})


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


Content = object  # Markup, any other value (shown as text), None (nothing) or an iterable of these


def text(value: object) -> Markup:
    """`value` as HTML: Markup as it is, None as nothing, lists joined, anything else escaped."""
    if isinstance(value, Markup):
        return value
    if value is None:
        return Markup("")
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return Markup("".join(text(v) for v in value))
    return Markup(html.escape(str(value), quote=True))


def tag(name: str, *children: Content, **attributes: object) -> Markup:
    """One element. A trailing underscore leaves attribute names (`class_`), inner ones become hyphens;
    None and False leave the attribute out, True gives it without a value.

    >>> tag("a", "1 < 2", href="#x", class_="note")
    '<a href="#x" class="note">1 &lt; 2</a>'
    """
    written = []
    for key, value in attributes.items():
        if value is None or value is False:
            continue
        label = key.rstrip("_").replace("_", "-")
        written.append(f" {label}" if value is True else f' {label}="{html.escape(str(value), quote=True)}"')
    head = f"<{name}{''.join(written)}"
    return Markup(f"{head}/>" if name in VOID else f"{head}>{text(children)}</{name}>")


def script_json(value: Any) -> Markup:
    """`value` as JSON that may stand inside a script element: nothing in it can end the element.

    Numbers that JSON has no word for (NaN, infinities) become null.
    """
    written = json.dumps(_plain(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for character in ("<", ">", "&", "\u2028", "\u2029"):
        written = written.replace(character, f"\\u{ord(character):04x}")
    return Markup(written)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    if value is None or isinstance(value, str | int | bool):
        return value
    return str(value)
