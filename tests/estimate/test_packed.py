"""The packed equations are the step's equations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.estimate.accelerators import accelerator, machine
from tapeout.estimate.calibration import build
from tapeout.estimate.engines import ENGINES, engine
from tapeout.estimate.parameters import ALL, Parameters
from tapeout.estimate.prediction import predict_points
from tapeout.estimate.published import Point, formats_of
from tapeout.model.load import load

MODELS = {name: load(name) for name in ("llama-3.1-8b", "gpt-oss-20b", "deepseek-v3", "qwen3-30b-a3b")}


@st.composite
def points(draw: st.DrawFn) -> Point:
    model = MODELS[draw(st.sampled_from(sorted(MODELS)))]
    tp, rank = draw(st.sampled_from([(1, 1), (2, 1), (4, 1), (8, 1), (1, 8), (2, 4), (16, 1)]))
    experts = model.experts or 0
    ep = draw(st.sampled_from([1, tp * rank])) if experts else 1
    precision = draw(st.sampled_from(["", "fp8", "nvfp4", "bf16"]))
    return Point(
        model,
        formats_of(model, precision, "", "", []),
        accelerator(draw(st.sampled_from(["h100", "b200", "a100", "mi300x", "tpu-v6e"]))),
        draw(st.sampled_from([*ENGINES, ""])),
        prompt=draw(st.floats(1, 40_000)),
        output=draw(st.floats(1, 20_000)),
        concurrency=draw(st.floats(0.5, 3000)),
        tp=tp, attention_dp=rank, ep=ep, pp=draw(st.sampled_from([1, 2])),
        wait_steps=draw(st.sampled_from([0.0, 20.0])),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(st.lists(points(), min_size=1, max_size=4), st.integers(0, 2**32 - 1))
def test_packed_times_equal_the_definition(chosen: list[Point], seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = Parameters({n: x.prior * float(np.exp(rng.normal(0, 0.3))) for n, x in ALL.items()})
    p = p.replaced({"overlap": float(rng.uniform(0, 1)), "routing_skew": 0.5})
    whole = predict_points(chosen, p)
    problem = build(chosen, p, whole.batch)
    tpot, ttft = problem.times(p)
    assert tpot == pytest.approx(whole.tpot_s, rel=1e-9)
    queueing = whole.ttft_s > ttft * (1 + 1e-9)  # the wait for memory is no part of the fit
    assert ttft[~queueing] == pytest.approx(whole.ttft_s[~queueing], rel=1e-9)


def test_machines_of_a_setting_differ_in_fitted_numbers_only() -> None:
    p = Parameters.priors()
    m = machine(accelerator("h100"), p, engine("vllm", p))
    assert m.overheads.step_s == ALL["engine.vllm.step_s"].prior
    assert machine(accelerator("h100"), p).overheads.step_s == 0
