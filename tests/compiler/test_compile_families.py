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

sys.path.append(str(Path(__file__).parents[1] / "simulator" / "functional"))
import reference_models

pytestmark = pytest.mark.torch
REFUSED = ("deepseek_v3", "deepseek_v3-no-q-rank", "llama4")
DEFAULT = ("gemma3", "glm4_moe")


def checkpoint_of(family: str, folder: Path) -> tuple[Any, Checkpoint]:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    reference_models.build(family, folder)
    return load(folder), Checkpoint.open(folder)


@pytest.mark.parametrize(
    "family",
    [
        f if f in DEFAULT else pytest.param(f, marks=pytest.mark.slow)
        for f in reference_models.FAMILIES
        if f not in REFUSED
    ],
)
def test_prefill_and_decode(family: str, tmp_path: Path) -> None:
    model, checkpoint = checkpoint_of(family, tmp_path)
    program = compiler.compile(model, chip("tiny"), prefill=[8])
    ids = np.random.default_rng(0).integers(3, 300, 12).tolist()
    compiled.compare(model, checkpoint, program, [ids[:3], ids[3:11], ids[11:]])


@pytest.mark.parametrize("family", REFUSED)
def test_what_is_not_compiled_is_told(family: str, tmp_path: Path) -> None:
    model, _ = checkpoint_of(family, tmp_path)
    with pytest.raises(InputError, match="layer"):
        compiler.compile(model, chip("tiny"))
