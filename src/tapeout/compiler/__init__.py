"""Model × ChipSpec × formats → Program, in small passes with the IR checked between them.

    program = compile(model, chip, "mxint8")         # no weights are read
    program.save("demo.program")
    memory = image(program, checkpoint)              # weights packed, tables, constants
    session = Session(program, memory, run)          # `host`: what any backend needs
    logits = session.step(tokens)

`program` is the result and the contract with simulators; `image` fills its memory; `host` drives it.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_API = {
    "compile": "tapeout.compiler.pipeline",
    "image": "tapeout.compiler.memory_image",
    "Program": "tapeout.compiler.program",
    "Session": "tapeout.compiler.host",
}

__all__ = list(_API)


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(import_module(_API[name]), name)
    raise AttributeError(f"module 'tapeout.compiler' has no attribute {name!r}")
