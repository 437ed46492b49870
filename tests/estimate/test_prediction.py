"""Predictions behave like a machine, in bulk as one at a time; a calibration finds what made its data."""

import dataclasses

import numpy as np
import pytest

from tapeout.errors import InputError
from tapeout.estimate.accelerators import accelerator
from tapeout.estimate.calibration import calibrate, calibrate_serving
from tapeout.estimate.fitted import fitted, parse, read, write
from tapeout.estimate.parameters import ALL, Parameters
from tapeout.estimate.prediction import predict, predict_points, protocol_of
from tapeout.estimate.published import Point, Row, formats_of
from tapeout.model.load import load


def some_points() -> list[Point]:
    lengths = ((900.0, 900.0), (7300.0, 900.0), (900.0, 7300.0))
    return [
        Point(m, f, accelerator(key), engine, prompt, output, c, tp=tp)
        for name, precision in (("llama-3.1-8b", ""), ("llama-3.1-70b", "fp8"), ("gpt-oss-120b", ""))
        for m in [load(name)]
        for f in [formats_of(m, precision, "", "", [])]
        for key, engine in (("h100", "vllm"), ("b200", "trtllm"))
        for tp in (2, 8)
        for prompt, output in lengths
        for c in (4.0, 32.0, 128.0)
    ]


def test_bulk_equals_one_at_a_time() -> None:
    points = some_points()
    together = predict_points(points)
    for i in range(0, len(points), 11):
        alone = predict_points([points[i]])
        assert alone.tpot_s[0] == pytest.approx(together.tpot_s[i], rel=1e-12)
        assert alone.ttft_s[0] == pytest.approx(together.ttft_s[i], rel=1e-12)
        assert alone.joules_per_token[0] == pytest.approx(together.joules_per_token[i], rel=1e-12)


def test_more_load_is_slower_and_yields_more() -> None:
    p = predict("llama-3.1-70b", "h200", tp=4, precision="fp8", concurrency=np.array([1.0, 8, 32, 64]))
    assert np.all(np.diff(p.tpot_s) > 0) and np.all(np.diff(p.output_tokens_per_s) > 0)
    assert np.all(np.diff(p.joules_per_token) < 0) and np.all(np.diff(p.ttft_s) > 0)


def test_more_bandwidth_is_faster_and_more_chips_are_faster() -> None:
    at = {"precision": "fp8", "concurrency": 16, "output_tokens": 1024.0}
    assert (
        predict("llama-3.1-70b", "h200", tp=2, **at).tpot_s
        < predict("llama-3.1-70b", "h100", tp=2, **at).tpot_s
    )
    ranks = predict("llama-3.1-70b", "h200", tp=np.array([1, 2, 4, 8]), **at).tpot_s
    assert np.all(np.diff(ranks) < 0)


def test_what_does_not_fit_is_told() -> None:
    assert not predict("llama-3.1-405b", "h100", tp=4).fits
    full = predict("llama-3.1-70b", "h200", precision="fp8", prompt_tokens=8192.0, concurrency=512)
    assert full.fits and full.queue_limited and full.batch < 200


def test_bad_questions() -> None:
    with pytest.raises(InputError, match="tp"):
        predict("llama-3.1-8b", "h100", tp=5)
    with pytest.raises(InputError, match="accelerator"):
        predict("llama-3.1-8b", "abacus")


def test_the_interval_follows_what_was_measured() -> None:
    seen = load("llama-3.1-70b")
    assert protocol_of(seen, accelerator("h200")) == "configuration"
    assert protocol_of(seen, accelerator("mi355x")) == "accelerator"
    assert protocol_of(load("mixtral-8x7b"), accelerator("h200")) == "model"
    assert protocol_of(load("gpt-oss-120b"), accelerator("b200")) == "model", "measured, but not together"
    assert protocol_of(load("mixtral-8x7b"), accelerator("mi355x")) == "accelerator and model"


def test_ranks_prefill_side_by_side() -> None:
    at = {"prompt_tokens": 8000.0, "output_tokens": 1000.0, "ep": 32}
    few = predict("deepseek-r1", "gb200", attention_dp=32, concurrency=64.0, **at)
    many = predict("deepseek-r1", "gb200", attention_dp=32, concurrency=1024.0, **at)
    assert many.output_tokens_per_s > 1.5 * few.output_tokens_per_s


def synthetic(truth: Parameters, noise: float, bad: float) -> list[Row]:
    rng = np.random.default_rng(7)
    points = some_points()
    p = predict_points(points, truth)
    rows = []
    for i, point in enumerate(points):
        factor = np.exp(rng.normal(0, noise)) * (2.5 if rng.random() < bad else 1.0)
        measured = {"tpot_s": p.tpot_s[i] * factor, "ttft_s": p.ttft_s[i] * factor}
        rows.append(Row(i, "serving", {}, measured, point))
    return rows


def test_calibration_finds_the_parameters_that_made_the_data() -> None:
    wanted = {
        "memory": 0.70,
        "kernel_s": 5.5e-6,
        "engine.vllm.step_s": 6e-3,
        "engine.trtllm.sequence_s": 40e-6,
    }
    truth = Parameters.priors().replaced(wanted)
    rows = synthetic(truth, noise=0.02, bad=0.08)
    found, problem = calibrate_serving(rows)
    tpot, _ = problem.times(found)
    exact = predict_points([r.point for r in rows if r.point], truth).tpot_s
    assert np.median(np.abs(tpot / exact - 1)) < 0.02, "in spite of 8 % of rows that are 150 % off"
    for name, value in wanted.items():
        missed = abs(np.log(found.values[name] / value))
        assert missed < max(3 * found.deviations[name], 0.1), f"{name}: the stated uncertainty holds"
        assert found.deviations[name] <= ALL[name].spread * 1.001, "data only narrow what is believed"


def test_calibration_is_deterministic_and_survives_a_file(tmp_path) -> None:
    rows = synthetic(Parameters.priors(), noise=0.05, bad=0.0)[::5]
    first, second = calibrate(rows), calibrate(rows)
    assert first.values == second.values
    write(tmp_path / "a.toml", first)
    write(tmp_path / "b.toml", second)
    assert (tmp_path / "a.toml").read_bytes() == (tmp_path / "b.toml").read_bytes()
    again = read(tmp_path / "a.toml")
    assert again.values == pytest.approx(dict(first.values), rel=1e-5)


def test_power_is_found_too() -> None:
    truth = Parameters.priors().replaced({"power.active": 250.0, "power.memory_pj_per_byte": 70.0})
    points = [dataclasses.replace(p, engine="vllm") for p in some_points()]
    p = predict_points(points, truth)
    rows = [
        Row(i, "energy", {}, {"tpot_s": p.tpot_s[i], "joules": p.joules_per_token[i]}, point)
        for i, point in enumerate(points)
    ]
    found = calibrate(rows)
    predicted = predict_points(points, found).joules_per_token
    assert np.median(np.abs(predicted / p.joules_per_token - 1)) < 0.03


def test_a_fit_with_a_missing_or_foreign_parameter_is_refused() -> None:
    entries = {n: {"value": p.prior, "deviation": p.spread} for n, p in ALL.items()}
    good = {"parameters": {n: {"value": 1.0, "deviation": 0.1} for n in entries}}
    del good["parameters"]["memory"]
    with pytest.raises(InputError, match="memory"):
        parse(good, "x.toml")
    with pytest.raises(InputError, match="fudge"):
        parse({"parameters": {"fudge": {"value": 1.0, "deviation": 0.1}}}, "x.toml")
    assert fitted().provenance["measured"]["accelerators"] == ["b200", "h100", "h200"]
