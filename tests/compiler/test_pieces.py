"""Prompts in pieces: the same bits however small the pieces are, and the matrix engine busy over a large model."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import compiled
import numpy as np
import pytest
from test_compile_families import checkpoint_of

from tapeout import compiler
from tapeout.chip import load as chip
from tapeout.compiler.lower import grouped_experts, pieces
from tapeout.compiler.memory import Memory
from tapeout.numerics.plan import PRESETS

sys.path.append(str(Path(__file__).parents[1] / "simulator" / "functional"))
BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "prefill.py"


@pytest.mark.torch
@pytest.mark.parametrize(
    "family",
    [
        "llama-tied-bias",
        *(pytest.param(f, marks=pytest.mark.slow) for f in ("mixtral", "gemma3", "qwen3_moe")),
    ],
)
def test_every_command_a_piece(family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gate and up, queries with their attention, residuals, norms, experts' sums in the smallest pieces there are."""
    model, checkpoint = checkpoint_of(family, tmp_path)
    monkeypatch.setattr(pieces, "PART", 1 << 16)
    monkeypatch.setattr(pieces, "NORM", 1 << 16)
    monkeypatch.setattr(grouped_experts, "PART", 1 << 16)
    program = compiler.compile(model, chip("tiny"), prefill=[8])
    ids = np.random.default_rng(0).integers(3, 300, 21).tolist()
    compiled.compare(model, checkpoint, program, [ids[:8], ids[8:20], ids[20:]])


@pytest.mark.torch
@pytest.mark.parametrize("family", ["mixtral", pytest.param("qwen3_moe", marks=pytest.mark.slow)])
def test_more_tokens_than_a_list_of_pairs(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through the experts in groups, the last one smaller."""
    model, checkpoint = checkpoint_of(family, tmp_path)
    monkeypatch.setattr(grouped_experts, "MOST", 8)
    program = compiler.compile(model, chip("tiny"), prefill=[20])
    ids = np.random.default_rng(1).integers(3, 300, 31).tolist()
    compiled.compare(model, checkpoint, program, [ids[:20], ids[20:]])


@pytest.mark.slow
@pytest.mark.torch
def test_more_than_64_tokens_through_experts(tmp_path: Path) -> None:
    model, checkpoint = checkpoint_of("mixtral", tmp_path)
    program = compiler.compile(model, chip("edge"), prefill=[80])
    ids = np.random.default_rng(2).integers(3, 300, 80).tolist()
    compiled.compare(model, checkpoint, program, [ids])


def test_pieces_are_whole_commands_and_do_not_part_heads() -> None:
    from types import SimpleNamespace

    from tapeout.chip.isa.geometry import Geometry

    g = Geometry.of(chip("tiny").core)
    spec = importlib.util.spec_from_file_location("prefill", BENCHMARK)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.llama(64, 416, 1, 4, 2, 32)
    memory = Memory(model, PRESETS["mxint8"], g, g.tiles, 1 << 14)
    tensor = next(t for t in model.tensors if t.shape == (416, 64))
    matrix = memory.matrix(tensor, "dense")
    for rows, unit in ((16, 1), (128, 1), (16, 64), (4, 1)):
        made = list(pieces.pieces(SimpleNamespace(g=g), matrix, rows, unit))  # type: ignore[arg-type]
        assert [c for p in made for c in p.commands] == list(matrix.commands)
        assert sum(p.n for p in made) == 416
        assert all(pieces.first_of(p) % unit == 0 for p in made)
        most = max(g.pad_bytes // pieces.PART // (4 * rows), 64 if unit == 64 else 32)
        assert all(p.n <= most for p in made) and (len(made) > 1) == (most < 416)


def test_a_prompt_keeps_the_matrix_engine_busy() -> None:
    """Over the layers' products of a model whose weights are many times the scratchpad."""
    spec = importlib.util.spec_from_file_location("prefill", BENCHMARK)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.measure(module.llama(256, 768, 2, 4, 2, 64), "tiny", "mxint8", 32, [16])
    assert found["share of matrix peak over products"] > 0.8
