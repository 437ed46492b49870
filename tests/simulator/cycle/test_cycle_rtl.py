"""The cycle simulator against the RTL: total cycles of random programs, of every vector instruction and of the demo.

A core's time depends on the phase in which the scratchpad's priority is when the program starts; here it is that of
a fresh core, so that the two agree to the cycle but for what is said at the assertion.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cycle_cores import variants

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.definition import Engine
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.registry import decode
from tapeout.compiler import Session, compile, image
from tapeout.compiler.program import Program
from tapeout.model import demo
from tapeout.model import load as load_model
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.cycle import Memory, simulate
from tapeout.simulator.cycle.timeline import Timeline

pytestmark = pytest.mark.verilator
pytest.importorskip("amaranth")
sys.path.insert(0, str(Path(__file__).parents[2] / "chip" / "rtl"))
PHASE = -4  # of the scratchpad, which counts from the end of reset
TOTAL = 0.01  # of a program's cycles
OPERATOR = 0.02  # of an operator's
FEW = 20  # cycles of an operator of a token: five of each layer, as of a row of a vector instruction


@lru_cache(maxsize=6)
def built(name: str) -> Any:
    from tapeout.chip.rtl.core import Core

    return Core(variants()[name])


@dataclass(frozen=True)
class Both:
    """Cycles of a program in RTL and simulated: in all, and by operator (a key of the caller's), those from when all
    instructions before the operator's are done until its own are too."""

    rtl: int
    cycle: int
    operators: dict[Any, tuple[int, int]]

    @property
    def equal(self) -> bool:
        """To the cycle."""
        return self.rtl == self.cycle and all(r == c for r, c in self.operators.values())


def compared(rtl: int, recorded: dict[Engine, Any], timeline: Timeline, key: Callable[[int], Any]) -> Both:
    """Both sides of a run. `recorded`: of each engine the cycles in which its instructions were done in RTL; those of
    an engine that is not in it do not count. `timeline`: with records of the engines' instructions."""
    records = timeline.records[np.argsort(timeline.records["queued"], kind="stable")]
    records = records[np.isin(records["engine"], list(recorded))]
    ends = np.zeros((2, len(records)), np.int64)
    for engine, done in recorded.items():
        mine = records["engine"] == engine
        assert mine.sum() == len(done), (engine, int(mine.sum()), len(done))
        ends[0, mine], ends[1, mine] = done, records["done"][mine]
    spent = np.diff(np.maximum.accumulate(ends, axis=1), axis=1, prepend=0)
    operators: dict[Any, tuple[int, int]] = {}
    for pc, (r, c) in zip(records["pc"].tolist(), spent.T.tolist(), strict=True):
        before = operators.get(key(pc), (0, 0))
        operators[key(pc)] = (before[0] + r, before[1] + c)
    return Both(rtl, timeline.cycles, operators)


def both(name: str, text: str, memory: Any, base: int, latency: int) -> Both:
    """A program on the core `name`; its operators are its instructions' names."""
    from tapeout.simulator.rtl.core import CoreSimulation

    program = assemble("\n".join(x for x in text.splitlines() if not x.startswith("interrupt")))
    rtl = CoreSimulation(built(name), memory, latency=latency)
    rtl.record()
    got = rtl.run(program, base)
    assert got.cause is None, got
    timeline = simulate(
        variants()[name], program, base=base, memory=Memory(latency), phase=rtl.begun + PHASE, records=1
    )
    assert timeline.words_loaded == got.counters["load_beats"]
    assert timeline.words_stored == got.counters["store_beats"]
    assert timeline.column("beats").sum() == got.counters["matrix_active"]
    names = [decode(word).instruction.name for word in program]
    return compared(got.cycles, rtl.recorded(), timeline, lambda pc: names[pc])


def moves(name: str, seed: int) -> Both:
    from core_programs import CODE, MEMORY, Program

    memory = np.random.default_rng(seed).integers(0, 256, MEMORY, dtype=np.uint8)
    turns = variants()[name].scratchpad.word_bytes <= 128  # the programs' transposes are for such words
    return both(name, Program(seed, turns).text, memory, CODE, (4, 20, 50, 100)[seed % 4])


def products(name: str, seed: int) -> Both:
    from matrix_programs import CODE, Products, memory

    lines = Products(Geometry.of(variants()[name]), seed).lines
    return both(name, "\n".join(lines), memory(seed), CODE, (4, 20, 50, 100)[seed % 4])


@pytest.mark.parametrize("seed", range(6))
def test_moves(seed: int) -> None:
    one = moves("tiny", seed)
    assert one.equal, one


@pytest.mark.parametrize("seed", range(6))
def test_products(seed: int) -> None:
    one = products("tiny", seed)
    assert one.equal, one


VECTORS = (
    "vadd from=vector", "vsub from=row", "vmul from=immediate", "vcompare from=vector", "vmaximum from=row", "vselect",
    "vwindow", "vexp2", "vtotal", "vgreatest", "vrope half=8 interleaved=0", "vrope half=8 interleaved=1",
    "vquantise format=mxint8", "vquantise format=mxfp4", "vdequantise format=mxint8", "vdequantise format=mxfp4",
    "vconvert kind=bf16_f32", "vconvert kind=f32_bf16", "vtopk k=4",
)  # fmt: skip

SEVERAL = ("vtotal", "vgreatest", "vquantise")


def vectors(name: str, which: int, n: int, rows: int) -> Both:
    from tapeout.chip.isa.registry import instructions

    one, *fields = VECTORS[which].split(" ", 1)
    registers = {"a": 3, "out": 4, "n": 1, "rows": 2, "sa": 6, "so": 6, "b": 5, "sb": 7}
    slots = " ".join(f"{s.name}=r{registers.get(s.name, 0)}" for s in instructions()[one].slots if s.name)
    values = {1: n, 2: rows, 4: 16384, 5: 32768, 6: 4096, 7: 0 if one == "vrope" else 4096}
    lines = [f"add rd=r{r} imm={v}" for r, v in values.items()]
    text = "\n".join([*lines, *[f"{one} {slots} {' '.join(fields)}"] * 3, "halt"])
    return both(name, text, np.zeros(1 << 16, np.uint8), 0x8000, 20)


@pytest.mark.parametrize("which", range(len(VECTORS)))
def test_vectors(which: int) -> None:
    """Rows whose banks clash wait for one another in an order that this model has almost: within 5 cycles of a row."""
    for n, rows in ((16, 1), (20, 3), (64, 4), (256, 1)):
        one = vectors("tiny", which, n, rows)
        assert abs(one.cycle - one.rtl) <= max(TOTAL * one.rtl, 5 * rows), (VECTORS[which], n, rows, one)


@pytest.mark.parametrize(
    "name", ["tiny", *(pytest.param(n, marks=pytest.mark.slow) for n in ("more lanes", "sums in turn"))]
)
@pytest.mark.parametrize("which", [i for i, v in enumerate(VECTORS) if v.split()[0] in SEVERAL])
def test_vectors_of_several_beats(name: str, which: int) -> None:
    """Reductions and conversions, whose pipelines depend on the lanes: to the cycle, where no banks clash."""
    shapes = [(16, 1), (32, 2), (32, 4)]
    if not VECTORS[which].startswith("vquantise"):
        shapes += [(32, 8), (64, 4), (256, 3), (100, 9), (300, 2)]
    for n, rows in shapes:
        one = vectors(name, which, n, rows)
        assert one.equal, (VECTORS[which], n, rows, one)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(variants()))
