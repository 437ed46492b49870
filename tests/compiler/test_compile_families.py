"""A small random checkpoint of each family compiled: the same bits as the functional simulator."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import compiled
import numpy as np
import pytest

from tapeout import compiler
from tapeout.chip import load as chip
from tapeout.errors import InputError
from tapeout.model import load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.functional import Engine

sys.path.append(str(Path(__file__).parents[1] / "simulator" / "functional"))
import reference_models

pytestmark = pytest.mark.torch
DEFAULT = ("gemma3", "deepseek_v3", "llama4", "qwen3_5_moe")


def checkpoint_of(family: str, folder: Path) -> tuple[Any, Checkpoint]:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    reference_models.build(family, folder)
    return load(folder), Checkpoint.open(folder)


def cases(*names: str) -> list[Any]:
    return [f if f in DEFAULT else pytest.param(f, marks=pytest.mark.slow) for f in names]


@pytest.mark.parametrize("family", cases(*reference_models.FAMILIES, *reference_models.VARIANTS))
def test_prefill_and_decode(family: str, tmp_path: Path) -> None:
    model, checkpoint = checkpoint_of(family, tmp_path)
    # many heads leave the scratchpad of `tiny` room for fewer tokens
    program = compiler.compile(model, chip("tiny"), prefill=[4 if family.endswith("many-heads") else 8])
    ids = np.random.default_rng(0).integers(3, 300, 25).tolist()
    compiled.compare(model, checkpoint, program, [ids[:3], ids[3:11], ids[11:12], ids[12:]])


@pytest.mark.parametrize("family", [f for f in reference_models.FAMILIES if f not in DEFAULT])
def test_three_tokens(family: str, tmp_path: Path) -> None:
    """Of every family, in every run of the tests."""
    model, checkpoint = checkpoint_of(family, tmp_path)
    program = compiler.compile(model, chip("tiny"), prefill=[])
    compiled.compare(model, checkpoint, program, [[5], [290], [17]])


@pytest.mark.slow
@pytest.mark.parametrize("family", ["deepseek_v3", "llama4-odd-chunks"])
def test_beyond_a_tile(family: str, tmp_path: Path) -> None:
    """Decode over the boundary of a tile, for latent attention and for chunks."""
    model, checkpoint = checkpoint_of(family, tmp_path)
    program = compiler.compile(model, chip("tiny"), prefill=[8])
    ids = np.random.default_rng(1).integers(3, 300, 150).tolist()
    compiled.compare(model, checkpoint, program, [ids[:120], *([t] for t in ids[120:140]), ids[140:]])


@pytest.mark.parametrize("family", cases("qwen3_5_moe", "deepseek_v3", *reference_models.VARIANTS))
def test_several_sequences(family: str, tmp_path: Path) -> None:
    model, checkpoint = checkpoint_of(family, tmp_path)
    program = compiler.compile(model, chip("tiny"), prefill=[], slots=3, batches=[3], context=64)
    chipped = compiled.session(program, checkpoint)
    engine = Engine(model, checkpoint, program.plan, 1, schedule=program.schedule)
    sequences = [engine.sequence() for _ in range(3)]
    ids = np.random.default_rng(2).integers(3, 300, 20).tolist()
    for slot, n in enumerate((1, 3, 2)):
        chipped.step(ids[:n], slot)
        engine.step([(sequences[slot], ids[:n])])
    for at in (4, 7):
        expected = engine.step([(s, [ids[at + i]]) for i, s in enumerate(sequences)])
        got = chipped.decode({slot: ids[at + slot] for slot in range(3)})
        for slot, logits in enumerate(expected):
            assert compiled.same_bits(got[slot], logits), slot


def test_a_state_has_no_way_back(tmp_path: Path) -> None:
    model, checkpoint = checkpoint_of("qwen3_5", tmp_path)
    program = compiler.compile(model, chip("tiny"), prefill=[], slots=2, context=64)
    chipped = compiled.session(program, checkpoint)
    engine = Engine(model, checkpoint, program.plan, 1, schedule=program.schedule)
    sequence = engine.sequence()
    for _ in range(2):  # from the beginning once more: nothing of the first time is left
        for token in (5, 6, 7):
            assert compiled.same_bits(chipped.step([token], 1), engine.step([(sequence, [token])])[0])
        for where in (lambda n: chipped.truncate(1, n), sequence.truncate):
            with pytest.raises(InputError, match="no way back"):
                where(2)
            where(3)
            where(0)
