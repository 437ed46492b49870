"""The demo model compiled: its tokens in the executable ISA are those of the functional simulator, bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import compiled
import numpy as np
import pytest

from tapeout import compiler
from tapeout.chip import load as chip
from tapeout.compiler.program import Program
from tapeout.errors import InputError
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.cycle.step import step
from tapeout.simulator.functional import Engine

pytestmark = pytest.mark.skipif(
    not (Path(demo.FOLDER) / "model.safetensors").is_file(), reason="the demo model is not there"
)


@pytest.fixture(scope="module")
def program() -> Program:
    """The demo model for `tiny`."""
    return compiler.compile(load("demo"), chip("tiny"), prefill=[8])


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    """The demo model's tensors."""
    return Checkpoint.open(demo.FOLDER)


def tokens(n: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, 1000, n).tolist()


def test_decode(program: Program, checkpoint: Checkpoint) -> None:
    # beyond the sliding window of 32
    compiled.compare(load("demo"), checkpoint, program, [[t] for t in tokens(36)])


def test_prompt_in_chunks_then_decode(program: Program, checkpoint: Checkpoint) -> None:
    ids = tokens(40, 2)
    compiled.compare(load("demo"), checkpoint, program, [ids[:8], ids[8:22], ids[22:23]])


def test_only_the_last_run_of_a_prompt_has_a_head(program: Program, checkpoint: Checkpoint) -> None:
    """The others end before it: what they would choose is not written, and they take less time."""
    chip = compiled.session(program, checkpoint)
    results = program.regions["chosen"].base, program.regions["logits"].base
    written: list[tuple[int, bool]] = []
    execute = chip.run

    def run(words: Sequence[int], base: int, arguments: Sequence[int], memory: np.ndarray) -> None:
        for at in results:
            memory[at : at + 4] = 0xEE
        execute(words, base, arguments, memory)
        written.append((arguments[3], all((memory[at : at + 4] != 0xEE).any() for at in results)))

    chip.run = run
    chip.step(tokens(18, 5))
    assert written == [(8, False), (8, False), (1, False), (1, True)]
    for entry in (0, 1):
        assert step(program, 8, entry, more=True).cycles < step(program, 8, entry).cycles - 1000


@pytest.mark.slow
@pytest.mark.parametrize("cut", [128, 75])
def test_long_prompts(checkpoint: Checkpoint, cut: int) -> None:
    ids, program = tokens(180, 3), compiler.compile(load("demo"), chip("tiny"), prefill=[32])
    compiled.compare(load("demo"), checkpoint, program, [ids[:cut], ids[cut:-1], ids[-1:]])


def test_a_chunk_across_tiles(checkpoint: Checkpoint) -> None:
    """From position 124 on, after positions that are all zero: one chunk over the boundary of two tiles."""
    model, program = load("demo"), compiler.compile(load("demo"), chip("tiny"), prefill=[8])
    chipped = compiled.session(program, checkpoint)
    engine = Engine(model, checkpoint, program.plan, 1, schedule=program.schedule)
    sequence = engine.sequence()
    for cache in sequence.caches:
        cache.append(*[np.zeros((124, 2, 32), np.float32)] * 2)
    chipped.lengths[0] = 124
    ids = tokens(8, 4)
    assert compiled.same_bits(chipped.step(ids), engine.step([(sequence, ids)])[0])


def test_a_loop_over_tiles(checkpoint: Checkpoint) -> None:
    """Of three tiles two come in a loop, whose trips load for each other; engines take turns at random."""
    ids, program = tokens(259, 7), compiler.compile(load("demo"), chip("tiny"), prefill=[32])
    compiled.compare(load("demo"), checkpoint, program, [ids[:256], *([t] for t in ids[256:])], seed=2)


def test_rows_summed_in_turn(checkpoint: Checkpoint) -> None:
    """On 32 lanes, over two tiles; the last one not full."""
    core = chip("tiny").core
    wide = replace(core, vector_lanes=32, scratchpad=replace(core.scratchpad, kibibytes=512))
    program = compiler.compile(load("demo"), replace(chip("tiny"), core=wide), prefill=[32, 8])
    ids = tokens(151, 8)
    compiled.compare(load("demo"), checkpoint, program, [ids[:110], ids[110:150], ids[150:]])


