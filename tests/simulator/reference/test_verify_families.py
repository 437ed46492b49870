"""The functional simulator is the same model as transformers, for every family, down to what its formats explain.

The checkpoints are random, but with peaked logits and decided routers; the texts are drawn from the reference.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.importorskip("torch")
pytest.importorskip("transformers")
sys.path.insert(0, str(Path(__file__).parent))

from small import CONFIGS

from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.model.checkpoint.random import write_random
from tapeout.numerics.plan import PRESETS
from tapeout.simulator.functional import Engine
from tapeout.simulator.reference.simulated import trace
from tapeout.simulator.reference.verify import format_error, products, stated_error, verify

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("family", CONFIGS)
def test_every_family_is_the_same_model(family: str, tmp_path: Path) -> None:
    model = write_random(tmp_path, CONFIGS[family], seed=11)
    result = verify(tmp_path, ("mxint8", "widest"), tokens=1024, seed=5)
    narrow, widest = result.plans
    assert widest.comparison.agreement >= 0.999
    assert widest.comparison.agreement >= result.bf16.agreement
    assert widest.forced.largest_margin <= stated_error(PRESETS["widest"], model)
    assert (widest.forced.largest_flip_margin or 0.0) <= stated_error(PRESETS["widest"], model)
    assert max(widest.forced.layer_error) < 5e-4 and widest.forced.logit_error < 5e-4
    # Eight bits lose a little everywhere, and more than BF16, but it is still the same model.
    assert narrow.forced.agreement > 0.9
    assert widest.forced.logit_error < narrow.forced.logit_error < 0.1
    assert (model.experts > 0) == (result.bf16.expert_agreement is not None)


def test_forced_experts_are_used_and_the_own_choice_is_told() -> None:
    model = load("demo")
    engine = Engine(model, Checkpoint.open(demo.FOLDER), "mxint8", 1)
    tokens = np.random.default_rng(0).integers(9, 1024, 700).tolist()  # more than one chunk
    free = trace(engine, tokens)
    again = trace(engine, tokens, free.experts)
    assert all(np.array_equal(free.experts[i], again.experts[i]) for i in free.experts)
    # The same experts, in another order of summation.
    assert np.allclose(free.logits, again.logits, atol=2e-2 * free.logits.std())
    other = {i: (e + 1) % 8 for i, e in free.experts.items()}
    forced = trace(engine, tokens, other)
    assert np.array_equal(forced.experts[0], free.experts[0])  # nothing differs before the first router
    assert not np.allclose(forced.logits, free.logits, atol=free.logits.std() / 10)
    assert np.array_equal(trace(engine, tokens).logits, free.logits)  # and nothing stays forced


def test_stated_errors_follow_the_formats() -> None:
    model = load("demo")
    bounds = [
        stated_error(PRESETS[p], model) for p in ("widest", "bf16-attention", "mxint8", "mxfp8", "mxfp4")
    ]
    assert bounds == sorted(bounds) and len(set(bounds)) == len(bounds)
    assert format_error("mxint15") < 1e-4 < 5e-3 < format_error("mxint8") < 1e-2 < format_error("mxfp8")
    assert products(PRESETS["mxfp4"], model)["experts"] == (
        None,
        "mxint8",
    )  # published weights are not converted
    assert "embedding" not in products(PRESETS["mxint8"], model)
    assert products(PRESETS["mxint8"], replace(model, tied_embeddings=True))["lm_head"] == (
        "mxint8",
        "mxint8",
    )
