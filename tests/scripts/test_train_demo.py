"""The demo's training: what it rounds is what the formats define, what it exports is what it trained, and a
training that was interrupted ends where one that was not does."""

# ruff: noqa: E402, SIM905

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")
SCRIPTS = Path(__file__).parents[2] / "scripts"
if not SCRIPTS.exists():
    pytest.skip("the training scripts are not here", allow_module_level=True)
sys.path.insert(0, str(SCRIPTS))

import demo_export
import demo_network
import demo_text
import train_demo

from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import SINGLE, Checkpoint
from tapeout.model.checkpoint.safetensors import write_safetensors
from tapeout.numerics.convert import quantise
from tapeout.numerics.formats import MXFP4
from tapeout.simulator.reference.huggingface import Reference

pytestmark = pytest.mark.torch

WORDS = "in the beginning god created heaven and earth light darkness waters day night said".split(" ")


def printed(chapters: int = 40) -> str:
    """Text as the `bible` program prints it."""
    rng = random.Random(1)
    lines = ["bible: release", "Hit '?' for help.", ""]
    for chapter in range(1, chapters + 1):
        lines += ["", f"1 Book {chapter}", ""]
        lines += [f"  {v} {' '.join(rng.choices(WORDS, k=12)).capitalize()}." for v in range(1, 9)]
    return "\n".join(lines) + "\n"


def test_rounding_to_mxfp4_is_that_of_the_definition() -> None:
    """Codes and scales, over a wide range of exponents, with ties, zeros and saturated elements."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((64, 96)).astype(np.float32) * np.exp2(
        rng.integers(-20, 20, (64, 1)).astype(np.float32)
    )
    w[0] = rng.integers(-28, 29, 96) / 4  # every tie of the grid, and 6 to 7, which saturate
    w[1] = 0
    w[2, 5] = 0
    parts = demo_export.experts("x", torch.from_numpy(w)[None])
    mine = quantise(w, MXFP4)
    blocks = parts["x_blocks"][1][0].reshape(64, -1)
    scales = parts["x_scales"][1][0]
    used = np.abs(w.reshape(64, 3, 32)).max(-1) > 0  # the scale of a block of zeros is free
    assert np.array_equal(scales[used], mine.scales[used])
    assert np.array_equal(blocks.reshape(64, 3, 16)[used] & 0x77, mine.codes.reshape(64, 3, 16)[used] & 0x77)
    decoded = demo_network.as_mxfp4(torch.from_numpy(w)).numpy()
    assert np.array_equal(decoded, mine.decode().reshape(w.shape))
    assert np.array_equal(demo_network.as_mxfp4(torch.from_numpy(decoded)).numpy(), decoded)


def test_gradients_pass_straight_through() -> None:
    w = torch.randn(4, 64, requires_grad=True)
    (demo_network.as_mxfp4(w) * 3).sum().backward()
    assert torch.equal(w.grad, torch.full_like(w, 3))


@pytest.fixture(scope="module")
def small() -> demo_network.Network:
    """An untrained network with everything away from its initial zeros and ones."""
    torch.manual_seed(0)
    network = demo_network.Network(demo_network.Shape(vocabulary=256))
    with torch.no_grad():
        for p in network.parameters():
            p.add_(torch.randn_like(p) * 0.1)
    return network.eval()


def test_the_export_is_the_network_that_was_trained(small: demo_network.Network, tmp_path: Path) -> None:
    """transformers over the exported files against the network's own forward pass, in FP32, short and long."""
    write_safetensors(tmp_path / SINGLE, demo_export.tensors(small), {"format": "pt"})
    (tmp_path / "config.json").write_text(json.dumps(demo_export.config(small, 1024)))
    Checkpoint.open(tmp_path).check(load(tmp_path))
    reference = Reference(tmp_path)
    for length in (7, 33, 64, 256):  # within the window, across it, in blocks of it
        tokens = np.random.default_rng(length).integers(0, 256, length).tolist()
        with torch.no_grad():
            mine = small(torch.tensor([tokens]))[0][0].numpy()
        theirs = reference.trace(tokens).logits
        assert np.abs(mine - theirs).max() < 2e-3 * theirs.std()


def test_the_shipped_config_is_the_one_exported() -> None:
    network = demo_network.Network(demo_network.Shape())
    shipped = json.loads((demo.FOLDER / "config.json").read_text())
    assert shipped == demo_export.config(network, train_demo.LONG)


def test_chapters_and_held_out_ones() -> None:
    documents = demo_text.chapters(printed())
    assert len(documents) == 40
    assert documents[1].startswith("1 Book 2\n\n") and documents[1].count("\n") == 10
    assert "  1 " not in documents[1]
    training, held = demo_text.split(documents, 0)
    assert len(held) == 2 and set(training) | set(held) == set(documents) and not set(training) & set(held)
    assert demo_text.split(documents, 0)[1] == held != demo_text.split(documents, 1)[1]
    assert not set(demo.held_out()) & set(training)


def test_a_conversation_continues_the_text() -> None:
    document = demo_text.chapters(printed())[0]
    for seed in range(50):
        text = demo_text.conversation(document, random.Random(seed))
        question, answer = text.split("<|end|>")
        question = question.removeprefix("<|start|>user<|message|>")
        answer = answer.removeprefix("<|start|>assistant<|channel|>final<|message|>").removesuffix(
            "<|return|>"
        )
        assert answer in document if question == "1 Book 1" else question + answer in document


def test_an_interrupted_training_ends_where_the_other_does(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(demo_text, "bible_text", printed)
    monkeypatch.setattr(train_demo, "TOKENS_PER_STEP", 512)
    monkeypatch.setattr(train_demo, "LONG", 512)
    monkeypatch.setattr(train_demo, "Shape", lambda: demo_network.Shape(vocabulary=300, layers=2))
    monkeypatch.setattr(train_demo, "LONG_SHARE", 0.0)
    monkeypatch.setattr(train_demo, "rate", lambda step, steps: 1.0)
    whole = train_demo.train(tmp_path / "whole", 4, 1e-3, 0, True)
    train_demo.train(tmp_path / "parts", 2, 1e-3, 0, True)
    parts = train_demo.train(tmp_path / "parts", 4, 1e-3, 0, True)
    pairs = list(zip(whole.parameters(), parts.parameters(), strict=True))
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in pairs)
    again = train_demo.train(tmp_path / "whole", 4, 1e-3, 0, True)  # finished: nothing more is done
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_orthogonalising() -> None:
    torch.manual_seed(0)
    m = torch.randn(3, 48, 32)
    singular = torch.linalg.svdvals(train_demo.orthogonalise(m))
    assert singular.min() > 0.5 and singular.max() < 1.4
