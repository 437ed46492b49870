"""A port of the scratchpad, as the engine that has it declares it."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.lib import data

QUEUE = 6  # answers a port may have under way or waiting: one per cycle over the latency of a read, and one


@dataclass(frozen=True)
class PadPort:
    """`words` (a power of two) that an access takes, aligned, in one cycle. A port that only reads has no data to
    send, one that only writes no answers. `urgent`: goes before all others; its accesses must not take the same bank
    in two cycles running (see `Scratchpad`). `queue`: answers under way or waiting; with QUEUE of them it can read
    every cycle.

    The engine has the streams `{name}_request` and, if it reads, `{name}_answer`.
    """

    name: str = "pad"
    words: int = 1
    reads: bool = True
    writes: bool = True
    urgent: bool = False
    queue: int = QUEUE

    def request(self, pad_words: int, word_bytes: int) -> data.StructLayout:
        """The payload of a request: `address` in words, a multiple of `words`; with ports that write `mask` (a bit
        per 8 bytes) and `data`, and with those that do both, `write`."""
        fields = {"address": (pad_words - 1).bit_length()}
        if self.reads and self.writes:
            fields["write"] = 1
        if self.writes:
            fields |= {"mask": self.words * word_bytes // 8, "data": 8 * self.words * word_bytes}
        return data.StructLayout(fields)

    @property
    def code(self) -> str:
        """For the name of a module that has it."""
        kind = "" if self.reads and self.writes else "r" if self.reads else "w"
        return (
            f"{self.words}{kind}{'u' if self.urgent else ''}{f'q{self.queue}' if self.queue != QUEUE else ''}"
        )
