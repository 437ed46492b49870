"""The grammar of Liberty files: groups, simple attributes and complex attributes, nothing of their meaning.

    name (arguments) { … }      a group
    name : value ;              a simple attribute
    name (values) ;             a complex attribute

Source: Liberty User Guide, volume 1 (Open Source Liberty). `library.py` gives it meaning.
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tapeout.errors import InputError, Phrase

MOST_BYTES = 512 * 2**20  # of text; the largest public library (SKY130, all corners apart) has 13 MB

_SPACE = re.compile(r"(?:\s|\\\n|/\*.*?\*/|//[^\n]*)+", re.S)
_NAME = re.compile(r"[A-Za-z_][\w.\-\[\]]*")
_VALUE = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^;\n}"]*)', re.S)
_ARGUMENTS = re.compile(r'\(((?:"(?:[^"\\]|\\.)*"|[^()"]|\([^()]*\))*)\)', re.S)
_ONE = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s,"\\]+)', re.S)


@dataclass
class Group:
    """One group: what it is (`kind`), what it is called, its attributes (the last of each name) and groups.

    `lists`: complex attributes, each a tuple of its values as text (`index_1`, `values`, …).
    """

    kind: str
    names: tuple[str, ...]
    simple: dict[str, str] = field(default_factory=dict)
    lists: dict[str, tuple[str, ...]] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    line: int = 0

    @property
    def name(self) -> str:
        """The first argument, or nothing."""
        return self.names[0] if self.names else ""

    def of(self, *kinds: str) -> Iterator[Group]:
        """The groups directly below of these kinds, in order."""
        return (g for g in self.groups if g.kind in kinds)


def read(path: Path) -> str:
    """The text of a Liberty file, gzipped or plain. Raises InputError if it cannot be read as one."""
    try:
        if path.is_dir():
            raise InputError(path, "", Phrase("a folder"), "a Liberty file")
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = gzip.decompress(raw)
        if len(raw) > MOST_BYTES:
            raise InputError(path, "", Phrase(f"{len(raw)} bytes"), f"at most {MOST_BYTES}")
        return raw.decode("utf-8")
    except FileNotFoundError:
        raise InputError(path, "", Phrase("nothing there"), "a Liberty file") from None
    except EOFError:
        raise InputError(path, "", Phrase("a truncated gzip stream"), "a whole Liberty file") from None
    except (gzip.BadGzipFile, zlib.error) as e:
        raise InputError(path, "", Phrase(f"a damaged gzip stream: {e}"), "a Liberty file") from None
    except UnicodeDecodeError as e:
        raise InputError(
            path, f"byte {e.start}", Phrase("bytes that are not text"), "a Liberty file"
        ) from None
    except OSError as e:
        raise InputError(path, "", Phrase(e.strerror or str(e)), "a readable file") from None


def parse(text: str, where: object) -> Group:
    """The `library` group of `text`. Raises InputError with the line where it stops being Liberty."""
    stack: list[Group] = []
    at, end = 0, len(text)
    whole: Group | None = None

    def wrong(found: str, expected: str) -> InputError:
        return InputError(where, f"line {text.count(chr(10), 0, at) + 1}", Phrase(found), expected)

    while True:
        space = _SPACE.match(text, at)
        at = space.end() if space else at
        if at >= end:
            break
        one = text[at]
        if one == ";":
            at += 1
            continue
        if one == "}":
            if not stack:
                raise wrong("a closing brace that nothing opened", "a statement")
            whole = stack.pop()
            at += 1
            continue
        name = _NAME.match(text, at)
        if not name or (not stack and whole is not None):
            raise wrong(repr(text[at : at + 20]), "a statement of a library")
        space = _SPACE.match(text, name.end())
        after = space.end() if space else name.end()
        follows = text[after : after + 1]
        if follows == ":" and stack:
            value = _VALUE.match(text, after + 1)
            assert value  # matches the empty text
            stack[-1].simple[name[0]] = value[1].strip().strip('"')
            at = value.end()
        elif follows == "(":
            arguments = _ARGUMENTS.match(text, after)
            if not arguments:
                raise wrong("the end of the file" if "(" not in text[after + 1 :] else f"'{name[0]} (' unclosed",
                            "a list of values in parentheses")  # fmt: skip
            values = tuple(a if a or not b else b for a, b in _ONE.findall(arguments[1]))
            at = arguments.end()
            space = _SPACE.match(text, at)
            brace = space.end() if space else at
            if text[brace : brace + 1] == "{":
                group = Group(name[0], values, line=0)
                if stack:
                    stack[-1].groups.append(group)
                stack.append(group)
                at = brace + 1
            elif stack:
                stack[-1].lists[name[0]] = values
            else:
                raise wrong(f"'{name[0]} (…)' without a brace", "library (name) {")
        else:
            raise wrong(f"{name[0]!r} followed by {follows!r}", "':' or '('")
    if stack:
        at = end
        inside = " in ".join(f"{g.kind} ({g.name})" for g in reversed(stack[-2:]))
        raise wrong(f"the end of the file inside {inside}", "a whole Liberty file")
    if whole is None or whole.kind != "library":
        raise wrong("no library group" if whole is None else f"a {whole.kind} group", "library (name) {")
    return whole
