"""Wrong words in a core: corrected ones change nothing, others trap with their cause and place; the host injects."""

from __future__ import annotations

import random

import numpy as np
import pytest
from test_core import CODE, GEOMETRY, SPEC, core, memory

from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.definition import Cause
from tapeout.chip.isa.machine import execute
from tapeout.chip.rtl.parity import PATHS, ParityCheck, ParitySend, groups, number
from tapeout.simulator.rtl.core import CoreSimulation, Outcome
from tapeout.simulator.rtl.simulation import simulate

pytestmark = pytest.mark.verilator

# Words go over every path: each engine gets a command, each reads the scratchpad, all but the sequencer's reads write.
EVERYWHERE = """
add rd=r1 imm=1
add rd=r2 imm=4096
add rd=r3 imm=0x10000
add rd=r4 imm=64
add rd=r5 imm=8192
add rd=r6 imm=4
load memory=r0 pad=r0 bytes=r2 n0=r1 n1=r1 signal=0
sync wait=0
add rd=r7 imm=3
write a=r7 imm=4096
read rd=r8 imm=4096
gather pad=r5 memory=r4 bytes=r4 n0=r1 s0=r4 table=r2 pitch=r4 signal=1
vadd a=r0 b=r4 out=r5 n=r4 rows=r1 wait=1 signal=2
matmul a=r0 ascale=r2 sa=r4 w=r0 wscale=r2 out=r5 so=r4 steps=r1 drain=1 format=mxint8 wait=2 signal=3
store pad=r5 memory=r3 bytes=r4 n0=r1 n1=r1 wait=3 signal=4
sync wait=4
halt code=7
"""


def run(inject: int = 0, text: str = EVERYWHERE, seed: int = 5) -> tuple[Outcome, np.ndarray, CoreSimulation]:
    data = memory(seed)
    sim = CoreSimulation(core(), data, latency=9, spread=5, stall=0.2, seed=seed)
    sim.write("inject", inject)
    assert sim.read("inject") == inject
    return sim.run(assemble(text), CODE), data, sim


def expected(text: str = EVERYWHERE, seed: int = 5) -> np.ndarray:
    data = memory(seed)
    execute(GEOMETRY, assemble(text), data, base=CODE)
    return data


def test_without_injection_nothing_is_told() -> None:
    got, data, _ = run()
    assert (got.cause, got.codes, got.fault) == (None, [7], None)
    assert got.counters["parity"] == got.counters["corrected"] == got.counters["uncorrectable"] == 0
    assert (data == expected()).all()


def test_single_errors_in_the_scratchpad_are_corrected_and_counted() -> None:
    got, data, _ = run(inject=1)
    assert (got.cause, got.codes, got.fault) == (None, [7], None)
    assert got.counters["corrected"] > 0
    assert got.counters["uncorrectable"] == got.counters["parity"] == 0
    assert (data == expected()).all()


@pytest.mark.parametrize("granule", [4096, 4096 + 40, 131072 - 8])
def test_a_double_error_traps_with_its_place(granule: int) -> None:
    """Of the word with it; the core runs the next program as if nothing had been."""
    word = granule - granule % SPEC.scratchpad.word_bytes
    text = f"add rd=r1 imm=9\nwrite a=r1 imm={word}\nread rd=r2 imm={granule}\nsync wait=1\nhalt"
    got, _, sim = run(inject=2, text=text)
    assert (got.cause, got.fault, got.fault_at) == (Cause.PARITY, "scratchpad", word)
    assert 2 <= got.at <= 3
    assert got.counters["uncorrectable"] == 1 and got.counters["parity"] == 0
    sim.write("inject", 0)
    sim.memory[:] = memory(5)
    again = sim.run(assemble(EVERYWHERE), CODE)
    assert (again.cause, again.codes, again.fault, again.fault_at) == (None, [7], None, 0)
    assert (sim.memory == expected()).all()


@pytest.mark.parametrize("path", [p for p in PATHS if p != "scratchpad"])
def test_a_wrong_parity_on_any_path_traps_and_says_which(path: str) -> None:
    got, _, _ = run(inject=number(path) << 2)
    assert (got.cause, got.fault) == (Cause.PARITY, path)
    assert got.counters["parity"] > 0 and got.counters["uncorrectable"] == 0
    if path == "pad_write":  # the first write there is
        assert got.fault_at < 4096
    else:
        assert got.fault_at == 0


def test_a_wrong_word_that_comes_last_is_told_after_the_end() -> None:
    """The program has ended when the write is checked: there is nothing left to trap."""
    got, _, sim = run(inject=number("pad_write") << 2, text="write a=r0 imm=640\nhalt code=3")
    assert (got.codes, got.fault, got.fault_at) == ([3], "pad_write", 640)
    assert sim.read("status") >> 4 & 1


@pytest.mark.parametrize("width", [1, 37, 64, 437, 512])
@pytest.mark.parametrize("late", [True, False])
def test_what_is_told_equals_the_definition(width: int, late: bool) -> None:
    """An odd number of wrong bits in a group of 64 is an error of its word, two cycles after it; others are not."""
    rng = random.Random(width)
    send, check = simulate(ParitySend(width)), simulate(ParityCheck(width, late))
    told, want, owed = [], [], None
    for _ in range(400):
        word, goes, inject = rng.getrandbits(width), rng.random() < 0.6, rng.random() < 0.1
        wrong = word
        for _ in range(rng.choice([0, 0, 1, 2])):
            wrong ^= 1 << rng.randrange(width)
        for port, value in (("word", word), ("taken", goes), ("inject", inject)):
            send.poke(port, value)
        right = sum((word >> 64 * g & (1 << 64) - 1).bit_count() % 2 << g for g in range(groups(width)))
        for port, value in (("word", wrong), ("taken", goes)):
            check.poke(port, value)
        check.poke("parity", (owed if owed is not None else 0) if late else right ^ inject)
        send.step()
        check.step()
        if goes:
            assert send.peek("parity") == right ^ inject
        owed = send.peek("parity")
        flips = wrong ^ word ^ inject
        odd = any((flips >> 64 * g & (1 << 64) - 1).bit_count() % 2 for g in range(groups(width)))
        want.append(goes and odd)
        told.append(check.peek("error"))
    assert told[1:] == [int(w) for w in want[:-1]]
