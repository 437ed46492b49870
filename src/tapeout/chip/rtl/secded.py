"""SECDED: 64 data bits and 8 check bits; one wrong bit is corrected, two are detected.

Hsiao's code (IBM J. Res. Dev. 14 (1970) 395): every column of the check matrix is distinct and of odd weight,
so that an error of two bits has an even, nonzero syndrome, and the XOR trees are of nearly equal size.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from itertools import combinations
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, place

DATA, CHECK = 64, 8
WORD = DATA + CHECK


@lru_cache(maxsize=1)
def columns() -> tuple[int, ...]:
    """The syndrome of a single error in each data bit: all 56 of weight 3, and 8 of weight 5 that balance."""
    weight3 = [sum(1 << b for b in c) for c in combinations(range(CHECK), 3)]
    # rotations of one pattern use every check bit equally often
    weight5 = [((0b00011111 << i) | (0b00011111 >> (CHECK - i))) & 0xFF for i in range(CHECK)]
    return tuple(weight3 + weight5)


def rows() -> tuple[int, ...]:
    """The data bits that each check bit covers."""
    return tuple(sum(1 << i for i, c in enumerate(columns()) if c >> row & 1) for row in range(CHECK))


def parities(word: str) -> str:
    """The check bits of `word` in Verilog: eight parities of masked words, which a processor has instructions for."""
    return "{" + ", ".join(f"^({word} & 64'h{covered:x})" for covered in reversed(rows())) + "}"


class SecdedEncode(Block):
    """The 8 check bits of 64 data bits, combinationally."""

    combinational = True
    module_name = "secded_encode"

    def __init__(self) -> None:
        super().__init__({"word": In(DATA), "check": Out(CHECK)})

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        for row, covered in enumerate(rows()):
            m.d.comb += self.check[row].eq((self.word & Const(covered, DATA)).xor())
        return m

    def behaviour(self) -> str:
        return f"always @* check = {parities('word')};"


class SecdedDecode(Block):
    """`word` (data, then check bits) → `fixed` data; `one_wrong`: a bit was; `two_wrong`: two are. `parity`: of
    the fixed data, from the check bits alone: every column of the code is odd, so they add up to it.

    Combinational. With a double error `fixed` is the data as they are.
    """

    combinational = True
    module_name = "secded_decode"

    def __init__(self) -> None:
        super().__init__(
            {"word": In(WORD), "fixed": Out(DATA), "one_wrong": Out(1), "two_wrong": Out(1), "parity": Out(1)}
        )

    def placed(self) -> Iterable[Block]:
        return (SecdedEncode(),)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        again = place(m, "again", SecdedEncode())
        syndrome = Signal(CHECK)
        m.d.comb += [
            again.word.eq(self.word[:DATA]),
            syndrome.eq(again.check ^ self.word[DATA:]),
            self.one_wrong.eq(syndrome.xor()),
            self.two_wrong.eq(syndrome.any() & ~syndrome.xor()),
            # a syndrome of one bit is an error of that check bit
            self.parity.eq(self.word[DATA:].xor() ^ Cat(syndrome == 1 << i for i in range(CHECK)).any()),
        ]
        m.d.comb += self.fixed.eq(self.word[:DATA] ^ Cat(syndrome == c for c in columns()))
        return m

    def behaviour(self) -> str:
        """Words are seldom wrong: beyond the syndrome there is nothing to compute for one that is not."""
        cases = "\n".join(f"        8'd{c}: place = 6'd{i};" for i, c in enumerate(columns()))
        return f"""
wire [63:0] data = word[63:0];
wire [7:0] syndrome = word[71:64] ^ {parities("data")};
reg [5:0] place;
reg known;
always @* begin
  fixed = data;
  one_wrong = 1'b0;
  two_wrong = 1'b0;
  place = 6'd0;
  known = 1'b1;
  parity = ^word[71:64];
  if (syndrome != 8'd0) begin
    one_wrong = ^syndrome;
    two_wrong = ~one_wrong;
    case (syndrome)
{cases}
      default: known = 1'b0;
    endcase
    if ((syndrome & (syndrome - 8'd1)) == 8'd0) parity = ~parity;
    if (known) fixed = data ^ (64'd1 << place);
  end
end
"""


def encode(data: int) -> int:
    """The 72-bit word of 64 bits of data."""
    check = 0
    for i, c in enumerate(columns()):
        if data >> i & 1:
            check ^= c
    return data | check << DATA


def decode(word: int) -> tuple[int, str]:
    """(data, "ok" | "corrected" | "wrong") of a 72-bit word. An odd syndrome that is no column is three errors
    or more; like the hardware, this calls it corrected."""
    data = word & ((1 << DATA) - 1)
    syndrome = encode(data) >> DATA ^ word >> DATA
    if not syndrome:
        return data, "ok"
    if syndrome.bit_count() % 2 == 0:
        return data, "wrong"
    if syndrome in columns():
        data ^= 1 << columns().index(syndrome)
    return data, "corrected"
