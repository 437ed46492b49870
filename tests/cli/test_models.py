"""`tapeout models`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from tapeout.cli.app import app
from tapeout.model.catalog import names


def run(*arguments: str):
    return CliRunner().invoke(app, ["models", *arguments])


def test_table_names_every_model_in_full() -> None:
    result = run()
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(names())
    assert "…" not in result.stdout
    assert "116.83" in result.stdout and "60.77" in result.stdout


def test_json() -> None:
    result = run("openai/gpt-oss-120b", "--json")
    assert result.exit_code == 0
    (model,) = json.loads(result.stdout)["models"]
    assert model["parameters"] == 116_829_156_672
    assert model["checkpoint_bytes"] == sum(model["bytes_by_format"].values()) == 65_248_815_744
    assert len(json.loads(run("--json").stdout)["models"]) == len(names())


def test_examples_in_the_help_work() -> None:
    from tapeout.cli import models

    examples = [line.split()[2:] for line in (models.__doc__ or "").splitlines() if "tapeout models" in line]
    assert len(examples) == 2
    for arguments in examples:
        assert run(*arguments).exit_code == 0


@pytest.mark.parametrize("source", ["gpt-5-120b", "./nothing-there"])
def test_bad_name_is_one_line(source: str) -> None:
    result = run(source)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("tapeout: ") and result.stderr.count("\n") == 1


def test_a_folder_of_ones_own(tmp_path) -> None:
    from tapeout.model.catalog import resolve

    folder = tmp_path / "qwen3-4b"
    folder.mkdir()
    (folder / "config.json").write_text(resolve("qwen3-4b").text())
    (model,) = json.loads(run(str(folder), "--json").stdout)["models"]
    assert model["name"] == "qwen3-4b" and model["source"] is None
    (model,) = json.loads(run("qwen3-4b", "--json").stdout)["models"]
    assert model["source"] == "https://huggingface.co/Qwen/Qwen3-4B"
