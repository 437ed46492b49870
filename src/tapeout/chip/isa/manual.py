"""The ISA manual, written from the instructions' files: `python -m tapeout.chip.isa.manual > docs/isa.md`."""

from __future__ import annotations

import inspect
import textwrap

from tapeout.chip.isa import definition, timing
from tapeout.chip.isa.definition import (
    IMMEDIATE_LOW,
    SEMAPHORES,
    SLOT_BITS,
    SLOT_LOW,
    Cause,
    Engine,
    Field,
    Instruction,
)
from tapeout.chip.isa.registry import instructions

INTRODUCTION = f"""# The instruction set

Written by `python -m tapeout.chip.isa.manual` from the files that define each instruction; do not edit.

A core is four engines (load, matrix, vector, store) around one scratchpad, under a sequencer. The sequencer
fetches 128-bit instructions from memory, executes its own and dispatches the others, with their operands read from
scalar registers, to the engines' queues. An engine takes its queue in order. Between engines, and between them and
the sequencer, the only order is that of {SEMAPHORES} counting semaphores: an instruction starts when every
semaphore of its `wait` has a token, takes one of each, and gives one to each of `signal` when its last byte is
written. A program whose engines touch the same bytes without such an order has no defined result.

Registers r0 to r31 have 48 bits; r0 is 0. Arithmetic is modulo 2^48; "signed" means two's complement. The scratchpad
is written in granules of 8 bytes, those of its ECC: what a write leaves of its last granule becomes zero. All data
are little-endian. FP32 arithmetic, formats and the order of every sum are those of `tapeout.numerics`.

## Encoding
"""

COUNTS = """
Of the sequencer's own instructions: cycles until the next one starts. Of the engines': from the queue to the tokens,
where the engine is free and scratchpad and memory never make it wait; loads and stores take memory's latency on
top. The Python function that computes them is given with each instruction; `timing` names the constants below, `g`
is the core's geometry. Sequencer, load, gather, store and scatter take exactly these cycles in RTL; so does the
matrix engine from its operands to its results, and so do vector instructions where operands and results do not meet in
a bank.
"""


def manual() -> str:
    """The Markdown text."""
    layout = inspect.cleandoc(definition.__doc__ or "").split("\n\n", 1)[1]
    parts = [INTRODUCTION, layout, "\n## Time\n", COUNTS, _constants(), "\n## Traps\n", _causes()]
    parts += ["\n## Instructions\n", _index()]
    for engine in Engine:
        parts.append(f"\n## {engine.name.capitalize()}\n")
        parts += [_page(one) for one in instructions().values() if one.engine == engine]
    return "\n".join(parts).rstrip() + "\n"


def _constants() -> str:
    rows = [f"| `{k}` | {v} |" for k, v in vars(timing).items() if k.isupper()]
    return "\n".join(["| constant | cycles |", "|---|---|", *rows])


def _causes() -> str:
    comments = {}
    for line in inspect.getsource(Cause).splitlines():
        if "#" in line and "=" in line:
            comments[line.split("=")[0].strip()] = line.split("#", 1)[1].strip()
    text = "The core stops; the host reads the cause and the instruction's number.\n"
    head = ["| cause | name | when |", "|---|---|---|"]
    return "\n".join([text, *head, *(f"| {c.value} | {c.name} | {comments[c.name]} |" for c in Cause)])


def _index() -> str:
    rows = [f"| `{i.opcode:#04x}` | [{i.name}](#{i.name}) | {i.engine.name.lower()} | {i.about} |"
            for i in instructions().values()]  # fmt: skip
    return "\n".join(["| opcode | name | engine | |", "|---|---|---|---|", *rows])


def _page(one: Instruction) -> str:
    lines = [f"### {one.name}\n", f"{one.about}.\n"]
    rows = []
    for i, slot in enumerate(one.slots):
        if slot.name:
            low = SLOT_LOW + SLOT_BITS * i
            kind = "register written" if slot.writes else "register"
            rows.append(f"| {low}-{low + SLOT_BITS - 1} | `{slot.name}` | {kind} | {slot.about} |")
    for field in one.fields:
        low = IMMEDIATE_LOW + field.low
        bits = f"{low}-{low + field.bits - 1}" if field.bits > 1 else str(low)
        rows.append(f"| {bits} | `{field.name}` | {_kind(field)} | {field.about} |")
    rows.append(f"| 0-7 | opcode | `{one.opcode:#04x}` | |")
    lines += ["| bits | operand | | |", "|---|---|---|---|", *rows, ""]
    if one.notes:
        lines += [f"{one.notes}\n"]
    module = inspect.getmodule(one.meaning)
    own = module is not None and module.__name__.startswith(f"tapeout.chip.isa.{one.engine.name.lower()}.")
    if own and module is not None:
        long = inspect.cleandoc(module.__doc__ or "").split("\n\n", 1)
        if len(long) > 1:
            lines += [long[1] + "\n"]
        lines += ["```python", textwrap.dedent(inspect.getsource(one.meaning)).rstrip(), "```\n"]
    lines.append(f"Cycles: {_cycles(one)}\n")
    return "\n".join(lines)


def _kind(field: Field) -> str:
    if field.choices:
        return ", ".join(f"{i} {name}" for i, name in enumerate(field.choices))
    text = {"target": "instruction number", "float": "FP32 bits"}.get(field.kind, field.kind)
    return text + (f", stored less {field.bias}" if field.bias else "")


def _cycles(one: Instruction) -> str:
    source = inspect.getsource(one.cycles)
    if "lambda o, g:" in source:
        body = source.split("lambda o, g:", 1)[1]
        depth, end = 0, len(body)
        for i, c in enumerate(body):
            depth += (c in "([{") - (c in ")]}")
            if depth < 0 or (c in ",\n" and depth == 0):
                end = i
                break
        text = body[:end].strip()
        if text == "timing.SCALAR + more":
            text = "timing.SCALAR" + (" + timing.MULTIPLY" if one.name == "mul" else "")
        return f"`{text}`."
    doc = inspect.cleandoc(one.cycles.__doc__ or "")
    result = source.split('"""')[-1].strip()
    return f"{doc}\n\n```python\n{textwrap.dedent(result)}\n```"


if __name__ == "__main__":
    print(manual(), end="")
