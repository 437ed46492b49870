"""The core in Verilator against the executable ISA: every byte of memory, every register, every trap."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
from core_programs import CODE, MEMORY, Program
from numpy.typing import NDArray

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.definition import Cause, Trap
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import Machine, execute
from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.core import Core
from tapeout.simulator.rtl.core import CoreSimulation
from tapeout.simulator.rtl.lint import lint

pytestmark = pytest.mark.verilator
SPEC = load("tiny").core
GEOMETRY = Geometry.of(SPEC)


@lru_cache(maxsize=1)
def core() -> Core:
    return Core(SPEC)


def memory(seed: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, MEMORY, dtype=np.uint8)


def compare(seed: int, **timing: float | int) -> None:
    """One random program, both ways."""
    text = Program(seed, turns=GEOMETRY.word_bytes >= 32).text
    program = assemble(text)
    mine, theirs = memory(seed), memory(seed)
    want = execute(GEOMETRY, program, theirs, base=CODE, seed=seed)
    sim = CoreSimulation(core(), mine, seed=seed + 1, **timing)  # type: ignore[arg-type]
    got = sim.run(program, CODE)
    assert got.cause is None, (got, text)
    assert got.codes == [*want.interrupts, 77]
    wrong = np.flatnonzero(mine != theirs)
    assert not len(wrong), (seed, len(wrong), [hex(x) for x in wrong[:8]], text)


@pytest.mark.parametrize("seed", range(12))
def test_random_programs(seed: int) -> None:
    compare(
        seed,
        latency=5 + 7 * (seed % 4),
        spread=(0, 0, 10, 60)[seed % 4],
        stall=(0.0, 0.3, 0.0, 0.6)[seed % 4],
    )


@pytest.mark.parametrize("seed", range(4))
def test_acknowledgements_that_come_while_an_empty_store_ends(seed: int) -> None:
    """Stores of something and of nothing by turns; memory answers late and then in cycles one after another, so that an
    answer finds the end of an empty store before that of its own."""
    pair = "store memory=r3 bytes=r1 n0=r2 n1=r2\nstore memory=r3 bytes=r0 n0=r2 n1=r2\n"
    text = (
        "add rd=r1 imm=64\nadd rd=r2 imm=1\nadd rd=r3 imm=4096\n" + 100 * pair
        + "store memory=r3 bytes=r1 n0=r2 n1=r2 signal=0\nsync wait=0\nhalt\n"
    )  # fmt: skip
    program = assemble(text)
    mine, theirs = memory(seed), memory(seed)
    execute(GEOMETRY, program, theirs, base=CODE)
    sim = CoreSimulation(core(), mine, latency=5, spread=60, seed=seed + 1)
    assert sim.run(program, CODE, limit=60_000).cause is None
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.parametrize("seed", range(4))
def test_a_short_load_between_tiles(seed: int) -> None:
    """Rows of a tile wait behind a load of one piece, and that for the panel before to leave: alone, then."""
    tile = "transpose pad={at} memory=r{m} bytes=r5 n0=r2 s0=r5 split=r6 s1=r0 pitch=r0\n"
    text = (
        "add rd=r1 imm=8\nadd rd=r2 imm=1\nadd rd=r3 imm=4096\nadd rd=r4 imm=8192\nadd rd=r5 imm=128\n"
        "add rd=r6 imm=1024\nadd rd=r7 imm=16384\nadd rd=r8 imm=65536\n"
        + 4 * (tile.format(at="r0", m=3) + "load pad=r7 memory=r4 bytes=r1 n0=r2 n1=r2\n" + tile.format(at="r4", m=4))
        + "load pad=r0 memory=r0 bytes=r0 n0=r2 n1=r2 signal=0\nsync wait=0\nadd rd=r7 imm=20480\n"
        + "store pad=r0 memory=r8 bytes=r7 n0=r2 n1=r2 signal=0\nsync wait=0\nhalt\n"
    )  # fmt: skip
    program = assemble(text)
    mine, theirs = memory(seed), memory(seed)
    execute(GEOMETRY, program, theirs, base=CODE)
    sim = CoreSimulation(core(), mine, latency=5 + 20 * seed, spread=30 * (seed % 2), seed=seed + 1)
    assert sim.run(program, CODE, limit=60_000).cause is None
    np.testing.assert_array_equal(mine, theirs)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1100, 1140))
def test_the_form_for_simulators_is_that_of_silicon(seed: int) -> None:
    """The same program, memory and delays: every byte, and every cycle, though one has no clock where it rests."""
    program = assemble(Program(seed, turns=GEOMETRY.word_bytes >= 32).text)
    timing = {"latency": seed % 40 + 1, "spread": seed % 50, "stall": (0.0, 0.3, 0.7)[seed % 3], "seed": seed}
    found = []
    for silicon in (False, True):
        bytes_ = memory(seed)
        outcome = CoreSimulation(core(), bytes_, silicon=silicon, **timing).run(program, CODE)  # type: ignore[arg-type]
        found.append((bytes_, outcome))
    np.testing.assert_array_equal(*(bytes_ for bytes_, _ in found))
    assert found[0][1] == found[1][1]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 1100))
def test_many_random_programs(seed: int) -> None:
    compare(seed, latency=seed % 40, spread=seed % 50, stall=(0.0, 0.3, 0.7)[seed % 3])


SETUP = (
    "add rd=r1 imm=4\nadd rd=r2 imm=1\nadd rd=r3 imm=131072\nadd rd=r4 imm=100\nadd rd=r5 imm=1099511627776\n"
    "add rd=r6 imm=131064\n"
)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("load pad=r1 n0=r2 n1=r2 bytes=r2", Cause.ALIGNMENT),
        ("load pad=r3 n0=r2 n1=r2 bytes=r2", Cause.RANGE),
        ("store pad=r3 n0=r2 n1=r2 bytes=r2", Cause.RANGE),
        ("load memory=r5 n0=r2 n1=r2 bytes=r2", Cause.MEMORY),
        ("store memory=r5 n0=r2 n1=r2 bytes=r2", Cause.MEMORY),
        ("load n0=r4 n1=r2 bytes=r2 pitch=r1", Cause.ALIGNMENT),
        ("gather n0=r2 bytes=r2 table=r2", Cause.ALIGNMENT),
        ("gather n0=r2 bytes=r2 table=r3", Cause.RANGE),
        ("gather n0=r4 bytes=r2 table=r6", Cause.RANGE),
        ("read rd=r1 b=r2", Cause.ALIGNMENT),
        ("write a=r1 b=r1", Cause.ALIGNMENT),
        ("read rd=r1 b=r3", Cause.RANGE),
        ("loop count=r2 end=0", Cause.LOOP),
        ("loop count=r2 end=9\nbranch target=0", Cause.LOOP),
        ("loop count=r2 end=9\nbranch target=10", Cause.LOOP),
        ("\n".join(f"loop count=r2 end={21 - i}" for i in range(9)), Cause.LOOP),
        ("loop count=r4 end=8\nsync signal=3\nsync", Cause.SEMAPHORE),
        ("", Cause.OPCODE),
    ],
)
def test_traps(text: str, cause: Cause) -> None:
    program = assemble(SETUP + text + "\nsync wait=9")
    if not text:
        program[-1] = 0
    both = [np.zeros(1 << 16, np.uint8) for _ in range(2)]
    with pytest.raises(Trap) as caught:
        execute(GEOMETRY, program, both[0], base=0x8000)
    assert caught.value.cause == cause
    got = CoreSimulation(core(), both[1]).run(program, 0x8000)
    assert got.cause == cause


def test_every_reserved_bit_of_an_instruction_traps() -> None:
    """Walks through the bits that `halt` does not use."""
    from tapeout.chip.isa.definition import word
    from tapeout.chip.isa.registry import encode, instructions

    one = instructions()["halt"]
    data = np.zeros(1 << 16, np.uint8)
    sim = CoreSimulation(core(), data)
    for bit in [b for b in range(40, 128) if not one.used >> b & 1][::7]:
        got = sim.run([encode(word(one)) | 1 << bit], 0x8000)
        assert got.cause == Cause.RESERVED, bit
        sim.sim.reset()


def test_a_straight_copy_runs_at_the_port_s_rate() -> None:
    """Words in and out, both engines at once: at least 95 % of the port each way."""
    data = memory(1)
    program = assemble(
        """
        add rd=r1 imm=1
        add rd=r2 imm=16384
        add rd=r3 imm=0x10000
        add rd=r4 imm=4
        add rd=r6 imm=32768
        sync signal=1
        sync signal=1
        loop count=r4 end=done
          load pad=r5 memory=r7 bytes=r2 n0=r1 n1=r1 wait=1 signal=0
          store pad=r5 memory=r3 bytes=r2 n0=r1 n1=r1 wait=0 signal=1
          add rd=r7 a=r7 b=r2
          add rd=r3 a=r3 b=r2
          xor rd=r5 a=r5 b=r2
        done: halt
        """
    )
    want = data.copy()
    Machine(GEOMETRY, _with(want, program), 0x38000).run()
    sim = CoreSimulation(core(), data, latency=8)  # what 16 requests in flight cover
    got = sim.run(program, 0x38000)
    assert (data == want).all()
    words = 16384 // core().core.port_bytes
    assert got.counters["load_beats"] == got.counters["store_beats"] == 4 * words
    # the loads follow one another; the last store follows the last load
    assert got.cycles < 4 * words / 0.95 + words + 200, got


def _with(data: NDArray[np.uint8], program: list[int]) -> NDArray[np.uint8]:
    from tapeout.chip.isa.assembler import binary

    code = np.frombuffer(binary(program), np.uint8)
    data[0x38000 : 0x38000 + len(code)] = code
    return data


def test_lint() -> None:
    assert lint(verilog(core())) == []


@pytest.mark.slow
@pytest.mark.parametrize("port, word", [(64, 16), (16, 32), (128, 64)])
def test_other_geometries(port: int, word: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A memory port wider and narrower than the scratchpad's words; few requests in flight."""
    banks = 8 if word < 32 else 4  # a beat of weights spans no more words than there are banks
    pad = replace(SPEC.scratchpad, kibibytes=8, banks=banks, word_bytes=word)
    spec = replace(SPEC, port_bytes=port, outstanding=5, scratchpad=pad)
    one = Core(spec)
    monkeypatch.setitem(globals(), "core", lambda: one)
    monkeypatch.setitem(globals(), "GEOMETRY", Geometry.of(spec))
    for seed in range(200, 240):
        compare(seed, latency=seed % 40, spread=seed % 50, stall=(0.0, 0.3, 0.7)[seed % 3])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["edge", "flagship"])  # minutes of Verilator, and 6 to 10 GB
def test_larger_presets_elaborate_clean(name: str) -> None:
    assert lint(verilog(Core(load(name).core))) == []
