"""`matmul` on the core: every byte as in the executable ISA, every trap, its cycles, how busy it keeps things."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from matrix_programs import CODE, Products, memory
from test_core import GEOMETRY, SPEC, core

from tapeout.chip.isa import timing
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.definition import Cause, Trap
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import Machine, execute
from tapeout.chip.isa.matrix.matmul import pad_accesses
from tapeout.chip.rtl.core import Core
from tapeout.simulator.rtl.core import CoreSimulation

pytestmark = pytest.mark.verilator
BENCHMARK = Path(__file__).parents[3] / "benchmarks" / "chip_matrix.py"


def compare(one: Core, seed: int, count: int = 12) -> None:
    """One random program, both ways, under a memory of its own kind."""
    g = Geometry.of(one.core)
    text = Products(g, seed, count).text
    program = assemble(text)
    mine, theirs = memory(seed), memory(seed)
    execute(g, program, theirs, base=CODE, seed=seed)
    sim = CoreSimulation(
        one, mine, latency=5 + seed % 50, spread=(0, 20, 60)[seed % 3], stall=(0.0, 0.3, 0.6)[seed // 3 % 3],
        seed=seed + 1,
    )  # fmt: skip
    got = sim.run(program, CODE, limit=200_000)
    assert got.cause is None, (got, text)
    wrong = np.flatnonzero(mine != theirs)
    assert not len(wrong), (seed, len(wrong), [hex(x) for x in wrong[:8]], text)


# 19 and 54: two loads of one range; 173 and 419: results behind a command without any
@pytest.mark.parametrize("seed", [*range(10), 19, 54, 173, 419])
def test_random_programs(seed: int) -> None:
    compare(core(), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1000, 1500))
def test_many_random_programs(seed: int) -> None:
    compare(core(), seed, 30)


OTHERS = {
    # narrow words: a beat and a tile are several; one way; odd counts; results that cross lines
    "narrow": {"matrix": {"rows": 3, "columns": 3}, "scratchpad": {"banks": 16, "word_bytes": 32}},
    "one way": {"matrix": {"rows": 5, "columns": 2, "double_rate_fp4": False}},
    "mxint8": {"matrix": {"rows": 2, "columns": 5, "formats": ("mxint8",)}},
    "mxfp4": {"matrix": {"rows": 2, "columns": 3, "formats": ("mxfp4",)}, "scratchpad": {"word_bytes": 64}},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", list(OTHERS))
def test_other_geometries(name: str) -> None:
    change = OTHERS[name]
    spec = replace(SPEC, **{part: replace(getattr(SPEC, part), **values) for part, values in change.items()})
    one = Core(spec)
    for seed in range(40):
        compare(one, seed)


REGISTERS = {
    "a": 0x10000,
    "ascale": 0x10200,
    "sa": 0x240,
    "w": 0,
    "wscale": 0x18000,
    "out": 0x1C000,
    "so": 256,
}


def text_of(fields: str, tail: str = "", **changes: int) -> str:
    """A product with these registers."""
    values = REGISTERS | {"steps": 4} | changes
    text = "".join(f"add rd=r{r} imm={v}\n" for r, v in enumerate(values.values(), 1))
    operands = " ".join(f"{n}=r{r}" for r, n in enumerate(values, 1))
    return text + f"matmul {operands} {fields}{tail}\n"


FULL = "rows=4 height=4 tiles=8 drain=1 format=mxint8"


@pytest.mark.parametrize(
    ("fields", "changes", "cause"),
    [
        ("rows=5 height=1 tiles=1", {}, Cause.OPERAND),
        ("rows=2 height=3 tiles=1", {}, Cause.OPERAND),
        ("rows=1 height=1 tiles=9", {}, Cause.OPERAND),
        (FULL, {"steps": 0}, Cause.OPERAND),
        (FULL, {"steps": 65537, "w": 1}, Cause.OPERAND),
        *((FULL, {n: REGISTERS[n] + 16}, Cause.ALIGNMENT) for n in REGISTERS),
        (FULL, {"w": 32}, Cause.ALIGNMENT),
        (FULL, {"a": 131072}, Cause.RANGE),
        (FULL, {"a": 131072 - 3 * 0x240 - 96}, Cause.RANGE),
        (FULL, {"ascale": 131072 - 3 * 0x240}, Cause.RANGE),
        (FULL, {"sa": -0x240 * 64}, Cause.RANGE),
        (FULL, {"sa": 1 << 40}, Cause.RANGE),
        (FULL, {"so": -1 << 40}, Cause.RANGE),
        (FULL, {"w": 131072 - 128 * 31}, Cause.RANGE),
        (FULL, {"wscale": 131072 - 96}, Cause.RANGE),
        (FULL, {"out": 131072 - 3 * 256 - 96}, Cause.RANGE),
        (FULL, {"steps": 65536}, Cause.RANGE),
        (FULL, {"w": 1 << 46}, Cause.RANGE),
    ],
)  # fmt: skip
def test_traps(fields: str, changes: dict[str, int], cause: Cause) -> None:
    program = assemble(text_of(fields, **changes) + "sync wait=9")
    both = [np.zeros(1 << 16, np.uint8) for _ in range(2)]
    with pytest.raises(Trap) as caught:
        execute(GEOMETRY, program, both[0], base=0x8000)
    assert caught.value.cause == cause
    assert CoreSimulation(core(), both[1]).run(program, 0x8000).cause == cause


@pytest.mark.parametrize(
    ("height", "tiles", "steps", "then"),
    [(4, 6, (2, 3), 5), (1, 4, (2, 4), 6), (1, 7, (2, 1), 6), (2, 3, (4, 1), 8)],
)
def test_every_command_ends_where_one_without_results_is_behind_a_short_one(
    height: int, tiles: int, steps: tuple[int, int], then: int
) -> None:
    """The short one's only tile comes in the cycle in which the last word of the one before is taken."""
    commands = (
        (f"rows=4 height={height} tiles={tiles} bank=1 keep=0 drain=1", steps[0], 0x1C020),
        ("rows=1 height=1 tiles=1 bank=0 keep=0 drain=1", steps[1], 0x1D040),
        ("rows=1 height=1 tiles=1 bank=0 keep=1 drain=0", 1, 0x1D800),
        (f"rows=1 height=1 tiles={then} bank=1 keep=1 drain=1", 1, 0x1E000),
    )
    text = "".join(
        text_of(f"{fields} format=mxint8", " signal=1", steps=n, out=out) for fields, n, out in commands
    )
    program = assemble(text + "sync wait=1\n" * len(commands) + "halt code=0")
    memory = np.zeros(1 << 16, np.uint8)
    execute(GEOMETRY, program, memory.copy(), base=0x8000)
    assert CoreSimulation(core(), memory).run(program, 0x8000, limit=10_000).cause is None