def test_random_programs_on_every_core(name: str) -> None:
    """Totals within 1 %, and all programs' operators together within 2 %."""
    operators: dict[str, tuple[int, int]] = {}
    for seed in range(20):
        for program in (moves, products):
            one = program(name, seed)
            assert abs(one.cycle / one.rtl - 1) <= TOTAL, (program.__name__, seed, one)
            for key, (r, c) in one.operators.items():
                before = operators.get(key, (0, 0))
                operators[key] = (before[0] + r, before[1] + c)
    for key, (r, c) in operators.items():
        assert abs(c / r - 1) <= OPERATOR, (key, r, c)


def token(name: str, position: int) -> Both:
    """One token of the demo on the core `name`, after so many others (which are not computed: the cache is zero)."""
    from tapeout.simulator.rtl.core import CoreSimulation

    program = demo_program(name)
    memory = image(program, Checkpoint.open(demo.FOLDER))
    rtl = CoreSimulation(built(name), memory, latency=100)
    outcome: list[Any] = []

    def run(words: Sequence[int], base: int, arguments: Sequence[int], memory: Any) -> None:
        rtl.record()
        outcome.append(rtl.run(words, base, arguments, limit=10**6))

    session = Session(program, memory, run)
    session.lengths[0] = position
    session.step([5], logits=False)
    assert outcome[0].cause is None
    timeline = simulate(
        program.chip.core, program.code, (0, position, 0, 1, 0), base=program.base, memory=Memory(100), records=1,
        phase=rtl.begun + PHASE,
    )  # fmt: skip
    recorded = rtl.recorded()
    del recorded[Engine.LOAD]  # weights come ahead of their use: what waits for them counts

    def key(pc: int) -> str:
        return program.operator(pc).name

    return compared(outcome[0].cycles, recorded, timeline, key)


@lru_cache(maxsize=6)
def demo_program(name: str) -> Program:
    return compile(load_model("demo"), replace(load("tiny"), name=name, core=variants()[name]), prefill=[])


@pytest.mark.slow
@pytest.mark.parametrize("name", list(variants()))
def test_the_demo_on_every_core(name: str) -> None:
    """A token within 1 %, its operators within 2 %, or some cycles where an operator has few."""
    for position in (0, 64):
        one = token(name, position)
        assert abs(one.cycle / one.rtl - 1) <= TOTAL, one
        for key, (r, c) in one.operators.items():
            assert abs(c - r) <= max(OPERATOR * r, FEW), (key, one)
