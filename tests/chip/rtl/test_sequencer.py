"""The sequencer's time, exactly as the instructions' files say it; long programs and far branches."""

from __future__ import annotations

import numpy as np
import pytest
from test_core import core

from tapeout.chip.isa import timing
from tapeout.chip.isa.assembler import assemble
from tapeout.simulator.rtl.core import CoreSimulation, Outcome

pytestmark = pytest.mark.verilator
LATENCY = 4


def run(text: str, words: int = 1 << 18) -> tuple[Outcome, np.ndarray]:
    memory = np.zeros(words, np.uint8)
    got = CoreSimulation(core(), memory, latency=LATENCY).run(assemble(text), 0x8000)
    assert got.cause is None, got
    return got, memory


def cycles(body: str, trips: int) -> int:
    return run(f"add rd=r1 imm={trips}\nloop count=r1 end=e\n{body}\ne: halt")[0].cycles


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("add rd=r2 a=r2 imm=3", timing.SCALAR),
        ("shl rd=r2 a=r2 b=r1\nargument rd=r3", 2 * timing.SCALAR),
        ("mul rd=r2 a=r1 b=r1", timing.SCALAR + timing.MULTIPLY),
        ("write a=r1 imm=8", timing.SCALAR + timing.PAD_WRITE),
        ("read rd=r2 imm=8", timing.SCALAR + timing.PAD_ACCESS),
        ("branch a=r1 target=e if=unequal", timing.SCALAR + timing.REDIRECT),
        ("add rd=r2 a=r2 imm=3\nadd rd=r3 a=r2 b=r2\nsub rd=r2 a=r3 b=r2", 3 * timing.SCALAR),
        ("sync signal=1\nsync wait=1", 2 * timing.SCALAR),
        ("store signal=2\nsync wait=2", timing.DISPATCH + timing.STORE_EMPTY + 1),
    ],
)
def test_cycles_of_a_trip(body: str, expected: int) -> None:
    assert (cycles(body, 90) - cycles(body, 40)) / 50 == expected


def test_closing_a_loop_takes_a_cycle() -> None:
    inner = "loop count=r1 end=f\nadd rd=r2 a=r2 imm=1\nf:\nadd rd=r3 a=r3 imm=1"
    one = (cycles(inner, 20), cycles(inner, 10))
    # r1 trips of r1: n² + n scalars, n loops, n closings
    s, r = timing.SCALAR, timing.REDIRECT
    per = [s * (n * n + 2 * n) + r * n + n for n in (20, 10)]
    assert one[0] - one[1] == per[0] - per[1]


def test_programs_beyond_the_window_and_branches_across_it() -> None:
    """200 instructions round a far backward branch, which refetches; a forward one over code never run."""
    body = "\n".join(f"add rd=r2 a=r2 imm={i}" for i in range(200))
    got, memory = run(
        f"""
        add rd=r1 imm=3
        again: {body}
        branch target=over
        {chr(10).join("halt code=1" for _ in range(100))}
        over: sub rd=r1 a=r1 imm=1
        branch a=r1 if=unequal target=again
        write a=r2
        add rd=r3 imm=8
        add rd=r4 imm=1
        add rd=r5 imm=0x100
        store memory=r5 bytes=r3 n0=r4 n1=r4 signal=1
        halt wait=1 code=2
        """
    )
    assert got.codes == [2]
    assert memory[0x100:0x108].view(np.uint64)[0] == 3 * sum(range(200))


def test_a_body_that_fits_the_window_is_fetched_once() -> None:
    got, _ = run("add rd=r1 imm=1000\nloop count=r1 end=e\n" + "add rd=r2 a=r2 imm=1\n" * 12 + "e: halt")
    assert got.counters["instructions"] == 12 * 1000 + 3
    assert got.counters["fetch_beats"] < 30


def test_arguments_and_restart() -> None:
    """The same core runs one program after another; registers and tokens start from nothing."""
    memory = np.zeros(1 << 16, np.uint8)
    sim = CoreSimulation(core(), memory, latency=LATENCY)
    text = """
        argument rd=r2 index=3
        add rd=r7 a=r7 b=r2
        write a=r7
        add rd=r3 imm=8
        add rd=r4 imm=1
        add rd=r5 imm=0x100
        store memory=r5 bytes=r3 n0=r4 n1=r4 signal=1
        sync wait=1 signal=5,6,7
        halt
        """
    for value in (5, (1 << 48) - 1, 77):
        got = sim.run(assemble(text), 0x8000, (0, 0, 0, value))
        assert got.cause is None
        assert memory[0x100:0x108].view(np.uint64)[0] == value


def test_the_matrix_engine_s_constants_are_its_block_s() -> None:
    from inspect import signature

    from tapeout.chip.isa.geometry import LEAST_TILES
    from tapeout.chip.rtl import dot_unit, matrix_engine

    assert timing.MATRIX_RESULT == matrix_engine.FIRST_RESULT
    assert timing.MATRIX_LOOP == dot_unit.LOOP
    assert signature(matrix_engine.MatrixEngine).parameters["tiles"].default == LEAST_TILES
