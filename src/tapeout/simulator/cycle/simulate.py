"""How long a program takes: the sequencer executed, engines and memory by their time alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tapeout.chip import spec
from tapeout.chip.isa.assembler import binary
from tapeout.chip.isa.definition import REGISTER_MASK, Cause
from tapeout.errors import DoesNotHold, InputError, Phrase
from tapeout.simulator.cycle import native
from tapeout.simulator.cycle.memory import Memory
from tapeout.simulator.cycle.timeline import Timeline

U64 = NDArray[np.uint64]
U32 = NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class Values:
    """What depends on data: the results of `read`, and the indices of gathers and of scatters, each in the order of
    execution (`recorded.record` takes them from the executable ISA). Beyond the end of a list a value is what the
    sequencer last wrote to that place of the scratchpad, else 0."""

    reads: U64 = field(default_factory=lambda: np.zeros(0, np.uint64))
    gathered: U32 = field(default_factory=lambda: np.zeros(0, np.uint32))
    scattered: U32 = field(default_factory=lambda: np.zeros(0, np.uint32))


def simulate(
    core: spec.Core,
    program: Sequence[int] | U64,
    arguments: Sequence[int] = (),
    *,
    base: int = 0,
    memory: Memory | None = None,
    values: Values | None = None,
    origin: Sequence[int] | NDArray[np.int32] = (),
    operators: int = 0,
    records: int = 0,
    window: int = 0,
    phase: int = 0,
    limit: int = 1 << 40,
    plain: bool = False,
) -> Timeline:
    """Time of `program` (128-bit words, or uint64 [n, 2] with the low half first) at byte `base` of memory, from the
    doorbell to its halt.

    `memory`: a fixed latency of 100 cycles by default. `origin`: for each instruction the number of the operator it
    is for, below `operators`; the timeline then tells cycles by operator. `records`: 0 totals alone, 1 every
    instruction of an engine, 2 the sequencer's too. `window`: cycles of a sample of memory's use, 0 for none.
    `phase`: of the scratchpad's priority when the program starts. `plain`: every block in every cycle, as the
    definition has it; otherwise those are left out that cannot change anything, with the same result.

    Raises DoesNotHold for a program that traps, waits for ever or takes more than `limit` cycles; InputError for one
    that is empty, or a core that there is no RTL of.
    """
    code = (
        program if isinstance(program, np.ndarray) else np.frombuffer(binary(program), "<u8").reshape(-1, 2)
    )
    if not len(code):
        raise InputError("program", "", Phrase("no instructions"), "a program that ends in halt")
    if core.port_bytes < 16:
        raise InputError("chip", "core.port_bytes", core.port_bytes, "at least 16: an instruction a word")
    if core.vector_lanes & (core.vector_lanes - 1):
        raise InputError("chip", "core.vector_lanes", core.vector_lanes, "a power of two")
    s, v = native.settings(core), values or Values()
    (memory or Memory()).fill(s)
    s.base, s.limit, s.record, s.window, s.phase, s.plain = base, limit, records, window, phase, plain
    for i, value in enumerate(arguments):
        s.arguments[i] = value & REGISTER_MASK
    rows = np.full(len(code), -1, np.int32)
    rows[: len(origin)] = origin
    if rows.max() >= operators or rows.min() < -1:
        raise InputError("origin", "", int(rows.max()), f"numbers from -1 to {operators - 1}")
    ran = native.run(
        s, code, np.ascontiguousarray(v.reads, np.uint64), np.ascontiguousarray(v.gathered, np.uint32),
        np.ascontiguousarray(v.scattered, np.uint32), rows, operators,
    )  # fmt: skip
    t = ran.totals
    if t.end == native.END_TRAPPED:
        raise DoesNotHold(f"program: traps at instruction {t.pc} ({Cause(t.cause).name.lower()})")
    if t.end == native.END_STUCK:
        raise DoesNotHold(
            f"program: nothing can go on after {t.cycles} cycles, sequencer at instruction {t.pc}"
        )
    if t.end == native.END_TOO_LONG:
        raise DoesNotHold(f"program: {limit} cycles without a halt")
    return Timeline.of(core, code, ran, window)
