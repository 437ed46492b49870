"""The number of ones in a word."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block


class Population(Block):
    """`count` of the ones in `word`, combinationally."""

    combinational = True

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"word": In(width), "count": Out(bits_for_index(width + 1))})

    @property
    def module_name(self) -> str:
        return f"population_{self.width}"

    def behaviour(self) -> str:
        """In one instruction."""
        return "always @* count = $countones(word);"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.d.comb += self.count.eq(sum(self.word, Const(0, 1)))
        return m
