"""`tapeout verify`: the demo holds, a damaged one does not, and bad input is one line."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

os.environ.setdefault("OMP_NUM_THREADS", "1")
pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("tokenizers")

from tapeout.cli.app import app
from tapeout.model import demo
from tapeout.model.checkpoint.folder import Checkpoint

pytestmark = pytest.mark.torch


def tapeout_verify(*words: object, code: int = 0) -> Any:
    result = CliRunner().invoke(app, ["verify", *map(str, words)])
    assert result.exit_code == code, result.output
    return result


def test_the_demo_holds_and_every_number_is_in_the_json(tmp_path: Path) -> None:
    out = tmp_path / "verify.json"
    plans = ("--plan", "mxint8", "--plan", "bf16-attention", "--plan", "widest")
    result = tapeout_verify("demo", "--tokens", 2048, "--json", "--out", out, *plans)
    found = json.loads(result.stdout)
    assert found == json.loads(out.read_text())
    assert found["holds"] and found["positions"] == 2048
    narrow, attention, widest = found["plans"]
    assert widest["agreement"] >= 0.999 and widest["logit_error"] < narrow["logit_error"] / 10
    assert abs(narrow["perplexity_change"]) <= 0.005
    assert attention["agreement"] > narrow["agreement"]
    assert len(widest["layer_error"]) == 4 and widest["expert_agreement"] > 0.999
    assert {c["name"] for c in widest["checks"]} == {
        "margin", "router margin", "perplexity change", "agreement", "agreement with BF16's",
    }  # fmt: skip
    for plan in found["plans"]:
        margins = [d["margin"] for d in plan["disagreements"]]
        assert margins == sorted(margins, reverse=True) and plan["largest_margin"] == (margins or [0])[0]


@pytest.mark.slow
def test_examples_in_the_help_work() -> None:
    from tapeout.cli import verify

    examples = [line.split()[2:] for line in (verify.__doc__ or "").splitlines() if "tapeout verify" in line]
    assert len(examples) == 2
    for words in examples:
        tapeout_verify(*words)


def test_the_table(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("And God said, Let there be light: and there was light. " * 4)
    result = tapeout_verify("demo", "--plan", "widest", "--text", text)
    assert "transformers BF16" in result.stdout and "widest" in result.stdout and "holds" in result.stdout


def test_another_arithmetic_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A simulator that reads one expert matrix with its columns shifted by one: exit 1, and the reason."""
    folder = shutil.copytree(
        demo.FOLDER, tmp_path / "demo", ignore=shutil.ignore_patterns("*.py", "__pycache__")
    )
    real = Checkpoint.tensor

    def shifted(self: Checkpoint, name: str) -> np.ndarray:
        view = real(self, name)
        return np.roll(view, 1, axis=0) if name == "model.layers.3.mlp.experts.down_proj_blocks" else view

    monkeypatch.setattr(Checkpoint, "tensor", shifted)
    result = tapeout_verify(folder, "--plan", "mxint8", "--plan", "widest", "--tokens", 300, code=1)
    last = result.stderr.strip().splitlines()[-1]
    assert (
        "more than its formats explain" in last
        and "widest: agreement" in last
        and "mxint8: perplexity" in last
    )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("demo", "--plan", "fp3"), "--plan"),
        (("nowhere",), "nowhere"),
        (("gpt-oss-20b",), "without its weights"),
        (("demo", "--text", "absent.txt"), "absent.txt"),
    ],
)
def test_bad_input_is_one_line(words: tuple[str, ...], says: str) -> None:
    last = tapeout_verify(*words, code=2).stderr.strip().splitlines()[-1]
    assert last.startswith("tapeout: ") and says in last


def test_an_empty_text(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").write_text("")
    assert "fewer than two tokens" in tapeout_verify("demo", "--text", tmp_path / "empty.txt", code=2).stderr
