"""The cycle simulator leaves out blocks that cannot change anything: the same as with all of them in every cycle."""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.spec import Core
from tapeout.compiler import compile
from tapeout.errors import InputError
from tapeout.model import load as load_model
from tapeout.simulator.cycle import Memory, simulate, single
from tapeout.simulator.cycle.step import balanced, step
from tapeout.simulator.cycle.timeline import Timeline

sys.path.insert(0, str(Path(__file__).parents[2] / "chip" / "rtl"))
TINY = load("tiny").core
MEMORIES = (
    Memory(4), Memory(20), Memory(100), Memory(100, 7.3), Memory(60, 20.0, 1.0), Memory(1), Memory(350, 50.0),
)  # fmt: skip


def cores() -> list[Core]:
    """Cores whose ports and banks differ."""
    pad = TINY.scratchpad
    return [
        TINY,
        replace(TINY, scratchpad=replace(pad, word_bytes=64, banks=8), port_bytes=32, outstanding=40),
        replace(TINY, scratchpad=replace(pad, banks=2), outstanding=12, matrix=replace(TINY.matrix, rows=2)),
        replace(TINY, scratchpad=replace(pad, banks=128, word_bytes=32), vector_lanes=32),
    ]


def same(a: Timeline, b: Timeline) -> None:
    assert (a.cycles, a.instructions, a.engines) == (b.cycles, b.instructions, b.engines)
    assert np.array_equal(a.table, b.table)
    assert np.array_equal(a.records, b.records) and np.array_equal(a.samples, b.samples)


def both(core: Core, code: Any, seed: int, **keywords: Any) -> None:
    more = dict(memory=MEMORIES[seed % len(MEMORIES)], phase=seed % 13, records=2, window=64) | keywords
    same(simulate(core, code, **more), simulate(core, code, plain=True, **more))


@pytest.mark.parametrize("seed", range(0, 60, 12))
def test_random_programs_take_the_same_time_in_every_respect(seed: int) -> None:
    from core_programs import CODE, Program
    from matrix_programs import CODE as PRODUCTS
    from matrix_programs import Products

    for one in range(seed, seed + 12):
        core = cores()[one % len(cores())]
        text = "\n".join(x for x in Program(one).text.splitlines() if not x.startswith("interrupt"))
        both(core, assemble(text), one, base=CODE)
        try:
            lines = Products(Geometry.of(core), one).lines
        except AssertionError:  # a product that the scratchpad is too small for
            continue
        both(core, assemble("\n".join(lines)), one, base=PRODUCTS)


def test_operators_of_a_step_take_the_same_time() -> None:
    edge = load("edge").core
    for i, code in enumerate(
        (
            single.product(edge, 1, 900, 1440, "mxfp4"),
            single.product(edge, 40, 600, 640, "mxint8"),
            single.norm(edge, 5, 960),
            single.attention(edge, 2, 8, 64, 300),
        )
    ):
        both(edge, code, i + 3, base=single.BASE, arguments=(0, 299, 0, 1, 0))


@lru_cache(maxsize=1)
def demo() -> Any:
    return compile(load_model("demo"), load("tiny"))


@pytest.mark.parametrize("entry", [0, 1])
def test_the_demo_takes_the_same_time(entry: int) -> None:
    program = demo()
    values = balanced(load_model("demo"), program.entries[entry].tokens)
    a, b = (
        step(program, 30, entry, values=values, records=2, window=100, plain=plain) for plain in (False, True)
    )
    same(a, b)


def test_a_core_that_no_rtl_is_made_of_is_refused() -> None:
    with pytest.raises(InputError, match="vector_lanes: found 24"):
        simulate(replace(TINY, vector_lanes=24), assemble("halt"))


def test_a_choice_whose_indices_cross_a_word_ends() -> None:
    from tapeout.simulator.cycle.share import Choice, program

    edge = load("edge").core
    few, many = (
        simulate(edge, program(edge, [Choice("choice", 0, rows, 128, 4)]).code, base=single.BASE, limit=10**6)
        for rows in (8, 16)
    )
    assert few.cycles < many.cycles < 3 * few.cycles
