"""A small random checkpoint of each family in the RTL: the bits of the functional simulator. One build, of `tiny`."""

from __future__ import annotations

from pathlib import Path

import compiled
import numpy as np
import pytest
from test_compile_families import checkpoint_of, reference_models

from tapeout import compiler
from tapeout.chip import load as chip

pytest.importorskip("amaranth")
pytestmark = [pytest.mark.torch, pytest.mark.verilator, pytest.mark.slow]


@pytest.mark.parametrize("family", [*reference_models.FAMILIES, *reference_models.VARIANTS])
def test_prefill_and_decode(family: str, tmp_path: Path) -> None:
    model, checkpoint = checkpoint_of(family, tmp_path)
    program = compiler.compile(model, chip("tiny"), prefill=[4])
    ids = np.random.default_rng(0).integers(3, 300, 8).tolist()
    compiled.compare(model, checkpoint, program, [ids[:4], *([token] for token in ids[4:])], on="rtl")
