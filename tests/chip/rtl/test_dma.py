"""Loads and stores take the cycles that their instructions' files compute, plus the latency of memory."""

from __future__ import annotations

import numpy as np
import pytest
from test_core import GEOMETRY, core

from tapeout.chip.isa import timing
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.machine import Machine
from tapeout.simulator.rtl.core import CoreSimulation

pytestmark = pytest.mark.verilator
LATENCY = 4
SETUP = """
    add rd=r1 imm=1
    add rd=r2 imm={bytes}
    add rd=r3 imm={n0}
    add rd=r4 imm={s0}
    add rd=r5 imm={memory}
    add rd=r6 imm={pad}
    add rd=r7 imm={pitch}
    add rd=r8 imm=1024
    write a=r0 b=r8
    write a=r0 b=r8 imm=8
    add rd=r9 imm={n1}
    add rd=r10 imm=4096
    sync signal=1
"""


def elapsed(line: str, **values: int) -> tuple[int, int]:
    """(cycles from the queue to the tokens in RTL, those that the instruction's file computes)."""
    texts = [SETUP.format(**values) + x + " wait=1 signal=2\nsync wait=2\nhalt" for x in (line, "sync")]
    seen = []
    for text in texts:
        got = CoreSimulation(core(), np.zeros(1 << 18, np.uint8), latency=LATENCY).run(assemble(text), 0x8000)
        assert got.cause is None, got
        seen.append(got.cycles)
    trace: list = []
    memory = np.zeros(1 << 18, np.uint8)
    program = np.frombuffer(b"".join(w.to_bytes(16, "little") for w in assemble(texts[0])), np.uint8)
    memory[0x8000 : 0x8000 + len(program)] = program
    Machine(GEOMETRY, memory, 0x8000, trace=trace).run()
    one = next(e for e in trace if e.word.instruction.name == line.split()[0])
    # the next sync is executed the cycle after the one in which it takes the engine's token
    measured = seen[0] - seen[1] - (timing.DISPATCH - timing.SCALAR) + timing.SCALAR - 1
    return measured, one.word.instruction.cycles(one.operands, GEOMETRY)


RUNS = "pad=r6 memory=r5 bytes=r2 n0=r3 s0=r4 n1=r9 s1=r10 pitch=r7"
TABLE = "pad=r6 memory=r5 bytes=r2 n0=r3 s0=r4 table=r8 pitch=r7"
SHAPES = [
    {"bytes": 32, "n0": 1, "s0": 0, "memory": 0x4000, "pad": 0, "pitch": 0, "n1": 1},
    {"bytes": 1024, "n0": 1, "s0": 0, "memory": 0x4000, "pad": 0, "pitch": 0, "n1": 1},
    {"bytes": 96, "n0": 5, "s0": 128, "memory": 0x4000, "pad": 64, "pitch": 96, "n1": 2},
    {"bytes": 40, "n0": 7, "s0": 43, "memory": 0x4007, "pad": 8, "pitch": 48, "n1": 3},
    {"bytes": 1, "n0": 12, "s0": 5, "memory": 0x4000, "pad": 8, "pitch": 8, "n1": 1},
    {"bytes": 8, "n0": 0, "s0": 5, "memory": 0x4000, "pad": 8, "pitch": 8, "n1": 1},
]


@pytest.mark.parametrize("shape", range(len(SHAPES)))
@pytest.mark.parametrize("name", ["load", "store"])
def test_runs(name: str, shape: int) -> None:
    values = SHAPES[shape]
    measured, computed = elapsed(f"{name} {RUNS}", **values)
    assert measured == computed + (LATENCY if values["n0"] else 0)


TURNED = "pad=r6 memory=r5 bytes=r2 n0=r3 s0=r4 split=r9 s1=r10 pitch=r7"
TILES = [
    {"bytes": 32, "n0": 1, "s0": 32, "memory": 0x4000, "pad": 0, "pitch": 1024, "n1": 1024},
    {"bytes": 32, "n0": 3, "s0": 64, "memory": 0x4020, "pad": 1024, "pitch": 1024, "n1": 0},
    {"bytes": 64, "n0": 2, "s0": 128, "memory": 0x4000, "pad": 0, "pitch": 2048, "n1": 1024},
    {"bytes": 96, "n0": 2, "s0": 96, "memory": 0x4000, "pad": 0, "pitch": 1024, "n1": 4096},
    {"bytes": 160, "n0": 2, "s0": 171, "memory": 0x4013, "pad": 512, "pitch": 1024, "n1": 4096},
    {"bytes": 0, "n0": 2, "s0": 171, "memory": 0x4013, "pad": 512, "pitch": 1024, "n1": 4096},
]


@pytest.mark.parametrize("shape", range(len(TILES)))
def test_tiles(shape: int) -> None:
    """r9 is `split` here, r10 `s1`."""
    measured, computed = elapsed(f"transpose {TURNED}", **TILES[shape])
    assert measured == computed + (LATENCY if TILES[shape]["bytes"] else 0)


@pytest.mark.parametrize("name", ["gather", "scatter"])
@pytest.mark.parametrize(("size", "n"), [(32, 1), (32, 3), (1024, 3), (256, 4)])
def test_indexed_runs(name: str, size: int, n: int) -> None:
    measured, computed = elapsed(
        f"{name} {TABLE}", bytes=size, n0=n, s0=size, memory=0x4000, pad=2048, pitch=size, n1=1
    )
    assert measured == computed + LATENCY


def test_loads_follow_one_another_without_a_gap_for_memory() -> None:
    """A second load's requests go out while the first's answers come: memory's latency is paid once."""
    values = SHAPES[1]
    text = SETUP.format(**values)
    seen = []
    for n in (4, 8):
        body = f"load {RUNS} signal=2\n" * n + "sync wait=2\n" * n
        got = CoreSimulation(core(), np.zeros(1 << 18, np.uint8), latency=10).run(
            assemble(text + body + "halt"), 0x8000
        )
        seen.append(got.cycles)
    assert (seen[1] - seen[0]) / 4 <= 32 + 4
