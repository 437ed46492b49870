"""The token that the chip chooses is the sampler's at temperature 0, ties, NaN and zeros included; logits leave it only
when they are asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import compiled
import numpy as np
import pytest

from tapeout import compiler
from tapeout.chip import load as chip
from tapeout.compiler.lower.choice import LARGEST, pieces
from tapeout.compiler.program import Program
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.functional import Engine, Sampler

pytestmark = pytest.mark.skipif(
    not (Path(demo.FOLDER) / "model.safetensors").is_file(), reason="the demo model is not there"
)


class Headed:
    """The demo with another head, float32 [1024, 128] as BF16."""

    where = "headed"

    def __init__(self, head: np.ndarray) -> None:
        self.of = Checkpoint.open(demo.FOLDER)
        stored = np.asarray(self.of.tensor("lm_head.weight"))
        with np.errstate(invalid="ignore"):  # NaN stays NaN
            self.head = head.astype(stored.dtype)

    def tensor(self, name: str) -> Any:
        return self.head if name == "lm_head.weight" else self.of.tensor(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.of, name)


@pytest.fixture(scope="module")
def program() -> Program:
    """The demo model for `tiny`."""
    return compiler.compile(load("demo"), chip("tiny"), prefill=[])


def heads() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(11)
    found = {"zeros": np.zeros((1024, 128), np.float32), "one row": np.ones((1024, 1)) * rng.normal(size=128)}
    for few in (2, 40, 300):  # so many different rows: the largest logit comes several times
        found[f"{few} rows"] = rng.normal(size=(few, 128))[rng.integers(0, few, 1024)]
    found["last"] = np.where(np.arange(1024)[:, None] == 1023, 1, 0) * rng.normal(size=128)
    bad = rng.normal(size=(1024, 128))
    bad[[700, 300, 1023], 5] = np.nan
    return found | {"NaN": bad}


@pytest.mark.parametrize("name", list(heads()))
def test_ties_zeros_and_nan(program: Program, name: str) -> None:
    model, checkpoint = load("demo"), Headed(heads()[name])
    session = compiled.session(program, checkpoint)
    engine = Engine(model, checkpoint, program.plan, 1, schedule=program.schedule)  # type: ignore[arg-type]
    sequence, sampler = engine.sequence(), Sampler()
    for token in (5, 900):
        want = engine.step([(sequence, [token])])[0]
        assert compiled.same_bits(session.step([token]), want)
        assert session.chosen() == sampler(want)


def test_logits_stay_on_the_chip_unless_they_are_asked_for(program: Program) -> None:
    session = compiled.session(program, Checkpoint.open(demo.FOLDER))
    assert session.chosen() == -1
    region = program.regions["logits"]
    held = session.memory[region.base : region.base + region.size]
    held[:] = 0xA5
    assert not session.step([7], logits=False).size
    assert (held == 0xA5).all()
    token = session.chosen()
    again = compiled.session(program, Checkpoint.open(demo.FOLDER))
    assert token == int(np.argmax(again.step([7]))) == again.chosen()


def test_pieces_are_whole_commands_and_bounded() -> None:
    for least in (32, 64, 128):
        for vocabulary in (1, 300, 1024, 32_000, 201_088):
            n = pieces(vocabulary, least)
            assert n % least == 0 and least <= n <= LARGEST
            assert n == LARGEST or n * n >= 8 * vocabulary