@pytest.mark.slow
def test_decode_over_several_tiles(program: Program, checkpoint: Checkpoint) -> None:
    compiled.compare(load("demo"), checkpoint, program, [[t] for t in tokens(140, 1)])


@pytest.mark.parametrize("columns", [64, pytest.param(128, marks=pytest.mark.slow)])
def test_engines_wider_than_a_block(checkpoint: Checkpoint, columns: int) -> None:
    """A command of attention then has more outputs than a group of channels."""
    model, core = load("demo"), chip("tiny").core
    wide = replace(core.matrix, columns=columns, rows=8)
    core = replace(core, matrix=wide, scratchpad=replace(core.scratchpad, kibibytes=1024))
    program = compiler.compile(model, replace(chip("tiny"), core=core), prefill=[8])
    ids = tokens(22, 6)
    compiled.compare(model, checkpoint, program, [ids[:3], ids[3:11], ids[11:12], ids[12:]])


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_engines_does_not_matter(program: Program, checkpoint: Checkpoint, seed: int) -> None:
    compiled.compare(load("demo"), checkpoint, program, [[t] for t in tokens(3, seed)], seed)


def test_saved_and_loaded(program: Program, checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "demo.program"
    program.save(path)
    again = Program.load(path)
    assert (again.code == program.code).all() and (again.origin == program.origin).all()
    for name in ("regions", "recipe", "entries", "cache", "chip", "plan", "schedule", "tensors", "identity"):
        assert repr(getattr(again, name)) == repr(getattr(program, name)), name
    assert (compiler.image(again, checkpoint) == compiler.image(program, checkpoint)).all()


def test_damaged_files(program: Program, tmp_path: Path) -> None:
    path = tmp_path / "demo.program"
    program.save(path)
    good = path.read_bytes()
    cases = [b"", good[:100], good[:-8], good + b"x", good[:-40] + bytes(40)]
    cases.append(good.replace(b'"version":"2"', b'"version":"0"'))
    middle = len(good) // 2
    cases.append(good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :])
    for bad in cases:
        path.write_bytes(bad)
        with pytest.raises(InputError) as caught:
            Program.load(path)
        assert "\n" not in str(caught.value)


def test_a_checkpoint_of_another_model(program: Program, checkpoint: Checkpoint) -> None:
    class Other:
        where = "other"

        def tensor(self, name: str) -> np.ndarray:
            x = np.asarray(checkpoint.tensor(name))
            return x[:-1] if name == "model.norm.weight" else x

    with pytest.raises(InputError, match=r"model\.norm\.weight.*127"):
        compiler.image(program, Other())


def test_what_a_chip_cannot_do_is_told_before_anything_runs() -> None:
    model, tiny = load("demo"), chip("tiny")
    for plan in ("widest", "mxfp8", "bf16-attention"):
        with pytest.raises(InputError, match="mxint8"):
            compiler.compile(model, tiny, plan)
    with pytest.raises(InputError, match="GiB"):
        compiler.compile(load("gpt-oss-120b"), tiny, context=1024)
    no_fp4 = replace(tiny, core=replace(tiny.core, matrix=replace(tiny.core.matrix, formats=("mxint8",))))
    with pytest.raises(InputError, match="mxfp4"):
        compiler.compile(model, no_fp4)
    small = replace(tiny.core.scratchpad, kibibytes=16)
    with pytest.raises(InputError, match="scratchpad"):
        compiler.compile(model, replace(tiny, core=replace(tiny.core, scratchpad=small)))


def test_bad_tokens(program: Program, checkpoint: Checkpoint) -> None:
    s = compiled.session(program, checkpoint)
    for bad in ([], [-1], [1024], [3] * 1025):
        with pytest.raises(InputError):
            s.step(bad)
    with pytest.raises(InputError):
        s.step([3], slot=1)