def test_the_last_bytes_of_the_scratchpad_are_in_range() -> None:
    last = 131072
    for changes in (
        {"a": last - 3 * 0x240 - 128}, {"ascale": last - 3 * 0x240 - 32}, {"w": last - 128 * 32},
        {"wscale": last - 128}, {"out": last - 4 * 256 + 128}, {"out": last - 128, "so": -128},
    ):  # fmt: skip
        program = assemble(text_of(FULL, " signal=1", **changes) + "sync wait=1\nhalt")
        assert CoreSimulation(core(), np.zeros(1 << 16, np.uint8)).run(program, 0x8000).cause is None


SHAPES = [
    (1, 1, 1, 1, 1), (1, 1, 8, 1, 1), (4, 4, 8, 1, 1), (4, 4, 8, 8, 1), (4, 4, 4, 8, 1), (4, 4, 1, 8, 1),
    (2, 2, 3, 5, 1), (3, 2, 3, 7, 1), (4, 4, 8, 8, 0), (4, 1, 2, 9, 0), (1, 1, 1, 1, 0), (4, 4, 8, 40, 1),
]  # fmt: skip


@pytest.mark.parametrize("format", ["mxfp4", "mxint8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_cycles(shape: tuple[int, ...], format: str) -> None:
    """From the queue to the tokens, where rows' codes and scales lie in different banks (128 bytes of 4)."""
    rows, height, tiles, steps, drain = shape
    fields = f"rows={rows} height={height} tiles={tiles} drain={drain} format={format}"
    places = {"ascale": 0x14080, "sa": 512, "steps": steps}
    texts = [text_of(fields, **places).rsplit("matmul", 1)[0] + "sync signal=1\n" for _ in range(2)]
    texts[0] += "matmul" + text_of(fields, " wait=1 signal=2", **places).rsplit("matmul", 1)[1]
    texts[1] += "sync wait=1 signal=2\n"
    seen = []
    for text in texts:
        program = assemble(text + "sync wait=2\nhalt")
        got = CoreSimulation(core(), np.zeros(1 << 18, np.uint8), latency=4).run(program, 0x8000)
        assert got.cause is None, got
        seen.append(got.cycles)
        if len(seen) == 1:
            data, trace = np.zeros(1 << 18, np.uint8), []
            raw = np.frombuffer(b"".join(w.to_bytes(16, "little") for w in program), np.uint8)
            data[0x8000 : 0x8000 + len(raw)] = raw
            Machine(GEOMETRY, data, 0x8000, trace=trace).run()
    one = next(e for e in trace if e.word.instruction.name == "matmul")
    measured = seen[0] - seen[1] - (timing.DISPATCH - timing.SCALAR) + timing.SCALAR - 1
    assert measured == one.word.instruction.cycles(one.operands, GEOMETRY)
    # an unsplit contraction takes the rows' words once in four steps, and their scales' once in 128
    uses = pad_accesses(one.operands, GEOMETRY)
    assert uses["weights"] == steps * tiles * -(-rows // height)
    if height == rows:
        assert uses["codes"] == rows * -(-steps // 4)
        assert uses["row_scales"] == rows


@lru_cache(maxsize=1)
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chip_matrix", BENCHMARK)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_busy_on_a_large_product_and_twice_the_rate_with_mxfp4() -> None:
    rate = {}
    for format in ("mxfp4", "mxint8"):
        program = benchmark().product(GEOMETRY, format, 24, 1024)
        got = benchmark().run(core(), program, 20)
        assert got.counters["matrix_active"] >= 0.97 * got.cycles
        rate[format] = got.counters["matrix_active"] / got.cycles * GEOMETRY.outputs(format)
    assert rate["mxfp4"] == pytest.approx(2 * rate["mxint8"], rel=0.005)


@pytest.mark.parametrize("m", [1, 4])
def test_decode_runs_at_the_port_s_rate(m: int) -> None:
    """Chunk after chunk; the first words' latency and the last product are paid once."""
    for format in ("mxfp4", "mxint8"):
        runs = [
            benchmark().run(core(), benchmark().decode(GEOMETRY, format, n, m, 1024), 100) for n in (8, 24)
        ]
        words, cycles = (
            b - a for a, b in zip(*((r.counters["load_beats"], r.cycles) for r in runs), strict=True)
        )
        assert words >= 0.97 * cycles
