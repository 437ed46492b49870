"""The cycle simulator against the RTL: total cycles of random programs, of every vector instruction and of the demo.

A core's time depends on the phase in which the scratchpad's priority is when the program starts; here it is that of
a fresh core, so that the two agree to the cycle but for what is said at the assertion.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapeout.chip import load, spec
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.geometry import Geometry
from tapeout.simulator.cycle import Memory, simulate

pytestmark = pytest.mark.verilator
pytest.importorskip("amaranth")
sys.path.insert(0, str(Path(__file__).parents[2] / "chip" / "rtl"))
TINY = load("tiny").core
PHASE = 7  # cycles from reset to the first of a program without arguments
TOTAL = 0.01  # of a program's cycles


def variants() -> dict[str, spec.Core]:
    """Cores that differ in what time depends on."""

    def of(matrix: dict[str, Any], pad: dict[str, Any], **more: Any) -> spec.Core:
        return replace(
            TINY, matrix=replace(TINY.matrix, **matrix), scratchpad=replace(TINY.scratchpad, **pad), **more
        )

    return {
        "tiny": TINY,
        "narrow port": of({}, {"word_bytes": 64, "banks": 8}, port_bytes=32, outstanding=40),
        "few requests": of({"rows": 2}, {"banks": 2}, outstanding=12),
        "eight columns": of({"columns": 8, "rows": 8}, {"word_bytes": 256}, port_bytes=128),
        "more lanes": of({"rows": 3, "double_rate_fp4": False}, {"banks": 8}, vector_lanes=16),
    }


@lru_cache(maxsize=5)
def built(name: str) -> Any:
    from tapeout.chip.rtl.core import Core

    return Core(variants()[name])


def both(name: str, text: str, memory: Any, base: int, latency: int) -> tuple[int, int]:
    """(cycles in RTL, cycles simulated)."""
    from tapeout.simulator.rtl.core import CoreSimulation

    program = assemble("\n".join(x for x in text.splitlines() if not x.startswith("interrupt")))
    got = CoreSimulation(built(name), memory, latency=latency).run(program, base)
    assert got.cause is None, got
    timeline = simulate(variants()[name], program, base=base, memory=Memory(latency), phase=PHASE)
    assert timeline.words_loaded == got.counters["load_beats"]
    assert timeline.words_stored == got.counters["store_beats"]
    assert timeline.column("beats").sum() == got.counters["matrix_active"]
    return got.cycles, timeline.cycles


def moves(name: str, seed: int) -> tuple[int, int]:
    from core_programs import CODE, MEMORY, Program

    memory = np.random.default_rng(seed).integers(0, 256, MEMORY, dtype=np.uint8)
    return both(name, Program(seed).text, memory, CODE, (4, 20, 50, 100)[seed % 4])


def products(name: str, seed: int) -> tuple[int, int]:
    from matrix_programs import CODE, Products, memory

    lines = Products(Geometry.of(variants()[name]), seed).lines
    return both(name, "\n".join(lines), memory(seed), CODE, (4, 20, 50, 100)[seed % 4])


@pytest.mark.parametrize("seed", range(6))
def test_moves(seed: int) -> None:
    rtl, cycle = moves("tiny", seed)
    assert cycle == rtl


@pytest.mark.parametrize("seed", range(6))
def test_products(seed: int) -> None:
    rtl, cycle = products("tiny", seed)
    assert cycle == rtl


VECTORS = (
    "vadd from=vector", "vsub from=row", "vmul from=immediate", "vcompare from=vector", "vmaximum from=row", "vselect",
    "vwindow", "vexp2", "vtotal", "vgreatest", "vrope half=8 interleaved=0", "vrope half=8 interleaved=1",
    "vquantise format=mxint8", "vquantise format=mxfp4", "vdequantise format=mxint8", "vdequantise format=mxfp4",
    "vconvert kind=bf16_f32", "vconvert kind=f32_bf16", "vtopk k=4",
)  # fmt: skip


def vectors(name: str, which: int, n: int, rows: int) -> tuple[int, int]:
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
        rtl, cycle = vectors("tiny", which, n, rows)
        assert abs(cycle - rtl) <= max(TOTAL * rtl, 5 * rows), (VECTORS[which], n, rows, rtl, cycle)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(variants())[1:])
def test_other_cores(name: str) -> None:
    worst = 0.0
    for seed in range(40):
        for program in (moves, products):
            rtl, cycle = program(name, seed)
            worst = max(worst, abs(cycle / rtl - 1))
    assert worst <= TOTAL, worst
