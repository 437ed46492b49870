"""The assembler's text: labels, constants, and one line for every kind of mistake."""

from __future__ import annotations

import struct

import pytest

from tapeout.chip.isa.assembler import assemble, binary, disassemble, parse
from tapeout.chip.isa.manual import manual
from tapeout.errors import InputError


def test_labels_constants_and_comments() -> None:
    program = parse(
        """
        # a loop
        start:  add  rd=r1 imm=-5      # negative
                loop count=r2 end=out
        in: again: vmul a=r3 out=r3 n=r4 rows=r5 imm=-1.5 from=immediate wait=3,1 signal=0
                branch a=r1 b=r0 if=less target=again imm=0x10
        out:
                halt code=7
        """
    )
    assert [w.instruction.name for w in program] == ["add", "loop", "vmul", "branch", "halt"]
    assert program[1].values == (4,)
    assert program[2].values[0] == struct.unpack("<I", struct.pack("<f", -1.5))[0]
    assert program[2].wait == (1, 3)
    assert program[3].values == (2, 2, 16)


@pytest.mark.parametrize(
    "bits", [0x7FC00000, 0x7F800000, 0xFF800000, 0x80000000, 1, 0x3DCCCCCD, 0x7FC00001, 0xFFC00000]
)
def test_float_constants_keep_their_bits(bits: int) -> None:
    program = assemble(f"vadd imm={bits:#x} from=immediate")
    assert assemble(disassemble(program)) == program
    assert f"{bits:#010x}"[2:] in f"{program[0]:032x}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nop", "nop"),
        ("add rd", "rd"),
        ("add rd=5", "register"),
        ("add rd=r32", "register 32"),
        ("add rd=r1 rd=r2", "once"),
        ("add x=r1", "operand of add"),
        ("vadd from=memory", "vector, row, immediate"),
        ("vadd imm=1e40", "FP32"),
        ("loop count=r1 end=nowhere", "label"),
        ("a: a: halt", "again"),
        ("matmul rows=0", "rows"),
        ("halt wait=16", "semaphores"),
        ("halt code=x", "integer"),
    ],
)
def test_mistakes_are_told_with_their_line(text: str, said: str) -> None:
    with pytest.raises(InputError, match="line 2") as caught:
        assemble("halt\n" + text)
    assert said in str(caught.value)


def test_binary_is_little_endian() -> None:
    assert binary([1, 2 << 120])[:1] == b"\1"
    assert binary([1, 2 << 120])[31:] == b"\2"


def test_the_manual_is_fresh() -> None:
    from pathlib import Path

    page = Path(__file__).parents[3] / "docs" / "isa.md"
    assert page.read_text() == manual(), "run python -m tapeout.chip.isa.manual > docs/isa.md"
