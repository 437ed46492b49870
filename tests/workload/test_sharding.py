"""Sharded work adds up to the whole; arrays equal scalars; what cannot be split is refused."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.errors import InputError
from tapeout.model import available, load
from tapeout.workload.build import operators
from tapeout.workload.capacity import cache_bytes, weight_bytes
from tapeout.workload.formats import BITS, Formats
from tapeout.workload.operators import Collective, Operator, Step, totals
from tapeout.workload.parallelism import Parallelism
from tapeout.workload.speculation import Speculation

NAMES = [name for name, _ in available()]
SPLIT = {"attention.qkv", "attention.output", "experts.gate_up", "experts.down", "dense.gate_up", "dense.down",
         "shared.gate_up", "shared.down", "lm_head"}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_weights_held_are_the_checkpoint(name: str) -> None:
    model = load(name)
    # Formats are those of most of a role: the few FP32 tensors of some checkpoints are what is left.
    assert weight_bytes(model) == pytest.approx(model.bytes, rel=5e-5)


@pytest.mark.parametrize("name", NAMES)
def test_cache_is_the_models_own_count(name: str) -> None:
    model = load(name)
    formats = Formats.stored(model)
    for context in (1, 100, 5000):
        expected = model.cache_bytes(context)
        found = cache_bytes(model, context, formats=Formats(cache="bf16", index_cache="bf16"))
        state = sum(layer.attention.state_elements for layer in model.layers)
        if state:  # the convolution's last inputs are kept one fewer here, and in the activations' format
            assert found == pytest.approx(expected, rel=0.05)
        else:
            assert found == pytest.approx(expected, rel=1e-12)
    assert cache_bytes(model, 1000, formats=formats) > 0


@pytest.mark.parametrize("name", ["gpt-oss-120b", "llama-3.1-70b", "deepseek-v3", "qwen3-30b-a3b"])
@pytest.mark.parametrize("p", [
    Parallelism(tp=2), Parallelism(tp=4, ep=4), Parallelism(tp=8, ep=2), Parallelism(tp=2, pp=2, ep=2),
    Parallelism(tp=2, attention_dp=4, ep=8), Parallelism(attention_dp=8, ep=2),
])  # fmt: skip
def test_shards_sum_to_the_whole(name: str, p: Parallelism) -> None:
    model = load(name)
    if not all(layer.feed_forward.__class__.__name__ == "MixtureOfExperts" for layer in model.layers[-1:]):
        p = Parallelism(tp=p.tp, pp=p.pp, attention_dp=p.attention_dp)
    whole = {o.name: o for o in operators(model, Step.decode(64, 1000))}
    for o in operators(model, Step.decode(64, 1000), p):
        if o.name not in SPLIT or o.name not in whole:
            continue
        w = whole[o.name]
        if "experts" in o.name:
            # `share` follows the experts touched; the work is that of the mean chip
            touched = o.products * o.n * o.k * o.share * o.repeats * p.chips
            assert touched == pytest.approx(w.products * w.n * w.k * w.repeats, rel=1e-9)
        elif not (name == "qwen3-30b-a3b" and o.name == "attention.qkv" and p.tp > 4):  # 4 key heads
            assert o.macs * o.share * o.repeats * p.chips == pytest.approx(w.macs * w.repeats, rel=1e-9)


def test_key_heads_are_replicated_beyond_their_number() -> None:
    model = load("llama-3.1-70b")  # 8 key heads
    eight = {o.name: o for o in operators(model, Step.decode(1, 1000), Parallelism(tp=8))}
    sixteen = {o.name: o for o in operators(model, Step.decode(1, 1000), Parallelism(tp=16))}
    assert eight["attention.decode"].kv_read_bytes == sixteen["attention.decode"].kv_read_bytes
    assert sixteen["attention.decode"].macs == eight["attention.decode"].macs / 2
    assert cache_bytes(model, 100, Parallelism(tp=16)) == cache_bytes(model, 100, Parallelism(tp=8))


STEPS = st.builds(
    Step,
    decode_sequences=st.integers(1, 512),
    decode_context=st.integers(0, 100_000),
    decode_tokens=st.integers(1, 4),
    prefill_sequences=st.integers(0, 3),
    prefill_tokens=st.integers(1, 4096),
    prefill_context=st.integers(0, 20_000),
)
SHARDINGS = st.sampled_from(
    [(1, 1, 1, 1), (2, 2, 1, 1), (4, 4, 2, 1), (2, 8, 1, 4), (1, 2, 1, 2), (8, 1, 1, 1)]
)


@settings(max_examples=12, deadline=None)
@given(
    st.sampled_from(["gpt-oss-20b", "deepseek-v3", "qwen3.5-35b-a3b", "llama-4-scout", "deepseek-v3.2"]),
    st.lists(st.tuples(STEPS, SHARDINGS), min_size=2, max_size=5),
    st.sampled_from([0.0, 0.8]),
)
def test_arrays_equal_a_loop_over_scalars(
    name: str, points: list[tuple[Step, tuple[int, ...]]], skew: float
) -> None:
    model = load(name)
    step = Step(
        **{
            f.name: None if f.name == "prefill_heads" else np.array([getattr(s, f.name) for s, _ in points])
            for f in fields(Step)
        }
    )
    tp, ep, pp, dp = (np.array(x) for x in zip(*(p for _, p in points), strict=True))
    together = {
        o.name: o
        for o in operators(model, step, Parallelism(tp=tp, ep=ep, pp=pp, attention_dp=dp), skew=skew)
    }
    for i, (s, (tp, ep, pp, dp)) in enumerate(points):
        alone = operators(model, s, Parallelism(tp=tp, ep=ep, pp=pp, attention_dp=dp), skew=skew)
        for o in alone:
            whole = together[o.name]
            for f in fields(Operator):
                value = getattr(o, f.name)
                if f.name in ("name", "kind", "role", "weight_format", "activation_format", "collective"):
                    continue
                at_i = np.broadcast_to(getattr(whole, f.name), (len(points),))[i]
                assert at_i == pytest.approx(float(value), rel=1e-9, abs=1e-9), (o.name, f.name)
            if o.collective is not None and whole.collective is not None:
                at_i = np.broadcast_to(whole.collective.wire_bytes, (len(points),))[i]
                assert at_i == pytest.approx(float(o.collective.wire_bytes))
        missing = set(together) - {o.name for o in alone}
        for n in missing:  # what a point does not have does no work there
            work = together[n].macs * together[n].products
            assert np.broadcast_to(work, (len(points),))[i] == 0, n


@pytest.mark.parametrize(
    "name", ["gpt-oss-20b", "llama-3.1-8b", "deepseek-v3", "llama-4-scout", "gemma-3-4b"]
)
def test_chunked_prefill_sums_to_the_whole(name: str) -> None:
    model = load(name)
    whole = totals(operators(model, Step.prefill(1, 12_000, heads=0), latent="absorbed"))
    starts = np.array([0.0, 2048, 4096, 9000])
    sizes = np.array([2048.0, 2048, 4904, 3000])
    parts = totals(operators(model, Step.prefill(1, sizes, starts, heads=0), latent="absorbed"))
    assert np.sum(parts.macs) == pytest.approx(whole.macs, rel=1e-12)
    assert np.sum(parts.kv_write_bytes) == whole.kv_write_bytes
    assert np.sum(parts.kv_read_bytes) > whole.kv_read_bytes  # earlier keys are read again


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["gpt-oss-120b", "deepseek-v3.2", "qwen3.5-27b"]), STEPS)
def test_more_work_never_costs_less(name: str, step: Step) -> None:
    model = load(name)
    base = totals(operators(model, step))
    for more in (
        Step(**{**vars(step), "decode_sequences": step.decode_sequences + 1}),
        Step(**{**vars(step), "decode_context": step.decode_context + 1000}),
        Step(**{**vars(step), "decode_tokens": step.decode_tokens + 1}),
    ):
        t = totals(operators(model, more))
        for f in ("macs", "weight_bytes", "kv_read_bytes", "kv_write_bytes", "vector_operations"):
            assert getattr(t, f) >= getattr(base, f) * (1 - 1e-12), f


def test_collectives_follow_the_sharding() -> None:
    model = load("gpt-oss-120b")
    found = {o.name: o for o in operators(model, Step.decode(8, 100), Parallelism(tp=4, ep=4))}
    c = found["attention.all_reduce"].collective
    assert c is not None and found["attention.all_reduce"].repeats == 36
    assert c.wire_bytes == 2 * 3 / 4 * 8 * 2880 * 2
    assert "experts.dispatch" not in found  # every chip has every token already
    apart = {o.name: o for o in operators(model, Step.decode(8, 100), Parallelism(attention_dp=4, ep=4))}
    c = apart["experts.dispatch"].collective
    assert c is not None
    # 2 tokens a rank, each sent once to the groups that hold its 4 experts: 4 (1 - (3/4)^4) of 4
    assert c.payload_bytes == pytest.approx(2 * 4 * (1 - 0.75**4) * 2880 * 2)
    assert "attention.all_reduce" not in apart
    staged = {o.name: o for o in operators(model, Step.decode(8, 100), Parallelism(pp=4))}
    assert staged["pipeline.send"].repeats == 3 / 4
    assert Collective("send", 2, 2, 100.0).wire_bytes == 100
    assert Collective("all_gather", 1, 1, 100.0).wire_bytes == 0


@pytest.mark.parametrize("p, field", [
    (Parallelism(tp=3), "tp"), (Parallelism(tp=0), "tp"), (Parallelism(tp=2.5), "tp"), (Parallelism(pp=37), "pp"),
    (Parallelism(ep=2), "ep"), (Parallelism(tp=8, ep=3), "ep"), (Parallelism(tp=float("nan")), "tp"),
])  # fmt: skip
def test_what_cannot_be_split_is_refused(p: Parallelism, field: str) -> None:
    model = load("gpt-oss-120b")
    with pytest.raises(InputError, match=f"parallelism: {field}: found"):
        operators(model, Step.decode(1, 1), p)
    assert not p.valid(model).any()


@pytest.mark.parametrize("step, field", [
    (Step.decode(-1, 10), "decode_sequences"), (Step.decode(1, float("nan")), "decode_context"),
    (Step.prefill(1, np.array([5.0, -2.0])), "prefill_tokens"),
])  # fmt: skip
def test_impossible_steps_are_refused(step: Step, field: str) -> None:
    with pytest.raises(InputError, match=f"step: {field}: found"):
        operators(load("gpt-oss-20b"), step)


def test_valid_marks_each_point() -> None:
    p = Parallelism(tp=np.array([1, 2, 3, 64]), ep=np.array([1, 2, 1, 64]))
    assert p.valid(load("gpt-oss-120b")).tolist() == [True, True, False, True]
    assert not Parallelism(tp=2, ep=2).valid(load("llama-3.1-8b")).any()


def test_speculation() -> None:
    s = Speculation(drafts=3, acceptance=0.7)
    assert s.tokens_per_step == pytest.approx(1 + 0.7 + 0.49 + 0.343)
    assert Speculation(3, 1.0).tokens_per_step == 4
    assert Speculation(3, 0.0).tokens_per_step == 1
    model = load("llama-3.1-8b")
    t, one = totals(operators(model, s.step(2, 100))), totals(operators(model, Step.decode(2, 100)))
    assert t.weight_bytes == one.weight_bytes
    assert t.macs > 3.9 * one.macs
    for bad in ({"drafts": -1}, {"acceptance": 1.5}, {"acceptance": float("nan")}, {"draft_cost": -1}):
        with pytest.raises(InputError):
            Speculation(**bad)


def test_formats_are_known() -> None:
    assert Formats.stored(load("gpt-oss-120b")).experts == "mxfp4"
    assert Formats.stored(load("deepseek-v3")).experts == "fp8_block128"
    assert BITS["mxfp4"] == 4.25
    with pytest.raises(InputError, match="experts: found 'fp3'"):
        Formats(experts="fp3")
