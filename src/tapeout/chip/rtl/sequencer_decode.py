"""Whether 128 bits are an instruction: derived from the instructions' files, as the assembler is."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Signal, Value

from tapeout.chip.isa.definition import IMMEDIATE_LOW, OPCODE_BITS, SIGNAL_LOW, WORD_BITS
from tapeout.chip.isa.registry import opcodes

FREE = SIGNAL_LOW + 16  # bits below are never reserved: opcode and masks


def legality(m: Module, word: Value, names: frozenset[str]) -> tuple[Value, Value]:
    """(the opcode is known, nothing reserved is used) for 128 bits, on a core that has the instructions `names`."""
    there = {code: one for code, one in opcodes().items() if one.name in names}
    opcode = word[:OPCODE_BITS]
    hits = Signal(len(there), name="hits")
    m.d.comb += hits.eq(Cat(opcode == code for code in there))
    wrong: Value = Const(0, WORD_BITS - FREE)
    for hit, one in zip(hits, there.values(), strict=True):
        reserved = Const((~one.used & (1 << WORD_BITS) - 1) >> FREE, WORD_BITS - FREE)
        wrong = wrong | (reserved & hit.replicate(WORD_BITS - FREE))
    bad: Value = (wrong & word[FREE:]).any()
    for hit, one in zip(hits, there.values(), strict=True):
        for field in one.fields:
            if field.choices and len(field.choices) < 1 << field.bits:
                at = IMMEDIATE_LOW + field.low
                bad = bad | (hit & (word[at : at + field.bits] >= len(field.choices)))
    return hits.any(), ~bad
