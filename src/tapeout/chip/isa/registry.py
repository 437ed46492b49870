"""Every instruction, found by the files there are: one folder per engine, one file per instruction."""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from pkgutil import iter_modules

from tapeout.chip.isa.definition import Engine, Instruction, Word, encode
from tapeout.chip.isa.definition import decode as decode_with


@lru_cache(maxsize=1)
def instructions() -> dict[str, Instruction]:
    """By name, in the order of the opcodes. Raises ValueError if two share an opcode or a name."""
    found: dict[int, Instruction] = {}
    for engine in Engine:
        folder = import_module(f"tapeout.chip.isa.{engine.name.lower()}")
        for module in iter_modules(folder.__path__):
            one: Instruction = import_module(f"{folder.__name__}.{module.name}").INSTRUCTION
            if one.opcode in found or one.engine != engine or one.opcode == 0:
                raise ValueError(
                    f"{one.name}: opcode {one.opcode:#04x} is taken or not of the {engine.name} engine"
                )
            found[one.opcode] = one
    by_name = {one.name: one for _, one in sorted(found.items())}
    if len(by_name) != len(found):
        raise ValueError("two instructions share a name")
    return by_name


@lru_cache(maxsize=1)
def opcodes() -> dict[int, Instruction]:
    """By opcode."""
    return {one.opcode: one for one in instructions().values()}


@lru_cache(maxsize=1 << 16)
def decode(bits: int) -> Word:
    """The word that 128 bits encode; raises Trap if they encode none."""
    return decode_with(bits, opcodes())


__all__ = ["decode", "encode", "instructions", "opcodes"]
