"""The demo, compiled, on the RTL: logits and cache of the functional simulator bit for bit, cycles of the cycle
simulator within 1 %."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest

from tapeout.chip import load as load_chip
from tapeout.chip.spec import ChipSpec
from tapeout.compiler import Session, compile, image
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.cycle.step import step
from tapeout.simulator.functional import Engine

pytestmark = pytest.mark.verilator
pytest.importorskip("amaranth")
TOTAL = 0.01  # of a token's cycles
PROMPTS = ([5, 17, 300, 2], [1], [900, 33, 33, 33, 480, 7])


def chip(name: str) -> ChipSpec:
    tiny = load_chip("tiny")
    if name == "tiny":
        return tiny
    pad = replace(tiny.core.scratchpad, banks=8)
    return replace(tiny, name=name, core=replace(tiny.core, scratchpad=pad, vector_lanes=16, outstanding=64))


@lru_cache(maxsize=2)
def compiled(name: str) -> Any:
    return compile(load("demo"), chip(name))


def follow(name: str, prompt: list[int], tokens: int) -> None:
    """Greedy tokens after a prompt, in the RTL and in the functional simulator."""
    from tapeout.report.execute import backend

    model, checkpoint, program = load("demo"), Checkpoint.open(demo.FOLDER), compiled(name)
    memory = image(program, checkpoint)
    session = Session(program, memory, backend("rtl", chip(name), memory, 100))
    engine = Engine(model, checkpoint, program.plan.name, 1)
    sequence = engine.sequence()
    for position, token in enumerate(prompt):
        logits = session.step([token])
        want = engine.step([(sequence, [token])])[0]
        assert (logits == want).all(), position
    for position in range(len(prompt), len(prompt) + tokens):
        token = int(np.argmax(want))
        logits = session.step([token])
        want = engine.step([(sequence, [token])])[0]
        assert (logits == want).all(), position
        simulated, spent = step(program, position).cycles, session.outcomes[-1]
        assert abs(simulated / spent - 1) <= TOTAL, (position, simulated, spent)


def test_a_token() -> None:
    follow("tiny", [5], 1)


@pytest.mark.slow
@pytest.mark.parametrize("prompt", range(len(PROMPTS)))
@pytest.mark.parametrize("name", ["tiny", "sixteen lanes"])
def test_sixty_four_tokens(name: str, prompt: int) -> None:
    follow(name, PROMPTS[prompt], 64)
