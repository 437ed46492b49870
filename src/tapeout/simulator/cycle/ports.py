"""The scratchpad's ports, in the order of the core: a test holds them equal to those that the RTL's engines declare."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tapeout.chip import spec
from tapeout.chip.isa.definition import Engine
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry, power_of_two

ANSWERS = 6  # reads that a port may have under way: one a cycle over the latency of a read, and one


@dataclass(frozen=True)
class Port:
    """`words` that an access takes; `urgent`: goes before all others; `answers`: reads under way."""

    engine: Engine
    words: int = 1
    urgent: bool = False
    answers: int = ANSWERS


def ports(core: spec.Core) -> list[Port]:
    """Those of a core."""
    g = Geometry.of(core)
    formats = [f for f in g.formats if f in ("mxfp4", "mxint8")]

    def words(of: Callable[[str], int]) -> int:
        return max(power_of_two(max(of(f) for f in formats)) // g.word_bytes, 1)

    return [
        Port(Engine.SEQUENCER),
        Port(Engine.LOAD),
        Port(Engine.MATRIX, words(g.beat_bytes), urgent=True),
        Port(Engine.MATRIX, words(g.scale_bytes), answers=2),
        Port(Engine.MATRIX),
        Port(Engine.MATRIX),
        Port(Engine.MATRIX, words(g.pitch)),
        *(Port(Engine.VECTOR, max(4 * g.lanes, g.word_bytes, BLOCK_BYTES) // g.word_bytes),) * 3,
        Port(Engine.STORE),
    ]
