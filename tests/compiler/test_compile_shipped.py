"""Shipped models compile for a shipped chip, without weights: a decode step of the first layers, and its time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tapeout import compiler
from tapeout.chip import ChipSpec
from tapeout.chip import load as chip
from tapeout.compiler import Program
from tapeout.errors import InputError
from tapeout.model import load
from tapeout.model.catalog import names
from tapeout.simulator.cycle.step import step

QUICK = ("deepseek-v3", "llama-4-scout", "qwen3.5-35b-a3b")


def compiled(name: str, layers: int, on: ChipSpec | None = None) -> Program:
    """The first layers of a shipped model, which may be larger than the chip's memory; without a chip on `edge`."""
    model = load(name)
    model = replace(model, layers=model.layers[:layers])
    return compiler.compile(model, on or chip("edge"), context=1024, prefill=[], beyond_memory=True)


@pytest.mark.parametrize(
    "name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in names()]
)
def test_first_layers(name: str) -> None:
    model = load(name)
    # as many as show every kind: of attention every sixth (Gemma 3), of experts behind three dense ones (DeepSeek)
    layers = 6 if model.family == "gemma3" else 4
    program = compiled(name, layers)
    timeline = step(program, 100)
    assert 0.75 < timeline.memory_share <= 1, "decode of one sequence is bound by the weights"
    kinds = {(type(x.attention), type(x.feed_forward)) for x in model.layers}
    assert kinds == {(type(x.attention), type(x.feed_forward)) for x in model.layers[:layers]}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["deepseek-v3", "gpt-oss-120b", "qwen3.5-397b-a17b", "llama-4-maverick"])
def test_on_the_largest_chip(name: str) -> None:
    spec = chip("flagship")
    if name == "deepseek-v3":  # alone on a core its widest rows need more scratchpad than the shipped one has
        spec = replace(
            spec, core=replace(spec.core, scratchpad=replace(spec.core.scratchpad, kibibytes=1024))
        )
    assert step(compiled(name, 4, spec), 100).memory_share > 0.75


def test_a_model_beyond_the_memory_is_not_loaded() -> None:
    model = replace(load("gpt-oss-120b"), layers=load("gpt-oss-120b").layers[:1])
    with pytest.raises(InputError, match="GiB of tiny"):
        compiler.compile(model, chip("tiny"), context=256, prefill=[])


def test_sparse_attention_ends_the_context() -> None:
    model = replace(load("glm-5"), layers=load("glm-5").layers[:1])
    program = compiler.compile(model, chip("edge"), prefill=[], beyond_memory=True)
    assert program.context == model.layers[0].attention.index_topk  # type: ignore[union-attr]
    with pytest.raises(InputError, match="sparse"):
        compiler.compile(model, chip("edge"), context=program.context + 1, beyond_memory=True)
