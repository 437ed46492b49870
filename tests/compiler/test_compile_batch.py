"""Several sequences decoded together: each gets the bits that it gets alone."""

from __future__ import annotations

from pathlib import Path

import compiled
import numpy as np
import pytest

from tapeout import compiler
from tapeout.chip import load as chip
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.functional import Engine

pytestmark = pytest.mark.skipif(
    not (Path(demo.FOLDER) / "model.safetensors").is_file(), reason="the demo model is not there"
)


def test_three_sequences_of_different_lengths() -> None:
    model, checkpoint = load("demo"), Checkpoint.open(demo.FOLDER)
    program = compiler.compile(model, chip("tiny"), prefill=[], slots=4, batches=[3], context=128)
    chipped = compiled.session(program, checkpoint)
    engine = Engine(model, checkpoint, program.plan, 1, schedule=program.schedule)
    ids = np.random.default_rng(5).integers(3, 1000, 20).tolist()
    sequences = {slot: engine.sequence() for slot in (0, 1, 3)}
    for slot, n in ((0, 1), (1, 3), (3, 2)):
        chipped.step(ids[:n], slot)
        engine.step([(sequences[slot], ids[:n])])
    for at in (4, 7):
        new = dict(zip(sequences, ids[at : at + 3], strict=True))
        got = chipped.decode(new)
        expected = engine.step([(sequences[slot], [token]) for slot, token in new.items()])
        for slot, logits in zip(new, expected, strict=True):
            assert compiled.same_bits(got[slot], logits), slot
            assert chipped.chosen(slot) == int(np.argmax(logits)), slot
    assert chipped.lengths == [3, 5, 0, 4]
    # two of them go through the same entry, one row of it twice
    new = {0: 9, 3: 10}
    before = chipped.logits(3)
    got = chipped.decode(new, logits=False)
    expected = engine.step([(sequences[slot], [token]) for slot, token in new.items()])
    assert compiled.same_bits(chipped.logits(3), before) and not got[0].size
    assert [chipped.chosen(slot) for slot in new] == [int(np.argmax(x)) for x in expected]


def test_more_sequences_than_registers() -> None:
    """Positions and slots are read again for each use."""
    model, checkpoint = load("demo"), Checkpoint.open(demo.FOLDER)
    program = compiler.compile(model, chip("tiny"), prefill=[], slots=12, batches=[12], context=128)
    chipped = compiled.session(program, checkpoint)
    engine = Engine(model, checkpoint, program.plan, 1, schedule=program.schedule)
    sequences = [engine.sequence() for _ in range(12)]
    ids = np.random.default_rng(7).integers(3, 1000, 36).tolist()
    for at in (0, 12, 24):
        expected = engine.step([(s, [ids[at + i]]) for i, s in enumerate(sequences)])
        got = chipped.decode({slot: ids[at + slot] for slot in range(12)})
        assert all(compiled.same_bits(got[slot], logits) for slot, logits in enumerate(expected))
