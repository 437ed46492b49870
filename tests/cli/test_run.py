"""`tapeout run`: text out, what it took, and one line for every kind of bad input."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tapeout
from tapeout.cli.app import app
from tapeout.errors import InputError
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import SINGLE, Checkpoint
from tapeout.model.checkpoint.safetensors import write_safetensors
from tapeout.model.checkpoint.tokenizer import Tokenizer
from tapeout.numerics.plan import PRESETS
from tapeout.simulator.functional import Engine

pytest.importorskip("tokenizers")


def tapeout_run(*words: object, code: int = 0, stdin: bytes | None = None) -> Any:
    result = CliRunner().invoke(app, ["run", *map(str, words)], input=stdin)
    assert result.exit_code == code, result.output
    if code:
        lines = result.stderr.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("tapeout: "), result.stderr
    return result


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the demo, to be damaged."""
    return Path(
        shutil.copytree(demo.FOLDER, tmp_path / "demo", ignore=shutil.ignore_patterns("__pycache__", "*.py"))
    )


def test_text_on_stdout_and_the_times_on_stderr() -> None:
    result = tapeout_run("demo", "In the beginning", "--max-tokens", 40)
    assert len(result.stdout) > 40
    last = result.stderr.strip()
    assert re.fullmatch(r"\d+ \+ 40 tokens, mxint8\. Simulation: .* Chip tiny \(estimate\): .*J\.", last)
    assert "tokens/s" in last


def test_the_same_seed_gives_the_same_text_and_another_another() -> None:
    one, two, other = (tapeout_run("demo", "And", "--max-tokens", 30, "--seed", s).stdout for s in (7, 7, 8))
    assert one == two != other


def test_json_is_one_object_with_the_tokens_of_the_engine() -> None:
    result = tapeout_run(
        "demo", "And God said", "--temperature", 0, "--max-tokens", 20, "--chip", "edge", "--json"
    )
    found = json.loads(result.stdout)
    tokenizer, model = Tokenizer(demo.FOLDER), load("demo")
    engine = Engine(model, Checkpoint.open(demo.FOLDER), "mxint8")
    ids = tokenizer.encode("And God said")
    for token in found["tokens"]:
        assert token == int(np.argmax(engine.step([(engine.sequence(), ids)])[0]))
        ids.append(token)
    assert found["text"] == tokenizer.decode(found["tokens"])
    assert found["prompt_tokens"] == len(ids) - 20
    assert found["stopped"] == "length"
    assert found["chip"]["chip"] == "edge"
    assert found["chip"]["joules"] > 0
    assert found["chip"]["tokens_per_second"] == pytest.approx(19 / found["chip"]["decode_seconds"])


def examples() -> list[list[str]]:
    from tapeout.cli import run

    return [shlex.split(line)[2:] for line in (run.__doc__ or "").splitlines() if "tapeout run" in line]


def test_examples_in_the_help_work() -> None:
    assert len(examples()) == 4
    for words in examples():
        if "--waveform" not in words:
            tapeout_run(*words)


