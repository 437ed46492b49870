"""The scratchpad's ports, in the order of the core: a test holds them equal to those that the RTL's engines declare."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.chip import spec
from tapeout.chip.isa.definition import Engine

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
    return [Port(Engine.SEQUENCER), Port(Engine.LOAD), Port(Engine.STORE)]
