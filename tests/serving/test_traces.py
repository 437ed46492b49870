"""Published traces are read whole; what is malformed is one line that names the line of the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import InputError
from tapeout.serving import traces
from tapeout.serving.requests import Requests
from tapeout.serving.synthetic import Diurnal, Lengths, poisson
from tapeout.serving.traces import servegen

SHARED = Path(__file__).parents[3] / "shared" / "traces"
published = pytest.mark.skipif(not SHARED.exists(), reason=f"the published traces are not at {SHARED}")


@published
@pytest.mark.parametrize(
    "name, count, prompt, output",
    [
        ("AzureLLMInferenceTrace_conv.csv", 19_366, 1155, 211),
        ("AzureLLMInferenceTrace_code.csv", 8_819, 2048, 28),
    ],
)
def test_azure_as_published(name: str, count: int, prompt: int, output: int) -> None:
    requests = traces.read(SHARED / name)
    assert len(requests) == count
    assert round(requests.prompt.mean()) == prompt and round(requests.output.mean()) == output
    assert 3400 < requests.duration < 3600


@published
def test_mooncake_as_published() -> None:
    requests = traces.read(SHARED / "conversation_trace.jsonl")
    assert len(requests) == 12_031 and requests.prefixes is not None
    assert all(len(p) * 512 <= n for p, n in zip(requests.prefixes, requests.prompt, strict=True))
    assert len({p[0] for p in requests.prefixes if p}) < len(requests)  # prefixes are shared


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_azure_2024_and_burstgpt(tmp_path: Path) -> None:
    azure = write(
        tmp_path / "a.csv",
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-12 00:00:00.003314+00:00,2399,6\n2024-05-12 00:00:01.5+00:00,76,15\n",
    )
    requests = traces.read(azure)
    np.testing.assert_allclose(requests.arrival, [0, 1.496686], atol=1e-6)
    burst = write(
        tmp_path / "b.csv",
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "45,ChatGPT,1087,0,1087,Conversation log\n5,ChatGPT,472,18,490,Conversation log\n9,GPT-4,7,3,10,API log\n",
    )
    requests = traces.read(burst)
    assert requests.arrival.tolist() == [0, 4] and requests.prompt.tolist() == [472, 7]
    assert "1 empty requests left out" in requests.source


def client(folder: Path, rate: float, family: str, shape: float) -> Path:
    windows = [f"{600 * i},{rate},2.0,{family},{shape},0.1" for i in range(8)] + ["4800,0,0,,0,0"]
    write(folder / "chunk-0-trace.csv", "\n".join(windows) + "\n")
    density = {"input_tokens": "{10: 0.25, 30: 0.75}", "output_tokens": "{1: 0.5, 2: 0.5}"}
    write(folder / "chunk-0-dataset.json", json.dumps({"0": density}))
    return folder / "chunk-0-trace.csv"


@pytest.mark.parametrize("family, shape", [("Gamma", 0.25), ("Gamma", 4.0), ("Weibull", 0.5)])
def test_servegen_draws_what_the_client_describes(tmp_path: Path, family: str, shape: float) -> None:
    path = client(tmp_path, 5.0, family, shape)
    requests = traces.read(path)
    assert requests.rate == pytest.approx(5.0, rel=0.12)
    assert requests.prompt.mean() == pytest.approx(25, rel=0.02) and set(requests.output.tolist()) == {1, 2}
    gaps = np.diff(requests.arrival)
    cv = {("Gamma", 0.25): 2.0, ("Gamma", 4.0): 0.5, ("Weibull", 0.5): 5**0.5}[family, shape]
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.12)
    again = servegen.read(path)
    np.testing.assert_array_equal(requests.arrival, again.arrival)
    assert len(traces.read(tmp_path, "servegen")) == len(requests)


@pytest.mark.parametrize(
    "name, text, complaint",
    [
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-13-01 00:00:00,1,1\n", "line 2: TIMESTAMP"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,1\n", "line 2"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,-3,1\n", "ContextTokens"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46,nan,1\n", "ContextTokens"),
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\n", "no requests"),
        ("a.csv", "when,what\n1,2\n", "known trace format"),
        ("a.csv", "", "known trace format"),
        (
            "m.jsonl",
            '{"timestamp": 0, "hash_ids": [], "input_length": "x", "output_length": 1}\n',
            "input_length",
        ),
        ("m.jsonl", '{"timestamp": 0, "hash_ids": [1]', "line 1"),
        (
            "m.jsonl",
            '{"timestamp": 0, "hash_ids": [[]], "input_length": 5, "output_length": 1}\n',
            "hash_ids",
        ),
        ("c-trace.csv", "0,1.5,1,Gamma,0,0\n", "shape"),
    ],
)
def test_malformed_traces_are_one_line(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / "c-dataset.json").write_text("{}")
    with pytest.raises(InputError, match=complaint) as caught:
        traces.read(write(tmp_path / name, text))
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=120), st.sampled_from(["", "azure", "mooncake", "burstgpt", "servegen"]))
def test_any_bytes_are_a_trace_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, blob: bytes, form: str
) -> None:
    path = tmp_path_factory.mktemp("trace") / "x-trace.csv"
    path.write_bytes(blob)
    try:
        assert isinstance(traces.read(path, form or None), Requests)
    except InputError as e:
        assert "\n" not in str(e)


def test_poisson_and_its_daily_rhythm() -> None:
    day = poisson(
        200_000, 200_000 / 86_400, Lengths(10), Lengths(300, "lognormal", cv=1.5), diurnal=Diurnal(0.5, 14.0)
    )
    assert day.output.mean() == pytest.approx(300, rel=0.02)
    assert day.output.std() / day.output.mean() == pytest.approx(1.5, rel=0.05)
    per_hour, _ = np.histogram(day.arrival, 24, (0, 86_400))
    assert int(np.argmax(per_hour)) in (13, 14) and per_hour.max() / per_hour.min() == pytest.approx(
        3, rel=0.1
    )
    gaps = np.diff(poisson(50_000, 2.0, Lengths(1), Lengths(1)).arrival)
    assert gaps.mean() == pytest.approx(0.5, rel=0.02) and gaps.std() == pytest.approx(0.5, rel=0.02)


def test_scaling_and_repeating_keep_the_requests() -> None:
    load = poisson(100, 1.0, Lengths(10), Lengths(5, "geometric"))
    assert load.scaled(4.0).rate == pytest.approx(4 * load.rate)
    assert load.repeated(3).rate == pytest.approx(load.rate) and len(load.repeated(3)) == 300
    with pytest.raises(InputError, match="rate scale"):
        load.scaled(0)
