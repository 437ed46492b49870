"""Round-robin arbitration of several streams onto one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block


class Arbiter(Block):
    """`i0` … to `o`, whose payload says which input it came from. The winner is chosen when the output is free
    or its word leaves, starting after the last winner; every waiting input is served within `inputs` transfers.
    """

    def __init__(self, width: int, inputs: int) -> None:
        self.width, self.inputs = width, inputs
        super().__init__(
            {f"i{k}": In(stream.Signature(width)) for k in range(inputs)}
            | {
                "o": Out(
                    stream.Signature(data.StructLayout({"word": width, "source": bits_for_index(inputs)}))
                )
            }
        )

    @property
    def module_name(self) -> str:
        return f"arbiter_{self.width}x{self.inputs}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        inputs = [getattr(self, f"i{k}") for k in range(self.inputs)]
        asking = Cat(i.valid for i in inputs)
        last = Signal(self.inputs, init=1 << (self.inputs - 1))  # one-hot: the last winner
        after = Signal(self.inputs)  # those behind the last winner
        seen: Value = Const(0, 1)
        for k in range(self.inputs):
            m.d.comb += after[k].eq(seen)
            seen = seen | last[k]
        behind = asking & after
        grant = Signal(self.inputs)
        m.d.comb += grant.eq(first_one(behind) | Mux(behind.any(), 0, first_one(asking)))
        free = ~self.o.valid | self.o.ready
        for k, i in enumerate(inputs):
            m.d.comb += i.ready.eq(grant[k] & free)
        with m.If(free):
            m.d.sync += self.o.valid.eq(asking.any())
            with m.If(asking.any()):
                m.d.sync += last.eq(grant)
                word: Value = Const(0, self.width)
                source: Value = Const(0, bits_for_index(self.inputs))
                for k, i in enumerate(inputs):
                    word = word | Mux(grant[k], i.payload, 0)
                    source = source | Mux(grant[k], k, 0)
                m.d.sync += [self.o.payload.word.eq(word), self.o.payload.source.eq(source)]
        return m


def first_one(value: Value) -> Value:
    """Only the lowest one of `value`."""
    return (value & (~value + 1))[: len(value)]
