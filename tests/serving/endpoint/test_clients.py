"""Load generators and an evaluation harness as their users run them: `pytest -m clients`, where they are installed
(the `clients` extra, or their commands on PATH)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tapeout.model import demo
from tapeout.serving.endpoint.job import Call
from tapeout.serving.endpoint.server import Running, running
from tapeout.serving.endpoint.settings import Settings
from tapeout.serving.requests import Requests
from tapeout.serving.simulate import simulate

pytestmark = pytest.mark.clients
PACE = 20_000.0  # a step of 8 µs takes 160 ms: what HTTP and a Python client add is small beside it
CLIENTS, COUNT, PROMPT, OUTPUT = 4, 16, 32, 12


def run(name: str, *arguments: str, cwd: Path, **environment: str) -> str:
    """Run a command; its output. Skips where it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "COLUMNS": "200", **environment}
    done = subprocess.run(
        [found, *arguments], cwd=cwd, env={**os.environ, **offline}, capture_output=True, text=True, timeout=400
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture
def paced() -> Iterator[tuple[Running, list[Call]]]:
    """The demo at the chip's own speed, slowed down, and every call that reaches its engine."""
    settings = Settings(
        port=0, threads=1, log_level="error", max_sequences=8, max_step_tokens=64, pace=PACE, prefix_caching=False
    )  # fmt: skip
    with running(settings) as found:
        engine = found.endpoint.engine
        calls: list[Call] = []
        submit = engine.submit

        def watched(call: Call) -> None:
            calls.append(call)
            submit(call)

        engine.submit = watched  # type: ignore[method-assign]
        yield found, calls


def predicted(at: Running, calls: list[Call]) -> dict[str, float]:
    """Mean chip seconds of the first token, of those after it, and of a request, in the simulation of what arrived
    when it arrived. (A closed loop predicted from its parameters alone is in test_chip_time.)"""
    jobs = sorted((job for call in calls for job in call.all), key=lambda j: (j.ledger.arrival, j.number))
    start = jobs[0].ledger.arrival
    load = Requests(
        np.array([j.ledger.arrival - start for j in jobs]),
        np.array([len(j.prompt) for j in jobs]),
        np.array([j.produced for j in jobs]),
    )
    model = at.endpoint.served.model
    found = simulate(model, "flagship", load, max_sequences=8, max_step_tokens=64).outcome.records.rows()
    first = found["first_token_s"]
    return {
        "ttft": float(np.mean(first - found["arrival_s"])),
        "tpot": float(np.mean((found["finish_s"] - first) / (found["output_tokens"] - 1))),
        "e2e": float(np.mean(found["finish_s"] - found["arrival_s"])),
    }


def agree(measured: dict[str, float], expected: dict[str, float], client: float = 0.015) -> None:
    """Means of what a client measured, seconds of wall time, against chip seconds: within 5 %, or what HTTP and the
    client itself take before a first token."""
    for name, value in measured.items():
        own = 0.0 if name == "tpot" else client
        assert value == pytest.approx(expected[name] * PACE, rel=0.05, abs=own), name


def test_lm_eval(endpoint: Running, tmp_path: Path) -> None:
    """Multiple choice, generation and rolling perplexity, against the same computed from the simulator."""
    rows = [
        {"question": "And the LORD said unto", "choices": [" Moses", " xylophone"], "answer": 0},
        {"question": "In the beginning God created the", "choices": [" qqqq", " heaven"], "answer": 1},
    ]
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    common = (
        f"dataset_path: json\ndataset_kwargs:\n  data_files:\n    test: {tmp_path}/data.jsonl\n"
        "test_split: test\ndoc_to_text: '{{question}}'\n"
    )
    tasks = {
        "choice": "output_type: multiple_choice\ndoc_to_choice: '{{choices}}'\ndoc_to_target: answer\n"
        "target_delimiter: ''\nmetric_list:\n  - metric: acc\n",
        "generation": "output_type: generate_until\ndoc_to_target: '{{choices[answer]}}'\ngeneration_kwargs:\n"
        "  until: [',']\n  max_gen_toks: 8\n  temperature: 0\nmetric_list:\n  - metric: exact_match\n",
        "rolling": "output_type: loglikelihood_rolling\ndoc_to_target: '{{question}}'\n"
        "metric_list:\n  - metric: byte_perplexity\n",
    }
    for name, text in tasks.items():
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\n{common}{text}")
    where = f"base_url={endpoint.url}/v1/completions,tokenizer={demo.FOLDER}"
    model = f"model=demo,{where},num_concurrent=2,max_length=1024"
    run(
        "lm_eval", "run", "--model", "local-completions", "--model_args", model, "--tasks", ",".join(tasks),
        "--include_path", str(tmp_path), "--output_path", str(tmp_path / "out"),
        cwd=tmp_path, HF_HOME=str(tmp_path / "hf"),
    )  # fmt: skip
    (path,) = (tmp_path / "out").rglob("results*.json")
    results = json.loads(path.read_text())["results"]
    assert results["choice"]["acc,none"] == 1.0
    served = endpoint.endpoint.served
    total, size = 0.0, 0
    for row in rows:  # the rolling log-likelihood begins after the begin-of-text token
        tokens = [0, *served.tokenizer.plain(row["question"])]
        logits = served.backend.step([(served.backend.sequence(), tokens)], every=True)[0].astype(np.float64)
        values = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
        total += sum(values[i, t] for i, t in enumerate(tokens[1:]))
        size += len(row["question"].encode())
    assert results["rolling"]["byte_perplexity,none"] == pytest.approx(np.exp(-total / size), rel=1e-6)


def test_guidellm_measures_what_is_predicted(paced: tuple[Running, list[Call]], tmp_path: Path) -> None:
    at, calls = paced
    run(
        "guidellm", "run", "--backend", f"kind=openai_http,target={at.url},model=demo,request_format=/v1/completions",
        "--profile", f"kind=concurrent,streams={CLIENTS}", "--constraint", f"kind=max_requests,count={COUNT}",
        "--tokenizer", f"kind=huggingface_auto,model={demo.FOLDER}",
        "--data", f"kind=synthetic_text,prompt_tokens={PROMPT},output_tokens={OUTPUT}",
        cwd=tmp_path, HF_HOME=str(tmp_path / "hf"),
    )  # fmt: skip
    (result,) = json.loads((tmp_path / "benchmarks.json").read_text())["benchmarks"]
    metrics = {
        k: result["metrics"][k]["successful"]["mean"]
        for k in ("time_to_first_token_ms", "inter_token_latency_ms", "request_latency")
    }
    assert result["metrics"]["request_totals"]["successful"] == COUNT
    measured = {
        "ttft": metrics["time_to_first_token_ms"] / 1e3,
        "tpot": metrics["inter_token_latency_ms"] / 1e3,
        "e2e": metrics["request_latency"],
    }
    agree(measured, predicted(at, calls))


def test_aiperf_measures_what_is_predicted(paced: tuple[Running, list[Call]], tmp_path: Path) -> None:
    at, calls = paced
    # offline it takes tokenizers from a cache of the Hub only
    cached = tmp_path / "hf" / "hub" / "models--tapeout--demo"
    commit = "0" * 40
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    (cached / "snapshots" / commit).mkdir(parents=True)
    for path in demo.FOLDER.glob("*.json"):
        shutil.copy(path, cached / "snapshots" / commit)
    run(
        "aiperf", "profile", "--model", "demo", "--url", at.url, "--endpoint-type", "completions", "--streaming",
        "--tokenizer", "tapeout/demo", "--concurrency", str(CLIENTS), "--request-count", str(COUNT),
        "--synthetic-input-tokens-mean", str(PROMPT), "--synthetic-input-tokens-stddev", "0",
        "--output-tokens-mean", str(OUTPUT), "--extra-inputs", "ignore_eos:true",
        "--extra-inputs", "skip_special_tokens:false",  # a token without text is none to it "--use-server-token-count",
        "--artifact-dir", str(tmp_path / "out"), "--ui", "none",
        cwd=tmp_path, HF_HOME=str(tmp_path / "hf"),
    )  # fmt: skip
    result: dict[str, Any] = json.loads((tmp_path / "out" / "profile_export_aiperf.json").read_text())
    measured = {
        "ttft": result["time_to_first_token"]["avg"] / 1e3,
        "tpot": result["inter_token_latency"]["avg"] / 1e3,
        "e2e": result["request_latency"]["avg"] / 1e3,
    }
    # its own first-token latency against an idle, unpaced endpoint is 60 ms and more on two busy cores
    agree(measured, predicted(at, calls), client=0.15)
    scraped = (tmp_path / "out" / "server_metrics_export.json").read_text()
    assert "vllm:num_requests_running" in scraped and "tapeout:chip_joules" in scraped
