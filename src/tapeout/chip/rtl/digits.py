"""What a weight looks like inside the matrix engine, and the logic at the top of a column that makes it so.

A lane multiplies an 8-bit activation by two 5-bit *digits*, each sign and two radix-4 magnitudes (m1, m0 in
0..3): the multiples 0, a, 2a, 3a are selected, not multiplied (3a is made once per row), then shifted by
4·m1 + m0 and negated. An E2M1 weight is one digit: ±{0, 1, 2, 3, 4, 6, 8, 12}, in halves. An INT8 weight
is two: w = 16·h + l with h in [-8, 7] and l in [0, 15], and h = 4·h1 + h0 where only h1 in [-2, 1] has a
sign. So the INT8 × INT8 multiplier is two INT8 × FP4 ones with their sums added.

Recoding happens once per column; units pass digits down. Bits of a digit: m0 (2), m1 (2), negative (1). In
INT8 mode `negative` concerns m1 alone. In the form for simulation a digit is its value in two's complement.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Value

from tapeout.chip.rtl.block import simulating
from tapeout.numerics.formats import MXFP4

DIGIT_BITS = 5


def digit_from_fp4(code: Value) -> Value:
    """A digit from an E2M1 code (sign, two exponent bits, one mantissa bit), as a multiple of one half."""
    if simulating():
        exponent, significand = code[1:3], Cat(code[0], code[1:3].any())
        magnitude = Mux(exponent == 3, significand << 2, Mux(exponent == 2, significand << 1, significand))
        return Mux(code[3], -magnitude, magnitude)[:DIGIT_BITS]
    c0, c1, c2 = code[0], code[1], code[2]
    # magnitude code → value: 0 0, 1 1, 2 2, 3 3, 4 4 (1,0), 5 6 (1,2), 6 8 (2,0), 7 12 (3,0)
    m0_low = ~c2 & c0
    m0_high = (~c2 & c1) | (c2 & ~c1 & c0)
    m1_low = (c2 & ~c1) | (c2 & c0)
    m1_high = c2 & c1
    return Cat(m0_low, m0_high, m1_low, m1_high, code[3])


def digit_from_low_nibble(nibble: Value) -> Value:
    """The unsigned digit l."""
    return Cat(nibble, Const(0, 1))


def digit_from_high_nibble(nibble: Value) -> Value:
    """The signed digit h: magnitude of h1, with its sign."""
    if simulating():
        return Cat(nibble, nibble[3])
    # h1 = -2·n3 + n2: 00 → 0, 01 → 1, 10 → -2, 11 → -1
    return Cat(nibble[:2], nibble[2], nibble[3] & ~nibble[2], nibble[3])


def recoded(formats: tuple[str, ...], halves: int, lanes: int) -> str:
    """What `recode` makes, in Verilog for a simulator: the halves' digits of `codes` in `int8` or not, side by side.
    Uses the function `fp4_digit`."""
    nibbles = [f"fp4_digit(codes[{4 * i} +: 4])" for i in range(halves * lanes)]
    bytes_ = [
        f"{{codes[{8 * i + 7}], codes[{8 * i + 4} +: 4]}}" if half else f"{{1'b0, codes[{8 * i} +: 4]}}"
        for half in range(halves)
        for i in range(lanes)
    ]
    whole = {n: "{" + ", ".join(reversed(d)) + "}" for n, d in (("mxfp4", nibbles), ("mxint8", bytes_))}
    return f"int8 ? {whole['mxint8']} : {whole['mxfp4']}" if len(formats) > 1 else whole[formats[0]]


# magnitudes by code, five bits each, then the sign
FP4_DIGIT = f"""
function [4:0] fp4_digit(input [3:0] code);
  reg [39:0] magnitude;
  begin
    magnitude = 40'h{sum(int(MXFP4.table[code]) << 5 * code for code in range(8)):x} >> (6'd5 * code[2:0]);
    fp4_digit = code[3] ? -magnitude[4:0] : magnitude[4:0];
  end
endfunction
"""


def recode(
    m: Module, codes: Value, int8: Value, formats: tuple[str, ...], halves: int, lanes: int
) -> list[Value]:
    """The digits of one column's weight word: for each half, lanes × DIGIT_BITS bits.

    `codes`: 8 × lanes bits. MXINT8: byte i is lane i; half 0 has the low nibbles, half 1 the high ones. MXFP4:
    nibble i is lane i of the first block (half 0), nibble lanes + i lane i of the second (half 1).
    """
    result = []
    for half in range(halves):
        lane_digits = []
        for lane in range(lanes):
            fp4 = digit_from_fp4(codes.word_select(half * lanes + lane, 4)) if "mxfp4" in formats else None
            byte = codes.word_select(lane, 8)
            from_byte = digit_from_high_nibble(byte[4:]) if half else digit_from_low_nibble(byte[:4])
            if "mxint8" not in formats:
                assert fp4 is not None
                lane_digits.append(fp4)
            else:
                lane_digits.append(from_byte if fp4 is None else Mux(int8, from_byte, fp4))
        result.append(Cat(*lane_digits))
    return result
