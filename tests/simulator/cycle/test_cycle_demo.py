"""The demo, compiled, on the executable ISA and on the RTL: logits, choice and cache of the functional simulator bit
for bit; on the RTL cycles of the cycle simulator within 1 %."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import numpy as np
import pytest
from cycle_cores import variants

from tapeout.chip import load as load_chip
from tapeout.chip.spec import ChipSpec
from tapeout.compiler import Session, compile, image
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.report.execute import backend
from tapeout.simulator.cycle.recorded import record
from tapeout.simulator.cycle.step import step
from tapeout.simulator.functional import Engine

TOTAL = 0.01  # of a token's cycles
PROMPTS = ([5, 17, 300, 2, 800, 44, 9, 512, 3, 77, 6, 10], [1], [900, 33, 33, 33, 480, 7])


def chip(name: str) -> ChipSpec:
    """One whose core the tests of time build too."""
    return replace(load_chip("tiny"), name=name, core=variants()[name])


@lru_cache(maxsize=2)
def compiled(name: str) -> Any:
    return compile(load("demo"), chip(name))


def follow(name: str, prompt: list[int], tokens: int, on: str = "rtl") -> None:
    """Greedy tokens after a prompt, on a machine and in the functional simulator: the same logits, choice, keys and
    values after every step."""
    model, checkpoint, program = load("demo"), Checkpoint.open(demo.FOLDER), compiled(name)
    memory = image(program, checkpoint)
    session = Session(program, memory, backend(on, chip(name), memory, 100))
    engine = Engine(model, checkpoint, program.plan.name, 1)
    sequence = engine.sequence()
    part = prompt
    for _ in range(tokens + 1):
        logits = session.step(part)
        want = engine.step([(sequence, part)])[0]
        assert same_bits(logits, want), sequence.length
        assert session.chosen() == int(np.argmax(want)), sequence.length
        same_cache(session, sequence)
        if on == "rtl" and len(part) == 1:
            simulated, spent = step(program, sequence.length - 1).cycles, session.outcomes[-1]
            assert abs(simulated / spent - 1) <= TOTAL, (sequence.length, simulated, spent)
        part = [session.chosen()]


def same_cache(session: Session, sequence: Any) -> None:
    """Every bit of the keys and values of every layer and position."""
    n = sequence.length
    assert session.lengths[0] == n > 0
    for layer, held in enumerate(sequence.caches):
        for mine, theirs in zip(session.cache(layer), (held.keys, held.values), strict=True):
            assert same_bits(mine.codes, theirs.codes[:, :n]), f"layer {layer}: codes"
            assert same_bits(mine.scales, theirs.scales[:, :n]), f"layer {layer}: scales"


def same_bits(a: Any, b: Any) -> bool:
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return a.shape == b.shape and bool((a.view(np.uint8) == b.view(np.uint8)).all())


def test_cycles_of_a_token() -> None:
    """The target for one token of one sequence."""
    for position in (0, 64):
        assert step(compiled("tiny"), position, logits=False).cycles <= 20_000, position


def test_on_the_executable_isa() -> None:
    follow("tiny", PROMPTS[0], 6, "isa")


@pytest.mark.parametrize(
    "on, length", [
        ("isa", 40), pytest.param("rtl", 40, marks=pytest.mark.verilator),
        pytest.param("rtl", 270, marks=[pytest.mark.verilator, pytest.mark.slow]),
    ],
)  # fmt: skip
def test_a_prompt_in_chunks(on: str, length: int) -> None:
    """The prompt through the entries for prompts: more than any of them takes; 270 tokens reach the third tile of
    attention. Then one more token."""
    model, checkpoint, program = load("demo"), Checkpoint.open(demo.FOLDER), compiled("tiny")
    assert max(e.tokens for e in program.entries) in range(2, 40)
    memory = image(program, checkpoint)
    session = Session(program, memory, backend(on, chip("tiny"), memory, 100))
    engine = Engine(model, checkpoint, program.plan.name, 1, schedule=program.schedule)
    sequence = engine.sequence()
    tokens = np.random.default_rng(3).integers(0, program.vocabulary, length)
    assert same_bits(session.step(tokens), engine.step([(sequence, tokens)])[0])
    assert len(session.outcomes) < len(tokens)
    assert same_bits(session.step([7]), engine.step([(sequence, [7])])[0])
    same_cache(session, sequence)
    if on == "rtl":
        assert abs(step(program, length).cycles / session.outcomes[-1] - 1) <= TOTAL


@pytest.mark.verilator
def test_a_token() -> None:
    pytest.importorskip("amaranth")
    follow("tiny", [5], 1)


@pytest.mark.slow
@pytest.mark.verilator
def test_a_prompt_takes_the_cycles_of_its_recorded_values() -> None:
    """What the prompt's run reads decides how often its loops go round: recorded on the executable ISA, its time is
    that of the RTL."""
    pytest.importorskip("amaranth")
    program, checkpoint = compiled("tiny"), Checkpoint.open(demo.FOLDER)
    entry = max(range(len(program.entries)), key=lambda i: program.entries[i].tokens)
    n = program.entries[entry].tokens
    tokens = np.random.default_rng(4).integers(0, program.vocabulary, n)
    memory, other = image(program, checkpoint), image(program, checkpoint)
    real = Session(program, memory, backend("rtl", chip("tiny"), memory, 100))
    recorded = Session(program, other, partial(record, program.geometry))
    assert same_bits(real.step(tokens), recorded.step(tokens))
    spent, values = real.outcomes, recorded.outcomes
    assert len(spent) == len(values) == 1
    simulated = step(program, 0, entry, values=values[0]).cycles
    assert abs(simulated / spent[0] - 1) <= TOTAL, (simulated, spent)


@pytest.mark.slow
@pytest.mark.verilator
@pytest.mark.parametrize("prompt", range(len(PROMPTS)))
@pytest.mark.parametrize("name", ["tiny", "more lanes"])
def test_sixty_four_tokens(name: str, prompt: int) -> None:
    pytest.importorskip("amaranth")
    follow(name, PROMPTS[prompt], 64)
