"""decode(encode(x)) = x at every field's bounds and at random; every reserved bit and code traps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.chip.isa import definition
from tapeout.chip.isa.assembler import assemble, disassemble
from tapeout.chip.isa.definition import (
    IMMEDIATE_LOW,
    REGISTERS,
    WORD_BITS,
    Cause,
    Instruction,
    Trap,
    Word,
    word,
)
from tapeout.chip.isa.registry import decode, encode, instructions, opcodes

ALL = list(instructions().values())


@st.composite
def words(draw: st.DrawFn) -> Word:
    """Any instruction with any operands."""
    one = draw(st.sampled_from(ALL))
    masks = [draw(st.sets(st.integers(0, 15))) for _ in range(2)]
    values = {s.name: draw(st.integers(0, REGISTERS - 1)) for s in one.slots if s.name}
    for f in one.fields:
        values[f.name] = draw(st.integers(*f.bounds()))
    return word(one, *masks, **values)


@given(words())
def test_decode_inverts_encode(w: Word) -> None:
    bits = encode(w)
    assert 0 < bits < 1 << WORD_BITS
    assert decode(bits) == w


@given(st.lists(words(), max_size=12))
def test_assembly_inverts_disassembly(program: list[Word]) -> None:
    bits = [encode(w) for w in program]
    text = disassemble(bits)
    assert assemble(text) == bits
    assert disassemble(assemble(text)) == text


@pytest.mark.parametrize("one", ALL, ids=lambda i: i.name)
def test_every_field_at_its_bounds(one: Instruction) -> None:
    for slot in one.slots:
        if slot.name:
            for n in range(REGISTERS):
                assert decode(encode(word(one, **{slot.name: n}))) == word(one, **{slot.name: n})
    for f in one.fields:
        low, high = f.bounds()
        for v in {v for v in (low, low + 1, -1, 0, 1, high - 1, high) if low <= v <= high}:
            w = word(one, **{f.name: v})
            assert decode(encode(w)) == w
            assert w.values[one.fields.index(f)] == v
        with pytest.raises(ValueError, match=f.name):
            word(one, **{f.name: high + 1})
        with pytest.raises(ValueError, match=f.name):
            word(one, **{f.name: low - 1})
    for s in range(16):
        w = word(one, [s], [15 - s])
        assert decode(encode(w)) == w


@pytest.mark.parametrize("one", ALL, ids=lambda i: i.name)
def test_every_reserved_bit_traps(one: Instruction) -> None:
    base = encode(word(one))
    for bit in range(definition.OPCODE_BITS, WORD_BITS):
        changed = base ^ 1 << bit
        if one.used >> bit & 1:
            try:
                decode(changed)
            except Trap as trap:  # a code beyond a field's choices
                assert trap.cause == Cause.RESERVED
        else:
            with pytest.raises(Trap) as caught:
                decode(changed)
            assert caught.value.cause == Cause.RESERVED


@pytest.mark.parametrize("one", ALL, ids=lambda i: i.name)
def test_every_code_without_meaning_traps(one: Instruction) -> None:
    for f in one.fields:
        for code in range(len(f.choices), 1 << f.bits if f.choices else 0):
            with pytest.raises(Trap) as caught:
                decode(encode(word(one)) & ~f.mask | code << (IMMEDIATE_LOW + f.low))
            assert caught.value.cause == Cause.RESERVED


def test_every_other_opcode_traps() -> None:
    for opcode in set(range(256)) - set(opcodes()):
        with pytest.raises(Trap) as caught:
            decode(opcode)
        assert caught.value.cause == Cause.OPCODE
    assert 0 not in opcodes()


def test_fields_do_not_overlap_and_names_are_unique() -> None:
    for one in ALL:
        seen = 0
        for f in one.fields:
            assert not seen & f.mask
            assert f.low + f.bits <= definition.IMMEDIATE_BITS
            seen |= f.mask
        names = [s.name for s in one.slots if s.name] + [f.name for f in one.fields]
        assert len(set(names)) == len(names)
        assert len(one.slots) <= definition.SLOTS
        assert all(i == 0 for i, s in enumerate(one.slots) if s.writes)
