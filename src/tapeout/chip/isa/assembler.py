"""Programs as text, and back: `assemble` and `disassemble` are inverse, on words and on text in its own form.

    # sum of 1 to 10
            add   rd=r2 imm=10
            loop  count=r2 end=done
            add   rd=r1 a=r1 b=r3 imm=1
            add   rd=r3 b=r3 imm=1
    done:   halt

One instruction a line: an optional `label:`, the name, then `operand=value` in any order; operands left out are r0
or the smallest value. Values are registers (r0 to r31), integers (decimal or 0x…), names of choices, FP32
constants (1.5, -inf, nan, or 0x… for their bits), labels or instruction numbers for targets. `wait=` and
`signal=` take semaphores separated by commas. `#` starts a comment.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping

from tapeout.chip.isa.definition import Field, Instruction, Word, word
from tapeout.chip.isa.registry import decode, encode, instructions
from tapeout.errors import InputError, Phrase

_LABEL = re.compile(r"^\s*([A-Za-z_]\w*):")


def assemble(text: str, where: object = "program") -> list[int]:
    """The 128-bit words of a program. Raises InputError naming the line and what is wrong with it."""
    return [encode(w) for w in parse(text, where)]


def parse(text: str, where: object = "program") -> list[Word]:
    """The instructions of a program, labels resolved. Raises InputError."""
    labels: dict[str, int] = {}
    lines: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.split("#", 1)[0]
        while match := _LABEL.match(line):
            if match[1] in labels:
                raise InputError(
                    where, f"line {number}", Phrase(f"label {match[1]} again"), "each label once"
                )
            labels[match[1]] = len(lines)
            line = line[match.end() :]
        if line.strip():
            lines.append((number, line))
    return [_parse_line(line, labels, where, number) for number, line in lines]


def _parse_line(line: str, labels: Mapping[str, int], where: object, number: int) -> Word:
    name, *rest = line.split()
    at = f"line {number}"
    instruction = instructions().get(name)
    if instruction is None:
        raise InputError(where, at, name, "the name of an instruction")
    given: dict[str, str] = {}
    for part in rest:
        key, equals, value = part.partition("=")
        if not equals or not value or key in given:
            raise InputError(where, at, part, "operand=value, each operand once")
        given[key] = value
    slots = {s.name for s in instruction.slots if s.name}
    fields = {f.name: f for f in instruction.fields}
    values: dict[str, int] = {}
    masks: dict[str, list[int]] = {"wait": [], "signal": []}
    for key, value in given.items():
        if key in masks:
            masks[key] = [_integer(v, where, at, "semaphores 0 to 15") for v in value.split(",")]
        elif key in slots:
            if not re.fullmatch(r"r\d+", value):
                raise InputError(where, at, value, f"a register for {key}")
            values[key] = int(value[1:])
        elif key in fields:
            values[key] = _value(fields[key], value, labels, where, at)
        else:
            raise InputError(where, at, key, f"an operand of {name}: {', '.join([*slots, *fields, *masks])}")
    try:
        return word(instruction, masks["wait"], masks["signal"], **values)
    except ValueError as e:
        raise InputError(where, at, Phrase(e), "values in these bounds") from None


def _integer(text: str, where: object, at: str, expected: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise InputError(where, at, text, expected) from None


def _value(field: Field, text: str, labels: Mapping[str, int], where: object, at: str) -> int:
    if field.choices:
        if text not in field.choices:
            raise InputError(where, at, text, f"one of {', '.join(field.choices)} for {field.name}")
        return field.choices.index(text)
    if field.kind == "target" and text in labels:
        return labels[text]
    if field.kind == "float" and not text.startswith("0x"):
        try:
            return int(struct.unpack("<I", struct.pack("<f", float(text)))[0])
        except (ValueError, OverflowError):
            raise InputError(where, at, text, f"an FP32 constant for {field.name}") from None
    return _integer(
        text, where, at, f"an integer for {field.name}" + (", or a label" * (field.kind == "target"))
    )


def disassemble(program: Iterable[int]) -> str:
    """The text of words; assembling it gives the same words. Raises Trap for one that is no instruction."""
    words = [decode(bits) for bits in program]
    targets = sorted({v for w in words for f, v in zip(w.instruction.fields, w.values, strict=True)
                      if f.kind == "target" and v <= len(words)})  # fmt: skip
    labels = {target: f"L{i}" for i, target in enumerate(targets)}
    lines = []
    for i, w in enumerate(words):
        label = f"{labels[i]}:" if i in labels else ""
        lines.append(f"{label:8}{text_of(w, labels)}")
    if len(words) in labels:
        lines.append(f"{labels[len(words)]}:")
    return "\n".join(lines) + "\n"


def text_of(w: Word, labels: Mapping[int, str] | None = None) -> str:
    """One instruction as text; operands that are what they are when left out are left out."""
    one: Instruction = w.instruction
    parts = [f"{s.name}=r{n}" for s, n in zip(one.slots, w.registers, strict=True) if s.name and n]
    for field, value in zip(one.fields, w.values, strict=True):
        if value != max(field.bounds()[0], 0) or field.kind == "target":
            parts.append(f"{field.name}={_text(field, value, labels or {})}")
    parts += [f"{k}={','.join(map(str, m))}" for k, m in (("wait", w.wait), ("signal", w.signal)) if m]
    return f"{one.name:12}{' '.join(parts)}".rstrip()


def _text(field: Field, value: int, labels: Mapping[int, str]) -> str:
    if field.choices:
        return field.choices[value]
    if field.kind == "target":
        return labels.get(value, str(value))
    if field.kind == "float":
        number = struct.unpack("<f", struct.pack("<I", value))[0]
        short = repr(number)
        if number == number and struct.pack("<f", float(short)) == struct.pack("<I", value):
            return short
        return hex(value)
    return str(value)


def binary(program: Iterable[int]) -> bytes:
    """The program as it lies in memory: 16 bytes an instruction, little-endian."""
    return b"".join(bits.to_bytes(16, "little") for bits in program)
