"""What is read off the generated Verilog: its modules one by one, what each places, memories, and counts of both.

The text is this project's own (Yosys' writer and `sram_1rw`), so a few patterns read all of it; the checker uses the
same ones on what a package holds, and says where a file is not of that form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_MODULE = re.compile(r"^module (\w+)\b.*?^endmodule[^\n]*\n?", re.M | re.S)
_INSTANCE = re.compile(r"^  (\w+) (?:#\(\n((?:    \.\w+\([^\n]*\),?\n)*)  \) )?(\\\S+ |\w+) ?\(\n", re.M)
_PARAMETER = re.compile(r"\.(\w+)\(\d+'d(\d+)\)")
_ARRAY = re.compile(r"^  reg \[(\d+):0\] (\\\S+ |\w+) ?\[(\d+):0\];", re.M)
_PORT = re.compile(r"^  (input|output) (?:reg )?(?:wire )?(?:signed )?(?:\[(\d+):0\] )?(\\\S+ |\w+) ?;", re.M)
MACRO = "sram_1rw"
_WORDS = {
    "module", "input", "output", "reg", "wire", "assign", "always", "if", "else", "case", "casez", "begin", "end",
    "initial",
}  # fmt: skip


@dataclass(frozen=True)
class Instance:
    """One module placed in another, with its parameters."""

    module: str
    name: str
    parameters: tuple[tuple[str, int], ...]


def modules(text: str) -> dict[str, str]:
    """Name → text of every module, in order. Raises ValueError for one that is there twice with different text."""
    found: dict[str, str] = {}
    for match in _MODULE.finditer(text):
        body = match[0].rstrip("\n") + "\n"
        if found.setdefault(match[1], body) != body:
            raise ValueError(f"module {match[1]} twice")
    return found


def instances(body: str) -> list[Instance]:
    """What a module places."""
    return [
        Instance(m[1], m[3].strip().lstrip("\\"), tuple((k, int(v)) for k, v in _PARAMETER.findall(m[2] or "")))
        for m in _INSTANCE.finditer(body)
        if m[1] not in _WORDS
    ]  # fmt: skip


def ports(body: str) -> dict[str, tuple[str, int]]:
    """Port → (direction, width) of a module as Yosys writes it."""
    return {m[3].strip().lstrip("\\"): (m[1], int(m[2] or 0) + 1) for m in _PORT.finditer(body)}


def counts(found: dict[str, str], top: str) -> dict[str, int]:
    """How often each module is there under `top`, itself included."""
    total: dict[str, int] = {}

    def walk(name: str, times: int) -> None:
        total[name] = total.get(name, 0) + times
        here: dict[str, int] = {}
        for one in inside[name]:
            here[one] = here.get(one, 0) + 1
        for one, k in here.items():
            if one in inside:
                walk(one, times * k)

    inside = {name: [i.module for i in instances(body)] for name, body in found.items()}
    walk(top, 1)
    return total


@dataclass(frozen=True)
class Memory:
    """A memory of the core: `module` it is in, words × bits, bits that are written together, instances in a core."""

    kind: str  # "macro" (sram_1rw) or "array" (an array of registers)
    module: str
    name: str
    words: int
    bits: int
    granule: int
    instances: int


def memories(found: dict[str, str], top: str) -> list[Memory]:
    """Every macro and every array of registers under `top`."""
    often = counts(found, top)
    listed = []
    for name, body in found.items():
        if name == MACRO or name not in often:
            continue
        for one in instances(body):
            if one.module == MACRO:
                p = dict(one.parameters)
                listed.append(
                    Memory("macro", name, one.name, p["DEPTH"], p["WIDTH"], p["GRANULE"], often[name])
                )
        for high, array, last in _ARRAY.findall(body):
            bits = int(high) + 1
            listed.append(
                Memory("array", name, array.strip().lstrip("\\"), int(last) + 1, bits, bits, often[name])
            )
    return listed


def missing(found: dict[str, str], top: str) -> list[str]:
    """Modules that are placed but not there, and `top` if it is not."""
    placed = {i.module for body in found.values() for i in instances(body)} | {top}
    return sorted(placed - set(found))