@pytest.mark.slow
@pytest.mark.verilator
def test_the_example_of_a_waveform_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build of its own, of minutes."""
    pytest.importorskip("amaranth")
    monkeypatch.chdir(tmp_path)
    for words in examples():
        if "--waveform" in words:
            tapeout_run(*words)
            body = (tmp_path / "token.vcd").read_text().split("$enddefinitions $end", 1)[1]
            assert body.split("#", 1)[1].startswith("5000000\n")


def test_out_and_stdin(tmp_path: Path) -> None:
    out = tmp_path / "run.json"
    tapeout_run("demo", "-", "--max-tokens", 3, "--out", out, stdin=b"And Moses said")
    assert len(json.loads(out.read_text())["tokens"]) == 3
    assert "UTF-8" in tapeout_run("demo", "-", code=2, stdin=b"\xff\xfe").stderr


def test_the_context_ends_a_run(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = 20
    (folder / "config.json").write_text(json.dumps(config))
    result = tapeout.run(folder, "And", temperature=0, max_tokens=100)
    assert result.stopped == "context"
    assert result.prompt_tokens + len(result.tokens) == 20
    message = tapeout_run(folder, "And it came to pass " * 10, code=2).stderr
    assert "prompt" in message and "at most 19" in message


def test_a_token_that_ends_a_text_ends_the_run_and_is_not_shown(folder: Path) -> None:
    greedy = tapeout.run(folder, "And God said", temperature=0, max_tokens=12)
    stop = greedy.tokens[5]
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [stop]}))
    ended = tapeout.run(folder, "And God said", max_tokens=12)  # greedy: the file does not ask for sampling
    first = greedy.tokens.index(stop)
    assert ended.stopped == "end"
    assert ended.tokens == greedy.tokens[: first + 1]
    assert ended.text == Tokenizer(folder).decode(greedy.tokens[:first])


def test_every_plan_runs() -> None:
    assert all(tapeout.run("demo", "And", plan=p, temperature=0, max_tokens=8).text for p in PRESETS)


def test_chat_shows_the_message_without_markers() -> None:
    result = tapeout.run("demo", "And it came to pass", chat=True, max_tokens=60, seed=1)
    assert result.text and "<|" not in result.text and "final" not in result.text[:10]


def test_pieces_join_to_the_text() -> None:
    pieces: list[str] = []
    result = tapeout.run("demo", "And", max_tokens=30, seed=5, on_text=pieces.append)
    assert "".join(pieces) == result.text
    assert len(pieces) > 10


def test_threads_do_not_change_the_tokens() -> None:
    one, two = (tapeout.run("demo", "And God", max_tokens=20, seed=3, threads=t).tokens for t in (1, 2))
    assert one == two


def test_a_chip_without_the_formats_or_the_room(tmp_path: Path) -> None:
    from tapeout.chip.toml import load as load_chip
    from tapeout.chip.toml import to_toml

    assert (
        "core.matrix.formats" in tapeout_run("demo", "x", "--plan", "widest", "--chip", "tiny", code=2).stderr
    )
    assert "No estimate" in tapeout_run("demo", "x", "--plan", "widest", "--max-tokens", 2).stderr
    text = to_toml(load_chip("tiny"))
    (tmp_path / "chip.toml").write_text(text.replace("clock_ghz = 1.0", "clock_ghz = 0.5"))
    slow = tapeout.run("demo", "And", chip=tmp_path / "chip.toml", max_tokens=4, seed=1).chip
    fast = tapeout.run("demo", "And", chip="tiny", max_tokens=4, seed=1).chip
    assert slow and fast and slow.decode_seconds > fast.decode_seconds


def damage(folder: Path, kind: str) -> None:
    weights = folder / SINGLE
    if kind == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1000])
    elif kind == "offsets":
        weights.write_bytes(weights.read_bytes().replace(b'"data_offsets":[0,', b'"data_offsets":[8,', 1))
    elif kind in ("missing", "shape", "dtype"):
        checkpoint = Checkpoint.open(folder)
        tensors = {n: (checkpoint.stored(n).dtype, np.array(checkpoint.tensor(n))) for n in checkpoint}
        name = "model.layers.1.mlp.experts.down_proj_blocks"
        dtype, array = tensors.pop(name)
        if kind == "shape":
            tensors[name] = (dtype, array[:, :-1])
        elif kind == "dtype":
            tensors[name] = ("I8", array.view(np.int8))
        write_safetensors(weights, tensors)
    elif kind == "shard":
        weights.unlink()
        (folder / f"{SINGLE}.index.json").write_text('{"weight_map": {"lm_head.weight": "gone.safetensors"}}')
    else:
        (folder / kind).unlink()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("truncated", "truncated"), ("offsets", "offset"), ("missing", "no such tensor"), ("shape", "as config.json"),
        ("dtype", "I8"), ("shard", "gone.safetensors"), ("tokenizer.json", "tokenizer.json"),
        ("config.json", "config.json"), (SINGLE, "model.safetensors"),
    ],
)  # fmt: skip
def test_a_damaged_checkpoint_is_one_line(kind: str, says: str, folder: Path) -> None:
    damage(folder, kind)
    assert says in tapeout_run(folder, "And", code=2).stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("gpt-oss-20b", "x"), "without its weights"),
        (("nothing-here", "x"), "nothing-here"),
        (("demo", ""), "no tokens"),
        (("demo", "x", "--max-tokens", "0"), "--max-tokens"),
        (("demo", "x", "--temperature", "-1"), "--temperature"),
        (("demo", "x", "--temperature", "nan"), "--temperature"),
        (("demo", "x", "--top-p", "0"), "--top-p"),
        (("demo", "x", "--top-k", "-1"), "--top-k"),
        (("demo", "x", "--plan", "fp3"), "--plan"),
        (("demo", "x", "--on", "gpu"), "--on"),
        (("demo", "x", "--chip", "no.toml"), "no.toml"),
        (("demo", "word " * 2000), "at most 1023"),
        (("demo", "a\udcff"), "UTF-8"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], says: str) -> None:
    assert says in tapeout_run(*words, code=2).stderr


def test_chat_needs_the_markers(folder: Path) -> None:
    table = json.loads((folder / "tokenizer.json").read_text())
    table["added_tokens"] = []
    table["model"]["vocab"] = {k.replace("<|start|>", "<?>"): v for k, v in table["model"]["vocab"].items()}
    (folder / "tokenizer.json").write_text(json.dumps(table))
    with pytest.raises(InputError, match="--chat"):
        tapeout.run(folder, "x", chat=True)
