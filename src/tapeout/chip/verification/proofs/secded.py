"""SECDED over every word and every error of up to two bits: 2^64 × (1 + 72 + 72·71/2) cases, in two steps.

Solvers are slow at sums of many bits modulo 2, so the code's linearity is a claim of its own:

1. `SecdedLinearProof`: for each data bit i and any word, flipping bit i flips the encoder's check bits by the
   i-th column of the code; and adding to what the decoder reads the codeword of bit i alone flips bit i of its
   answer and its parity and changes no report. Every codeword is a sum of those, so the decoder's answer to a word with
   errors is its answer to the errors alone, plus the word.
2. `SecdedErrorsProof`: with no word but the errors, at positions of the solver's choice: none, nothing reported;
   one, corrected and reported so; two, reported so and left as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.secded import CHECK, DATA, WORD, SecdedDecode, SecdedEncode, columns
from tapeout.chip.verification.formal import Proof


class Shifted(Block):
    """Encoders and decoders of a word and of its 64 neighbours; `linear`: a bit per data bit, two claims each."""

    combinational = True
    module_name = "secded_shifted"

    def __init__(self, encode: Block | None = None, decode: Block | None = None) -> None:
        self.encode, self.decode = encode or SecdedEncode(), decode or SecdedDecode()
        super().__init__({"word": In(WORD), "encodes": Out(DATA), "decodes": Out(DATA), "zero": Out(1)})

    def placed(self) -> Iterable[Block]:
        return (self.encode, self.decode)

    def _both(self, m: Module, name: str, word: Any) -> tuple[Any, Any]:
        encode, decode = place(m, f"encode{name}", self.encode), place(m, f"decode{name}", self.decode)
        m.d.comb += [encode.word.eq(word[:DATA]), decode.word.eq(word)]
        return encode.check, Cat(decode.fixed, decode.one_wrong, decode.two_wrong, decode.parity)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        check, answer = self._both(m, "", self.word)
        nothing = place(m, "encode_zero", self.encode)
        m.d.comb += [nothing.word.eq(0), self.zero.eq(nothing.check == 0)]
        for i, column in enumerate(columns()):
            codeword = Const(1 << i | column << DATA, WORD)
            other_check, other = self._both(m, str(i), self.word ^ codeword)
            m.d.comb += [
                self.encodes[i].eq(other_check == check ^ Const(column, CHECK)),
                # every codeword of one bit of data changes its parity
                self.decodes[i].eq(other == answer ^ Const(1 << i | 1 << (DATA + 2), DATA + 3)),
            ]
        return m


class SecdedLinearProof(Proof):
    """Step 1."""

    depth, k = 2, 1

    def __init__(self, block: Shifted | None = None) -> None:
        super().__init__(block or Shifted())

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        self.claim(m, dut.zero)
        self.claim(m, dut.encodes.all())
        self.claim(m, dut.decodes.all())


class SecdedErrorsProof(Proof):
    """Step 2; `flips` is what the decoder reads."""

    depth, k = 2, 1
    free: Mapping[str, int] = {"first": 7, "second": 7, "errors": 2}

    def __init__(self, block: SecdedDecode | None = None) -> None:
        super().__init__(block or SecdedDecode())

    def properties(self, m: Module, dut: Any, seen: Mapping[str, Signal]) -> None:
        one, two = Signal(WORD), Signal(WORD)
        m.d.comb += [one.eq(Const(1, WORD) << self.first), two.eq(Const(1, WORD) << self.second)]
        self.given(m, (self.first < self.second) & (self.second < WORD) & (self.errors <= 2))
        with m.If(self.errors == 0):
            self.given(m, dut.word == 0)
            self.claim(m, (dut.fixed == 0) & ~dut.one_wrong & ~dut.two_wrong & ~dut.parity)
        with m.Elif(self.errors == 1):
            self.given(m, (dut.word == one) | (dut.word == two))
            self.claim(m, (dut.fixed == 0) & dut.one_wrong & ~dut.two_wrong & ~dut.parity)
        with m.Else():
            self.given(m, dut.word == (one | two))
            self.claim(m, dut.two_wrong & ~dut.one_wrong & (dut.fixed == dut.word[:DATA]))
