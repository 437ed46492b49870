"""Parity of the paths between blocks: a bit for every 64, made where a word is sent, checked where it is used.

Neither half lies in a path of data. The sender's tree ends in a register, so its parity follows the word a cycle later
(`late`); the receiver makes its own from what arrived, in a register too, and a comparison of the two is the
next stage. Where a word waits in a queue its parity waits with it.

A synthesis tool that dissolves the hierarchy sees two equal trees on one wire and keeps neither: `parity_send_*` and
`parity_check_*` have to stay modules of their own, each placed with its end of the path.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import In, Out

from tapeout.chip.rtl.block import Block

GROUP = 64  # bits that share a parity bit: what SECDED covers, whose check bits add up to it

# Numbers of the paths, as the host sees them in `fault` and names them in `inject`.
PATHS = {
    "scratchpad": "a double error in a stored word",
    "pad_write": "a write, from an engine through the crossbar to the check bits",
    "line": "instructions, from the memory port to the sequencer",
    "loaded": "data, from the memory port to the load engine",
    "stored": "data, from the store engine to the memory port",
    "load_command": "commands, from the dispatch queues to the load engine",
    "matrix_command": "to the matrix engine",
    "vector_command": "to the vector engine",
    "store_command": "to the store engine",
    "sequencer_answer": "reads of the scratchpad, from the check bits through the queue of answers to the sequencer",
    "load_answer": "to the load engine (indices)",
    "matrix_answer": "to the matrix engine",
    "vector_answer": "to the vector engine",
    "store_answer": "to the store engine",
}
PATH_BITS = len(PATHS).bit_length()


def number(path: str) -> int:
    """What the host calls a path; 0 is none."""
    return list(PATHS).index(path) + 1


def groups(width: int) -> int:
    """Parity bits of a word."""
    return -(-width // GROUP)


def parities(name: str, width: int) -> str:
    """The same in Verilog for a simulator, of the word `name`."""
    cuts = [f"^{name}[{min(i + GROUP, width) - 1}:{i}]" for i in range(0, width, GROUP)]
    return "{" + ", ".join(reversed(cuts)) + "}"


def parity(word: Value) -> Value:
    """A bit per group."""
    return Cat(word[i : i + GROUP].xor() for i in range(0, len(word), GROUP))


class ParitySend(Block):
    """`parity`, a cycle after `word` was `taken`. `inject` flips the parity of the lowest group."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__({"word": In(width), "taken": In(1), "inject": In(1), "parity": Out(groups(width))})

    @property
    def module_name(self) -> str:
        return f"parity_send_{self.width}"

    def behaviour(self) -> str:
        return f"always @(posedge clk) if (taken) parity <= {parities('word', self.width)} ^ inject;"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sent = Signal(groups(self.width), reset_less=True)
        with m.If(self.taken):
            m.d.sync += sent.eq(parity(self.word) ^ self.inject)
        m.d.comb += self.parity.eq(sent)
        return m


class ParityCheck(Block):
    """`error` in the second cycle after a word was `taken` whose parity is not `parity`. `late`: the parity comes a
    cycle after the word, as `ParitySend` has it; else with it."""

    def __init__(self, width: int, late: bool) -> None:
        self.width, self.late = width, late
        super().__init__({"word": In(width), "taken": In(1), "parity": In(groups(width)), "error": Out(1)})

    @property
    def module_name(self) -> str:
        return f"parity_check_{self.width}{'_late' if self.late else ''}"

    def behaviour(self) -> str:
        top = groups(self.width) - 1
        return f"""
reg came;
reg [{top}:0] mine, theirs;
always @(posedge clk) begin
  came <= taken & ~rst;
  if (taken) begin
    mine <= {parities("word", self.width)};
    theirs <= parity;
  end
  error <= ~rst & came & (mine != {"parity" if self.late else "theirs"});
end
"""

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        came = Signal()
        mine, theirs = (Signal(groups(self.width), name=n, reset_less=True) for n in ("mine", "theirs"))
        m.d.sync += came.eq(self.taken)
        with m.If(self.taken):
            m.d.sync += mine.eq(parity(self.word))
            if not self.late:
                m.d.sync += theirs.eq(self.parity)
        if self.late:
            theirs = self.parity
        m.d.sync += self.error.eq(came & (mine ^ theirs).any())
        return m
