"""Values recorded from the executable ISA: what the program did there, whichever engine goes first, and what they do to
the time of a prompt. (That the time is then the RTL's is in test_cycle_demo.)"""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from tapeout.chip import load as load_chip
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.geometry import Geometry
from tapeout.compiler import Session, compile, image
from tapeout.errors import InputError
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.cycle import Values, simulate
from tapeout.simulator.cycle.recorded import record
from tapeout.simulator.cycle.step import balanced, step

TINY = load_chip("tiny").core
GEOMETRY = Geometry.of(TINY)
# a table of six indices comes from memory; two gathers and a scatter go by it, and its first entry counts a loop
PROGRAM = """
    add  rd=r1 imm=1
    add  rd=r2 imm=24
    add  rd=r3 imm=4096
    add  rd=r4 imm=6
    add  rd=r5 imm=64
    add  rd=r6 imm=8192
    load memory=r3 bytes=r2 n0=r1 n1=r1 signal=1,2,3
    gather memory=r6 bytes=r5 pad=r6 n0=r4 s0=r5 pitch=r5 wait=1
    gather memory=r6 bytes=r0 pad=r6 n0=r4 s0=r5 pitch=r5
    gather memory=r6 bytes=r5 pad=r6 n0=r1 s0=r5 pitch=r5 signal=4
    scatter memory=r6 bytes=r5 pad=r6 n0=r4 s0=r5 pitch=r5 wait=2,4
    sync wait=3
    read rd=r7
    read rd=r8 imm=4
    loop count=r7 end=after
    add  rd=r9 a=r9 imm=1
    add  rd=r9 a=r9 imm=1
after:
    halt
"""


def test_a_program_that_goes_by_a_table() -> None:
    words = assemble(PROGRAM)
    for seed in range(5):
        memory = np.random.default_rng(seed).integers(0, 256, 1 << 16, dtype=np.uint8)
        table = np.random.default_rng(seed).integers(400, 800, 6).astype("<u4")
        memory[4096:4120] = table.view(np.uint8)
        for order in (None, 1, 2, 3):
            got = record(GEOMETRY, words, 0, (), memory.copy(), seed=order)
            assert got.reads.tolist() == table[:2].tolist()
            assert got.gathered.tolist() == [*table, table[0]]
            assert got.scattered.tolist() == table.tolist()
        counted, not_counted = simulate(TINY, words, values=got), simulate(TINY, words)
        assert counted.cycles > not_counted.cycles


def test_room_for_the_code() -> None:
    with pytest.raises(InputError, match="memory"):
        record(GEOMETRY, assemble("halt"), 64, (), np.zeros(64, np.uint8))


def test_the_demo() -> None:
    model, checkpoint = load("demo"), Checkpoint.open(demo.FOLDER)
    program = compile(model, load_chip("tiny"), prefill=(8,))
    session = Session(program, image(program, checkpoint), partial(record, program.geometry))
    tokens = np.random.default_rng(1).integers(0, program.vocabulary, 8)
    session.step(tokens)
    session.step([3])
    prompt, token = session.outcomes
    assert prompt.gathered[:8].tolist() == tokens.tolist() and token.gathered[0] == 3
    experts = [x for layer in model.layers for x in [layer.feed_forward] if hasattr(x, "experts")]
    assert len(prompt.reads) == sum(x.experts for x in experts)
    ends = np.cumsum([x.experts for x in experts])[:-1]
    for counts, x in zip(np.split(prompt.reads, ends), experts, strict=True):
        assert counts.sum() == 8 * x.experts_per_token  # every token went to so many
    even, none = balanced(model, 8), Values()
    cycles = [step(program, 0, 1, values=v).cycles for v in (prompt, even, none)]
    assert cycles[2] < 0.8 * cycles[0], "without the counts the experts take no time"
    assert abs(cycles[1] / cycles[0] - 1) < 0.2, cycles
    assert step(program, 8, values=token).cycles == step(program, 8).cycles  # one token: addresses alone
