"""What of a program's time depends on data, taken from a run of the executable ISA.

The executable ISA runs the program on its memory, image and all; every `read` gives its result, every gather and
scatter its table of indices as it finds it, so that the cycle simulator goes the same ways to the same addresses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.assembler import binary
from tapeout.chip.isa.definition import REGISTER_MASK
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import Executed, Machine
from tapeout.errors import InputError, Phrase
from tapeout.simulator.cycle.simulate import Values

LIMIT = 1_000_000_000  # instructions


@dataclass
class Recorder(Machine):
    """A core that keeps what its data decides. An engine takes its queue in order, so each list is in the order of
    execution whichever engine goes first."""

    reads: list[int] = field(default_factory=list)
    tables: dict[str, list[int]] = field(default_factory=lambda: {"gather": [], "scatter": []})

    def _execute(self, one: Executed) -> None:
        name, o = one.word.instruction.name, one.operands
        if name == "read":
            self.reads.append(self._word(o.b + o.imm))
        elif name in self.tables and o.bytes:  # without bytes there are no runs, and no index is asked for
            self.tables[name] += [self._word(o.table + 4 * i) for i in range(o.n0)]
        super()._execute(one)

    def _word(self, at: int) -> int:
        return int.from_bytes(self.state.read_pad(at & REGISTER_MASK, 4).tobytes(), "little")

    def values(self) -> Values:
        """Of everything executed so far."""
        return Values(
            np.array(self.reads, np.uint64),
            np.array(self.tables["gather"], np.uint32),
            np.array(self.tables["scatter"], np.uint32),
        )


def record(
    geometry: Geometry,
    words: Sequence[int],
    base: int,
    arguments: Sequence[int],
    memory: NDArray[np.uint8],
    *,
    seed: int | None = None,
    limit: int = LIMIT,
) -> Values:
    """Run `words` (128-bit) at byte `base` of `memory` (changed in place) to their halt.

    With a geometry bound it is what `compiler.Session` takes as its `run`; `Session.outcomes` then holds the values of
    every doorbell. Raises InputError for a program that the memory does not hold, Trap and DoesNotHold as the
    executable ISA does.
    """
    code = np.frombuffer(binary(words), np.uint8)
    if base < 0 or base + len(code) > len(memory):
        raise InputError(
            "memory", "", Phrase(f"{len(memory)} bytes"), f"room for {len(code)} of code at byte {base}"
        )
    memory[base : base + len(code)] = code
    machine = Recorder(geometry, memory, base, tuple(arguments), seed)
    machine.run(limit)
    return machine.values()
