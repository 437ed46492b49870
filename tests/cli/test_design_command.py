"""`tapeout design`: in process and as a real command, killed and resumed, and told off."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tapeout.cli.app import app

COMMAND = [sys.executable, "-c", "from tapeout.cli import main; main()", "design"]


def run(*arguments: str):
    return CliRunner().invoke(app, ["design", *arguments])


def test_summary_and_files(tmp_path: Path) -> None:
    out = tmp_path / "o"
    result = run("gpt-oss-20b", "--effort", "quick", "--out", str(out))
    assert result.exit_code == 0, result.output
    assert f"report: {out / 'report.html'}" in result.stdout
    assert "gpt-oss-20b-chip" in result.stdout and "H200" in result.stdout
    told = result.stdout.split("in the cycle simulator")[1]
    assert told.count("estimated") == told.count("simulated") == 2
    assert sorted(p.name for p in out.iterdir()) == [
        "chip.toml",
        "report.html",
        "results.parquet",
        "summary.json",
    ]


def test_json_is_one_object_and_steering_is_obeyed(tmp_path: Path) -> None:
    scenario = tmp_path / "s.toml"
    scenario.write_text(
        "tpot_ms = 30\nbatches = [4]\ncontexts = [2048]\n[[traffic]]\nprompt_tokens=900\noutput_tokens=100\n"
    )
    result = run(
        "qwen3-8b", "--json", "--effort", "quick", "--out", str(tmp_path / "o"), "--scenario", str(scenario), "--node",
        "N5", "--hbm", "hbm3", "--max-power", "600", "--batch", "16", "--objective", "tokens_per_dollar", "--seed", "5",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["chip"]["node"] == "N5" and data["chip"]["memory"]["kind"] == "hbm3"
    assert data["silicon"]["design_watts"] <= 600
    assert data["operation"]["batch"] == 16 and data["operation"]["tpot_ms"] <= 30
    assert data["objective"] == "tokens_per_dollar" and data["seed"] == 5
    assert [(c["context"], c["batch"]) for c in data["cases"]] == [(2048, 4)]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["no-such-model"], 2, "no-such-model"),
        (["gpt-oss-20b", "--node", "N1"], 2, "N1"),
        (["gpt-oss-20b", "--hbm", ""], 2, "memories"),
        (["gpt-oss-20b", "--objective", "beauty"], 2, "beauty"),
        (["gpt-oss-20b", "--max-power", "nan"], 2, "--max-power"),
        (["gpt-oss-20b", "--tpot", "0"], 2, "--tpot"),
        (["gpt-oss-20b", "--context", "99999999"], 2, "context"),
        (["gpt-oss-20b", "--context", "-1"], 2, "--context"),
        (["gpt-oss-20b", "--batch", "0"], 2, "--batch"),
        (["gpt-oss-20b", "--seed", "-3"], 2, "--seed"),
        (["gpt-oss-20b", "--workers", "0"], 2, "--workers"),
        (["gpt-oss-20b", "--scenario", "/does/not/exist.toml"], 2, "exist.toml"),
        (["gpt-oss-20b", "--out", "/dev/null/x"], 2, "/dev/null/x"),
        (["gpt-oss-20b", "--effort", "quick", "--max-power", "3"], 1, "power"),
        (["gpt-oss-20b", "--effort", "quick", "--tpot", "0.01"], 1, "TPOT"),
    ],
)
def test_told_in_one_line(arguments: list[str], code: int, words: str, tmp_path: Path) -> None:
    if "--out" not in arguments:
        arguments = [*arguments, "--out", str(tmp_path / "o")]
    result = run(*arguments)
    assert result.exit_code == code
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1 and lines[0].startswith("tapeout: ") and words in lines[0]
    assert result.stdout == ""


def test_a_hugging_face_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    config = {
        "architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 4, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 64,
        "vocab_size": 32000,
        "max_position_embeddings": 16384, "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": True,
        "hidden_act": "silu", "torch_dtype": "bfloat16", "attention_bias": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    monkeypatch.chdir(tmp_path)
    result = run(str(folder), "--effort", "quick")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "my-model.design" / "report.html").stat().st_size > 1_000_000


RESUMED = [
    *COMMAND, "gpt-oss-20b", "--effort", "normal", "--workers", "1", "--seed", "3", "--accelerators", "h200", "--out",
]  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run([*RESUMED, str(folder)], check=True, capture_output=True, timeout=300)
    return folder


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_killed_at_any_moment_and_resumed(how: signal.Signals, whole: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut"
    process = subprocess.Popen([*RESUMED, str(cut)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not list(cut.glob(".search/*/chunk-00003.parquet")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(how)
    _, err = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert process.returncode == 130 and b"Traceback" not in err and b"resumes" in err
    assert not (cut / "report.html").exists()
    subprocess.run([*RESUMED, str(cut)], check=True, capture_output=True, timeout=300)
    for name in ("results.parquet", "chip.toml", "summary.json", "report.html"):
        assert (cut / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (cut / ".search").exists()


def test_a_full_disk_is_told_and_earlier_results_stay(tmp_path: Path) -> None:
    # A limit on the size of files stands for the full disk: the report is larger than it.
    import resource

    out = tmp_path / "o"
    first = [*COMMAND, "gpt-oss-20b", "--effort", "quick", "--accelerators", "h200", "--out", str(out)]
    subprocess.run(first, check=True, capture_output=True, timeout=200)
    before = {p.name: p.read_bytes() for p in out.iterdir()}

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))

    done = subprocess.run(
        [*first, "--seed", "8"], preexec_fn=limit, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("tapeout: ") and "earlier results are intact" in line
    assert {p.name: p.read_bytes() for p in out.iterdir() if p.is_file()} == before


def test_the_examples_in_the_help_are_commands() -> None:
    from tapeout.cli import design

    examples = [
        line.split()[2:] for line in (design.__doc__ or "").splitlines() if "    tapeout design" in line
    ]
    assert len(examples) == 2
    help_text = CliRunner().invoke(app, ["design", "--help"], env={"COLUMNS": "200"}).stdout
    for arguments in examples:
        for word in arguments:
            if word.startswith("--"):
                assert word in help_text
