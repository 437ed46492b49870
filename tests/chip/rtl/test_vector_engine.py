"""The vector engine against the executable ISA: every instruction, mode and shape; every byte of the scratchpad."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest
from vector_bench import NAMES, Bench, Command, core_of, prepare, random_command, random_pad

from tapeout.chip import load
from tapeout.chip.isa import timing
from tapeout.chip.isa.definition import Cause, Trap
from tapeout.chip.isa.geometry import round_up
from tapeout.chip.rtl.block import verilog
from tapeout.chip.rtl.vector_engine import VectorEngine
from tapeout.simulator.rtl.lint import lint

pytestmark = pytest.mark.verilator


@lru_cache(maxsize=2)
def bench(lanes: int = 8, word_bytes: int = 32, banks: int = 8) -> Bench:
    return Bench(core_of(lanes, word_bytes, banks))


def compare(
    one: Bench, names: list[str], seed: int, traffic: int = 0, offer: float = 1.0, largest: int = 90
) -> None:
    """Commands one after another without a pause; the later ones read what the earlier ones wrote."""
    rng = np.random.default_rng(seed)
    pad = random_pad(rng)
    commands = [random_command(rng, name, largest) for name in names]
    for c in commands:
        prepare(rng, c, pad)
    # indices must still be there when their turn comes
    state = one.state(pad)
    commands = [c for c in commands if _stands(c, state)]
    if not commands:
        return
    one.sim.reset()
    one.fill(pad)
    one.run(commands, traffic, seed, offer)
    got = one.dump()
    wrong = np.flatnonzero(got != state.pad)
    assert not len(wrong), (seed, [(c.name, c.values) for c in commands], [hex(x) for x in wrong[:8]])


def _stands(command: Command, state: object) -> bool:
    before = state.pad.copy()  # type: ignore[attr-defined]
    try:
        command.execute(state)  # type: ignore[arg-type]
    except Trap:
        state.pad[:] = before  # type: ignore[attr-defined]
        return False
    return True


@pytest.mark.parametrize("name", NAMES)
def test_each_instruction(name: str) -> None:
    for seed in range(12):
        compare(bench(), [name], seed)


@pytest.mark.parametrize("seed", range(25))
def test_instructions_follow_one_another(seed: int) -> None:
    names = list(np.random.default_rng(seed).choice(NAMES, 12))
    compare(bench(), names, seed, traffic=(0, 300, 3000)[seed % 3], offer=(1.0, 0.05)[seed % 2])


@pytest.mark.slow
@pytest.mark.parametrize(
    "lanes, word, banks", [(8, 64, 4), (4, 16, 8), (16, 32, 8), (32, 64, 8), (64, 64, 8), (16, 128, 2)]
)
def test_other_widths(lanes: int, word: int, banks: int) -> None:
    one = bench(lanes, word, banks)
    for seed in range(200):
        names = list(np.random.default_rng(seed).choice(NAMES, 6))
        compare(one, names, seed, traffic=100 * (seed % 3), largest=(90, 200)[seed % 2])
        sums = ["vtotal", "vgreatest", "vtotal"]
        compare(one, sums, seed, traffic=100 * (seed % 3), largest=200)


TRAPS = [
    (Command("vadd", {"a": 8, "n": 1, "rows": 1}), Cause.ALIGNMENT),
    (Command("vadd", {"b": 16, "n": 1, "rows": 0}), Cause.ALIGNMENT),
    (Command("vexp2", {"so": 4, "n": 1, "rows": 1}), Cause.ALIGNMENT),
    (Command("vadd", {"a": 16384 - 32, "n": 9, "rows": 1}), Cause.RANGE),
    (Command("vadd", {"out": 16384 - 32, "n": 9, "rows": 1}), Cause.RANGE),
    (Command("vadd", {"b": 16384 - 32, "n": 9, "rows": 1}), Cause.RANGE),
    (Command("vadd", {"n": 8, "rows": 3, "sa": 8192}), Cause.RANGE),
    (Command("vadd", {"n": 8, "rows": 2, "so": -32}), Cause.RANGE),
    (Command("vexp2", {"n": 1 << 40, "rows": 1}), Cause.RANGE),
    (Command("vexp2", {"a": 16384 + 32, "rows": 1}), Cause.RANGE),
    (Command("vexp2", {"a": 1 << 47, "rows": 1}), Cause.RANGE),
    (Command("vtotal", {"out": 16384, "rows": 1}), Cause.RANGE),
    (Command("vadd", {"b": 16384, "rows": 1, "from": 1}), Cause.RANGE),
    (Command("vtopk", {"n": 4, "rows": 0, "k": 5}), Cause.OPERAND),
    (Command("vrope", {"n": 15, "rows": 0, "half": 8}), Cause.OPERAND),
    (Command("vrope", {"n": 32, "rows": 1, "half": 4}), Cause.OPERAND),
    (Command("vquantise", {"n": 8000, "rows": 1}), Cause.RANGE),
    (Command("vdequantise", {"n": 32 * 1024 + 1, "rows": 1}), Cause.RANGE),
    (Command("vtake", {"n": 1, "rows": 1, "a": 16384}), Cause.RANGE),
    (Command("vtake", {"n": 1, "rows": 1, "a": 1 << 30}), Cause.RANGE),
    (Command("vselect", {"n": 1, "rows": 1, "out": 16384}), Cause.RANGE),
]  # fmt: skip
FINE = [
    Command("vexp2", {"a": 16384, "out": 16384, "rows": 3}),
    Command("vadd", {"b": 7, "from": 2, "rows": 1}),
    Command("vadd", {"a": 1 << 40, "n": 9, "rows": 0}),
    Command("vtake", {"a": 1 << 40, "rows": 1}),
    Command("vwindow", {"low": 7, "high": 5, "n": 3, "rows": 1}),
]


@pytest.mark.parametrize("command, cause", TRAPS)
def test_traps(command: Command, cause: Cause) -> None:
    one = bench()
    with pytest.raises(Trap) as caught:
        command.execute(one.state(np.zeros(16384, np.uint8)))
    assert caught.value.cause == cause
    one.sim.reset()
    one.fill(np.zeros(16384, np.uint8))
    one.sim.run({"command": [FINE[0].payload, command.payload]}, {"ends": 1})
    one.sim.step(60)
    assert one.sim.peek("error") and one.sim.peek("cause") == cause


def test_what_is_not_a_trap() -> None:
    one = bench()
    state = one.state(np.zeros(16384, np.uint8))
    for command in FINE:
        command.execute(state)
    one.sim.reset()
    one.fill(np.zeros(16384, np.uint8))
    one.run(FINE)
    assert not one.sim.peek("error")
    assert (one.dump() == state.pad).all()


@pytest.mark.parametrize("name", NAMES)
def test_cycles(name: str) -> None:
    """From the queue to the token, and from token to token, as the instruction's file says; operands whose
    banks do not meet."""
    one = bench()
    rng = np.random.default_rng(5)
    for n, rows in ((8, 1), (24, 1), (5, 3), (0, 2), (3, 0), (32, 2)):
        c = random_command(rng, name, max(n, 1), rows)
        c.values["n"] = max(n, c.values["k"]) if name == "vtopk" else n
        c.values |= {"a": 0, "b": 0x1040, "out": 0x2080, "sa": 512, "sb": 512, "so": 512}
        if "half" in c.values:
            c.values["half"] = n // 16 * 8
        one.sim.reset()
        one.fill(np.zeros(16384, np.uint8))
        run = one.run([c, c])
        start, ends = run.stamps["command"][0], run.stamps["ends"]
        want = c.cycles(one.geometry)
        # an empty command: no write comes after its last step
        after_walk = not c.values["n"] and rows and name not in ("vtotal", "vgreatest")
        least = max(want - timing.VECTOR_START + bool(after_walk), timing.VECTOR_LEAST)
        slack = 1 if n > 8 else 0  # where a row of out comes back to the bank of a
        assert want <= ends[0] - start <= want + slack, (c.values, ends[0] - start, want)
        assert least <= ends[1] - ends[0] <= least + slack, (c.values, ends[1] - ends[0], least)


@pytest.mark.parametrize("seed", range(6))
def test_rows_in_turn(seed: int) -> None:
    """Sums with more lanes than one row keeps busy, between other instructions."""
    compare(
        bench(16, 64, 8),
        ["vtotal", "vgreatest", "vtotal", "vadd", "vtotal"],
        seed,
        300 * (seed % 2),
        largest=200,
    )


@pytest.mark.parametrize("lanes", [16, pytest.param(64, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ["vtotal", "vgreatest"])
def test_cycles_of_reductions(name: str, lanes: int) -> None:
    """Rows in turn on many lanes, one after another on few: as the instruction's file says."""
    one = bench(lanes, 4 * lanes, 8)
    shapes = (
        (0, 3), (9, 1), (32, 5), (33, 1), (100, 1), (128, 4), (128, 3), (90, 6), (160, 2), (256, 3), (40, 7),
    )  # fmt: skip
    for n, rows in shapes:
        stride = 4 * round_up(max(n, 1), max(lanes, 8))
        c = Command(name, {"n": n, "rows": rows, "a": 0, "out": 0x3000, "sa": stride, "so": 32})
        one.sim.reset()
        one.fill(np.zeros(16384, np.uint8))
        run = one.run([c, c])
        start, ends = run.stamps["command"][0], run.stamps["ends"]
        want = c.cycles(one.geometry)
        assert (ends[0] - start, ends[1] - ends[0]) == (want, want - timing.VECTOR_START), (n, rows)


def test_lint() -> None:
    assert lint(verilog(VectorEngine(load("tiny").core))) == []


@pytest.mark.slow
def test_edge_elaborates_clean() -> None:
    assert lint(verilog(VectorEngine(load("edge").core))) == []
