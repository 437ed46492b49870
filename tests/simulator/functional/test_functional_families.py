"""Every family against transformers in FP32, and fast against plain, over small random checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import reference_models

from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.numerics import library
from tapeout.simulator.functional import Engine

pytestmark = pytest.mark.torch
TOKENS = np.random.default_rng(0).integers(3, 320, 120)


@pytest.fixture(scope="module", params=reference_models.FAMILIES)
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """(model, checkpoint, reference logits) of each family."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp(request.param)
    reference = reference_models.build(request.param, folder)
    with torch.no_grad():
        logits = reference(torch.tensor(TOKENS[None])).logits[0].float().numpy()
    model, checkpoint = load(folder), Checkpoint.open(folder)
    checkpoint.check(model)
    return model, checkpoint, logits


def test_widest_formats_agree_with_transformers(family: Any) -> None:
    model, checkpoint, expected = family
    engine = Engine(model, checkpoint, "widest", 1)
    logits = engine.step([(engine.sequence(), TOKENS)], every=True)[0]
    error = np.abs(logits - expected).max()
    assert error < 0.01 * expected.std(), error
    best = np.sort(expected, axis=1)
    margin = best[:, -1] - best[:, -2]
    disagree = logits.argmax(1) != expected.argmax(1)
    assert (margin[disagree] <= 2 * error).all()
    assert disagree.sum() <= 1


def test_eight_bits_follow(family: Any) -> None:
    model, checkpoint, expected = family
    engine = Engine(model, checkpoint, "mxint8", 1)
    logits = engine.step([(engine.sequence(), TOKENS)], every=True)[0]
    assert np.median(np.abs(logits - expected)) < 0.15 * expected.std()


def test_native_equals_numpy(family: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, checkpoint, _ = family
    for plan in ("mxint8", "widest"):
        engine = Engine(model, checkpoint, plan, 2)
        native = engine.step([(engine.sequence(), TOKENS[:40])], every=True)[0]
        with monkeypatch.context() as patch:
            patch.setattr(library, "LIBRARY", None)
            plain = Engine(model, checkpoint, plan)
            assert (plain.step([(plain.sequence(), TOKENS[:40])], every=True)[0] == native).all()


def test_the_demo_model_agrees_with_transformers() -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    if not (Path(demo.FOLDER) / "model.safetensors").is_file():
        pytest.skip("the demo model is not there")
    plain = transformers.Mxfp4Config(dequantize=True)
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        demo.FOLDER, dtype=torch.float32, quantization_config=plain
    ).eval()
    model, checkpoint = load("demo"), Checkpoint.open(demo.FOLDER)
    tokens = np.random.default_rng(1).integers(3, model.vocabulary, 200)
    with torch.no_grad():
        expected = reference(torch.tensor(tokens[None])).logits[0].float().numpy()
    engine = Engine(model, checkpoint, "widest", 1)
    logits = engine.step([(engine.sequence(), tokens)], every=True)[0]
    assert np.abs(logits - expected).max() < 0.01 * expected.std()
