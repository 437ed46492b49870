"""What an instruction is: its place in 128 bits, its meaning, its time, its text.

Every instruction has the same shape, so that one decoder, one dispatcher and one page of the manual serve all:

| bits | what | why |
|---|---|---|
| 0-7 | opcode; bits 5-7 name the engine | dispatch needs three bits; opcode 0 is none, so that empty memory traps |
| 8-23 | wait: one bit per semaphore | an engine starts when each of these has a token, and takes one of each |
| 24-39 | signal: one bit per semaphore | when the last byte is written, each of these gets a token |
| 40-79 | eight slots of five bits: scalar registers | always at the same place: read before the opcode is understood |
| 80-127 | immediate, 48 bits: fields of the instruction | a whole register, or an FP32 constant and modes |

Operands of engines come from registers, so every address, stride and count can be known at run time only; the
sequencer reads them when it dispatches, and the engine sees values. What changes the wiring (formats, modes)
is in the immediate. A bit that an instruction does not use must be zero and a code that means nothing must
not occur: both trap, so that they can mean something in a later version.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from tapeout.chip.isa.geometry import Geometry

if TYPE_CHECKING:
    from tapeout.chip.isa.state import State

WORD_BITS, WORD_BYTES = 128, 16
OPCODE_BITS = 8
SEMAPHORES, SEMAPHORE_MAX = 16, 63  # tokens: more than any engine's queue, so that full means a lost wait
WAIT_LOW, SIGNAL_LOW = 8, 24
SLOTS, SLOT_BITS, SLOT_LOW = 8, 5, 40
REGISTERS = 1 << SLOT_BITS
REGISTER_BITS = 48  # a byte address in the largest memory that a ChipSpec can have (2^46)
REGISTER_MASK = (1 << REGISTER_BITS) - 1
IMMEDIATE_LOW, IMMEDIATE_BITS = 80, 48
PC_BITS = 24  # instructions of a program
LOOP_DEPTH = 8
ARGUMENTS = 8  # registers the host writes before it rings the doorbell


class Engine(IntEnum):
    """Who executes; the upper three bits of the opcode."""

    SEQUENCER = 0
    LOAD = 1
    MATRIX = 2
    VECTOR = 3
    STORE = 4


class Cause(IntEnum):
    """Why a core stopped with an error; the number is what the host reads."""

    OPCODE = 1  # no such instruction
    RESERVED = 2  # a reserved bit is one, or a field has a code without meaning
    RANGE = 3  # a scratchpad address beyond its end
    ALIGNMENT = 4  # an address or stride that is not a multiple of what the instruction asks
    MEMORY = 5  # the memory port answered with an error
    SEMAPHORE = 6  # a token more than a semaphore holds
    LOOP = 7  # loops nested too deep, an end before the start, or a branch out of a loop
    OPERAND = 8  # a count the engine cannot do (rows, tiles, formats it lacks)
    PARITY = 9  # wrong parity between blocks, or a double error in the scratchpad


class Trap(Exception):
    """An instruction that cannot be executed; the core stops and tells the host."""

    def __init__(self, cause: Cause, about: str) -> None:
        self.cause = cause
        super().__init__(f"{cause.name.lower()}: {about}")


@dataclass(frozen=True)
class Slot:
    """A scalar register operand. `writes`: the instruction writes it (slot 0 only)."""

    name: str
    about: str
    writes: bool = False


NONE = Slot("", "reserved")  # keeps the slots after it in their places


@dataclass(frozen=True)
class Field:
    """`bits` of the immediate from bit `low` of it. What is stored is the value less `bias`.

    `choices` names the codes from 0; others trap. `kind`: how text shows it ("target": an instruction's index).
    """

    name: str
    low: int
    bits: int
    about: str
    choices: tuple[str, ...] = ()
    kind: Literal["unsigned", "signed", "float", "target"] = "unsigned"
    bias: int = 0

    @property
    def mask(self) -> int:
        """Its bits in the 128."""
        return ((1 << self.bits) - 1) << (IMMEDIATE_LOW + self.low)

    def bounds(self) -> tuple[int, int]:
        """Least and greatest value."""
        if self.choices:
            return 0, len(self.choices) - 1
        if self.kind == "signed":
            return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1
        return self.bias, (1 << self.bits) - 1 + self.bias


class Operands:
    """The operands of one execution by name: registers' values and fields."""

    def __init__(self, values: Mapping[str, int]) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> int:  # only for the type checker: every name is set above
        raise AttributeError(name)

    def __repr__(self) -> str:
        return f"Operands({self.__dict__})"


Meaning = Callable[["State", Operands], None]
Cycles = Callable[[Operands, Geometry], int]


@dataclass(frozen=True)
class Instruction:
    """One instruction.

    `meaning(state, operands)` changes the architectural state, or raises Trap. `cycles(operands, geometry)`: how
    long it keeps its engine, from its start to its signals, when memory and scratchpad never make it wait.
    """

    name: str
    opcode: int
    about: str
    slots: tuple[Slot, ...]
    fields: tuple[Field, ...]
    meaning: Meaning
    cycles: Cycles
    notes: str = ""

    @cached_property
    def engine(self) -> Engine:
        """Who executes it."""
        return Engine(self.opcode >> 5)

    @property
    def used(self) -> int:
        """The bits of the 128 that it may set; all others are reserved."""
        bits = (1 << SLOT_LOW) - 1
        for i, slot in enumerate(self.slots):
            if slot.name:
                bits |= (REGISTERS - 1) << (SLOT_LOW + SLOT_BITS * i)
        for field in self.fields:
            bits |= field.mask
        return bits


@dataclass(frozen=True)
class Word:
    """An instruction with its operands, as written in a program: register numbers, field values, semaphores."""

    instruction: Instruction
    registers: tuple[int, ...]
    values: tuple[int, ...]
    wait: tuple[int, ...] = ()
    signal: tuple[int, ...] = ()

    def resolve(self, registers: Iterable[int]) -> Operands:
        """Operands with the registers' values in place of their numbers (a destination keeps its number)."""
        held = list(registers)
        found: dict[str, int] = {}
        for slot, number in zip(self.instruction.slots, self.registers, strict=True):
            if slot.name:
                found[slot.name] = number if slot.writes else held[number]
        found.update((f.name, v) for f, v in zip(self.instruction.fields, self.values, strict=True))
        return Operands(found)


def word(
    instruction: Instruction, wait: Iterable[int] = (), signal: Iterable[int] = (), **operands: int
) -> Word:
    """A `Word` by names; slots and fields not given are r0 and the field's smallest value in magnitude.

    Raises ValueError for a name the instruction does not have or a value out of bounds.
    """
    given: dict[str, Any] = dict(operands)
    registers = tuple(int(given.pop(s.name, 0)) if s.name else 0 for s in instruction.slots)
    values = tuple(int(given.pop(f.name, max(f.bounds()[0], 0))) for f in instruction.fields)
    if given:
        raise ValueError(f"{instruction.name} has no {', '.join(given)}")
    for slot, number in zip(instruction.slots, registers, strict=True):
        if not 0 <= number < REGISTERS:
            raise ValueError(f"{instruction.name}: {slot.name}: register {number}, not 0 to {REGISTERS - 1}")
    for field, value in zip(instruction.fields, values, strict=True):
        low, high = field.bounds()
        if not low <= value <= high:
            raise ValueError(f"{instruction.name}: {field.name}: {value}, not {low} to {high}")
    masks = [tuple(sorted(set(m))) for m in (wait, signal)]
    if any(not 0 <= s < SEMAPHORES for m in masks for s in m):
        raise ValueError(f"{instruction.name}: semaphores are 0 to {SEMAPHORES - 1}")
    return Word(instruction, registers, values, *masks)


def encode(w: Word) -> int:
    """The 128 bits of `w`."""
    bits = w.instruction.opcode
    bits |= sum(1 << (WAIT_LOW + s) for s in w.wait) | sum(1 << (SIGNAL_LOW + s) for s in w.signal)
    for i, number in enumerate(w.registers):
        bits |= number << (SLOT_LOW + SLOT_BITS * i)
    for field, value in zip(w.instruction.fields, w.values, strict=True):
        bits |= ((value - field.bias) & ((1 << field.bits) - 1)) << (IMMEDIATE_LOW + field.low)
    return bits


def decode(bits: int, instructions: Mapping[int, Instruction]) -> Word:
    """The word that `bits` (128) encode. Raises Trap for an unknown opcode, a reserved bit or code."""
    instruction = instructions.get(bits & ((1 << OPCODE_BITS) - 1))
    if instruction is None:
        raise Trap(Cause.OPCODE, f"{bits & 0xFF:#04x}")
    if bits & ~instruction.used:
        raise Trap(Cause.RESERVED, f"{instruction.name}: bits {bits & ~instruction.used:#034x}")
    values = []
    for field in instruction.fields:
        value = (bits & field.mask) >> (IMMEDIATE_LOW + field.low)
        if field.choices and value >= len(field.choices):
            raise Trap(Cause.RESERVED, f"{instruction.name}: {field.name}: code {value}")
        if field.kind == "signed" and value >> (field.bits - 1):
            value -= 1 << field.bits
        values.append(value + field.bias)
    return Word(
        instruction,
        tuple(bits >> (SLOT_LOW + SLOT_BITS * i) & (REGISTERS - 1) for i in range(len(instruction.slots))),
        tuple(values),
        _members(bits >> WAIT_LOW),
        _members(bits >> SIGNAL_LOW),
    )


def _members(mask: int) -> tuple[int, ...]:
    return tuple(s for s in range(SEMAPHORES) if mask >> s & 1)
