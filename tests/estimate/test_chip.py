"""The chip estimate: bounds that physics sets, limits that can be worked out by hand, equal shapes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from chip_cases import design, random_designs
from hypothesis import given, settings
from hypothesis import strategies as st

from tapeout.chip.designs import Designs
from tapeout.chip.spec import ChipSpec, Core, MatrixEngine
from tapeout.chip.toml import available as chips
from tapeout.chip.toml import load as load_chip
from tapeout.estimate.chip import estimate_chips
from tapeout.estimate.chip_breakdown import breakdown, table
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_grid import estimate_grid
from tapeout.estimate.chip_memory import Flow
from tapeout.estimate.chip_work import ChipWork, chip_formats
from tapeout.estimate.step import estimate_step
from tapeout.model import available, load
from tapeout.physical.views import shipped
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Step, totals
from tapeout.workload.parallelism import Parallelism

UNCERTAIN = "memories.hbm3e.energy"
MODELS = ["gpt-oss-120b", "llama-3.1-8b", "deepseek-v3.2", "qwen3.5-27b", "llama-4-scout"]


def formats(name: str) -> Formats:
    return chip_formats(load(name), ChipSpec())


def work(name: str, step: Step, p: Parallelism | None = None) -> ChipWork:
    return ChipWork.of(load(name), step, p, formats(name))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("step", [Step.decode(1, 1000), Step.decode(64, 8000), Step.prefill(1, 4096)])
def test_never_faster_than_its_parts_allow(name: str, step: Step) -> None:
    d, w = random_designs(200), work(name, step)
    e = estimate_chips(d, w, dtype=np.float64)
    t = totals(w.operators)
    assert (e.seconds > t.memory_bytes / d.memory_bandwidth).all()
    assert (e.seconds > t.vector_operations / (d.cores * d.vector_lanes * d.clock_hz)).all()
    cycles = sum(t.macs_by_format[f] / (d.rate[f] * d.ways(f)) for f in t.macs_by_format)
    assert (e.seconds > cycles / (d.rows * d.columns * 32 * d.cores * d.clock_hz) * (1 - 1e-9)).all()
    assert (e.joules > e.seconds * d.idle_watts).all()
    least = t.memory_bytes * d.joules_per_memory_byte + sum(
        t.macs_by_format[f] * d.joules_per_mac[f] for f in t.macs_by_format
    )
    assert (e.joules > least).all()


def test_decode_is_bound_by_memory() -> None:
    w = work("gpt-oss-120b", Step.decode(1, 1000))
    e = estimate_chips(design(), w, dtype=np.float64)
    least = totals(w.operators).memory_bytes / (9.6e12 * 0.92)
    assert least < e.seconds < 1.15 * least


def test_prefill_is_bound_by_the_matrix_engine() -> None:
    d, w = (
        design(rows=8, columns=32, vector_lanes=512, scratchpad_bytes_per_cycle=8192, scratchpad_bytes=2**24),
        work("llama-3.1-8b", Step.prefill(1, 8192)),
    )
    e = estimate_chips(d, w, dtype=np.float64)
    t = totals(w.operators)
    assert (
        t.macs / d.peak_macs("mxint8") < e.seconds < 4 * t.macs / d.peak_macs("mxint8")
    )  # attention, tile after tile, takes two thirds of it


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(MODELS),
    st.sampled_from([Step.decode(1, 500), Step.decode(32, 4000), Step.prefill(2, 700, 300)]),
    st.sampled_from(["memory_bandwidth", "vector_lanes", "clock_hz", "scratchpad_bytes_per_cycle", "port_bytes",
                     "noc_bytes", "scratchpad_bytes", "outstanding"]),
    st.integers(0, 1000),
)  # fmt: skip
def test_more_of_a_resource_is_never_slower(name: str, step: Step, resource: str, seed: int) -> None:
    d, w = random_designs(20, seed), work(name, step)
    more = replace(d, **{resource: np.asarray(getattr(d, resource)) * 2})
    if resource == "port_bytes":  # a word of the scratchpad has to take what a port brings
        more = replace(more, scratchpad_bytes_per_cycle=more.scratchpad_bytes_per_cycle * 2)
    slow = estimate_chips(d, w, dtype=np.float64).seconds
    # Larger commands, and more rows of queries at once, come out less even over the cores; a pass of more lanes than a
    # row of 128 positions has takes more banks all the same, and a port wider than that row brings some in vain. Of a
    # wider word two passes that go together are more often in the same. And what of a layer's weights loads beside its
    # attention is counted from the mean over kinds of layer: the last thousandth may go the other way.
    most: Any = {"scratchpad_bytes": 0.25, "vector_lanes": 0.1, "scratchpad_bytes_per_cycle": 5e-3}.get(
        resource, 1e-3
    )
    if resource == "port_bytes":
        most = np.where(np.asarray(d.port_bytes) >= 128, 0.5, 5e-3)
    assert (estimate_chips(more, w, dtype=np.float64).seconds <= slow * (1 + most)).all()


def test_longer_context_and_larger_batch_cost_more() -> None:
    d = random_designs(50)
    batch, context = np.array([1.0, 4, 16, 64, 256]), np.array([1e2, 1e3, 1e4, 1e5])
    for name in MODELS:
        e = estimate_chips(d, work(name, Step.decode(batch, 1000.0)), dtype=np.float64).seconds
        assert (np.diff(e, axis=1) > -1e-9).all()
        e = estimate_chips(d, work(name, Step.decode(8.0, context)), dtype=np.float64).seconds
        # longer products are split over more cores, whose inputs take less long to come
        assert (np.diff(e, axis=1) > -2e-3 * e[:, 1:]).all()


@pytest.mark.parametrize("name", ["gpt-oss-120b", "deepseek-v3.2"])
def test_array_equals_scalars_and_single_precision_is_enough(name: str) -> None:
    d = random_designs(30, 5)
    batch, context = np.array([1.0, 20, 300]), np.array([100.0, 5000, 40000])
    tp, ep = np.array([1, 2, 8]), np.array([1, 2, 4])
    w = work(name, Step.decode(batch, context), Parallelism(tp=tp, ep=ep))
    whole = estimate_chips(d, w, dtype=np.float64)
    quick = estimate_grid(d, w, threads=2)
    direct = estimate_chips(d, w)
    assert quick.seconds.dtype == np.float32 and quick.seconds.shape == (30, 3)
    assert np.array_equal(quick.seconds, direct.seconds) and np.array_equal(quick.joules, direct.joules)
    assert np.array_equal(quick.fits, whole.fits)
    # Rounding may tip a partial tile over now and then; elsewhere seven digits stay four.
    close = np.abs(quick.seconds / whole.seconds - 1) < 1e-4
    assert close.mean() > 0.9
    for j in range(3):
        one = work(name, Step.decode(batch[j], context[j]), Parallelism(tp=int(tp[j]), ep=int(ep[j])))
        for i in (0, 13, 29):
            e = estimate_chips(d[i : i + 1], one, dtype=np.float64)
            assert whole.seconds[i, j] == pytest.approx(e.seconds.item(), rel=1e-9)
            assert whole.joules[i, j] == pytest.approx(e.joules.item(), rel=1e-9)


def test_capacity_and_missing_formats_do_not_fit() -> None:
    w = work("gpt-oss-120b", Step.decode(np.array([1.0, 1e5]), 1000.0))
    assert estimate_chips(design(), w).fits.tolist() == [True, False]
    assert not estimate_chips(design(memory_capacity=60e9), w).fits.any()
    narrow = design(rate={"mxfp4": 1.0, "mxint8": 0.0, "mxfp8": 0.0, "bf16": 0.0})
    assert not estimate_chips(narrow, w).fits.any()
    split = work("gpt-oss-120b", Step.decode(1.0, 10.0), Parallelism(tp=np.array([1, 2, 3])))
    assert estimate_chips(design(), split).fits.tolist() == [True, True, False]


def test_formats_follow_what_the_engine_takes() -> None:
    model = load("gpt-oss-120b")
    f = chip_formats(model, ChipSpec())
    assert (f.experts, f.attention, f.lm_head, f.activation, f.cache) == ("mxfp4", *["mxint8"] * 4)
    wide = ChipSpec(core=Core(matrix=MatrixEngine(formats=("mxfp8", "bf16"))))
    f = chip_formats(model, wide)
    assert (f.experts, f.attention, f.activation) == ("mxfp8", "bf16", "mxfp8")
    assert chip_formats(load("deepseek-v3"), wide).experts == "mxfp8"
    assert chip_formats(load("deepseek-v3"), ChipSpec()).experts == "mxint8"


def test_spilling_costs_traffic() -> None:
    w = work("llama-3.1-8b", Step.prefill(1, 8192))
    large = estimate_chips(design(scratchpad_bytes=2**24), w, breakdown=True, dtype=np.float64)
    small = estimate_chips(design(scratchpad_bytes=2**16), w, breakdown=True, dtype=np.float64)
    least = totals(w.operators).memory_bytes
    assert sum(t.traffic_bytes for t in large.stage_times) == pytest.approx(least, rel=1e-9)
    assert sum(t.traffic_bytes for t in small.stage_times) > 3 * least


def test_more_chips_are_faster_until_the_network_eats_it() -> None:
    tp = np.array([1, 2, 4, 8])
    w = work("llama-3.1-70b", Step.decode(8.0, 4000.0), Parallelism(tp=tp))
    e = estimate_chips(design(), w, dtype=np.float64)
    assert (np.diff(e.seconds) < 0).all()
    slow = estimate_chips(design(scale_up_bandwidth=1e8), w, dtype=np.float64)
    assert slow.seconds[3] > slow.seconds[0]
    # Twice the scratchpads hide a little more of the loads: not much better than ideal.
    assert (e.seconds >= 0.98 * e.seconds[0] / tp).all()


@pytest.mark.parametrize("name", ["gpt-oss-120b", "llama-3.1-8b"])
@pytest.mark.parametrize("batch", [1, 128])
def test_decode_agrees_with_the_equations_of_every_accelerator(name: str, batch: int) -> None:
    # Bound by memory, what tiles, ports, mesh and latency cost is little, and prefetching gains less.
    w, d = work(name, Step.decode(batch, 2000)), design(vector_lanes=512)
    ideal = estimate_step(d.machine(), w.operators)
    ours = estimate_chips(d, w, dtype=np.float64)
    # A softmax sums 8 elements a cycle, whatever the lanes, and its instructions wait for each other: that shows with
    # many sequences of many heads; of 128 rows only so many meet weights that have room.
    most = 1.2 if batch == 1 else 1.4 if name == "gpt-oss-120b" else 2.8
    assert 0.9 * ideal.time_s < ours.seconds < most * ideal.time_s


def test_specs_become_arrays() -> None:
    spec = ChipSpec(clock_ghz=1.25, cores=4)
    one, many = DesignArrays.of(spec), DesignArrays.of(Designs.from_specs([ChipSpec(), spec]))
    assert one.shape == () and many.shape == (2, 1)
    for f in ("mxfp4", "mxint8", "mxfp8", "bf16"):
        expected = spec.core.matrix.macs_per_cycle(f) * 4 * 1.25e9
        assert one.peak_macs(f) == expected == many.peak_macs(f)[1, 0]
    assert one.memory_capacity == spec.memory.stacks * spec.memory.gibibytes_per_stack * 2**30
    w = work("gpt-oss-120b", Step.decode(np.array([1.0, 8]), 1000.0))
    alone, both = (estimate_chips(d, w, dtype=np.float64) for d in (one, many))
    assert both.seconds.shape == (2, 2)
    assert both.seconds[1] == pytest.approx(alone.seconds)
    assert both.joules[1] == pytest.approx(alone.joules)
    view = shipped().sampled(np.full((3, 1), 0.9), [UNCERTAIN])
    sampled = DesignArrays.of(Designs.from_specs([ChipSpec(), spec]), view)
    assert sampled.shape == (6, 1) and sampled.rows[1, 0] == sampled.rows[5, 0]
    assert (sampled.joules_per_memory_byte[::2] > many.joules_per_memory_byte[0]).all()


def test_points_without_a_part_are_those_of_a_step_without_it() -> None:
    # One array of points, of which some only decode, some only prefill, some both.
    step = Step(
        decode_sequences=np.array([8.0, 0, 8]), decode_context=np.array([900.0, 0, 900]),
        prefill_sequences=np.array([0.0, 1, 1]), prefill_tokens=np.array([0.0, 512, 512]),
    )  # fmt: skip
    for name in ("gpt-oss-120b", "deepseek-v3", "qwen3.5-27b"):
        together = estimate_chips(random_designs(10), work(name, step), dtype=np.float64)
        alone = [Step.decode(8.0, 900.0), Step.prefill(1.0, 512.0)]
        for i, s in enumerate(alone):
            e = estimate_chips(random_designs(10), work(name, s), dtype=np.float64)
            assert together.seconds[:, i] == pytest.approx(e.seconds[:, 0], rel=1e-9)
            assert together.joules[:, i] == pytest.approx(e.joules[:, 0], rel=1e-9)
        assert (together.seconds[:, 2] > together.seconds[:, :2].max(axis=1)).all()
        # Together they have more rows, which may take one more command.
        assert (together.seconds[:, 2] < 1.01 * together.seconds[:, :2].sum(axis=1)).all()


def test_breakdown_adds_up_and_names_what_binds() -> None:
    w = work("gpt-oss-120b", Step.decode(1.0, 1000.0))
    e, lines = breakdown(design(), w)
    assert sum(x.seconds for x in lines) == pytest.approx(float(e.seconds), rel=0.01)
    assert sum(x.joules for x in lines) + 120 * e.seconds == pytest.approx(float(e.joules))
    named = {x.name: x for x in lines}
    assert named["experts.gate_up"].bound == named["lm_head"].bound == "memory"
    assert named["router.top_k"].bound == "latency"
    assert all(0 <= x.memory_share <= 1 and 0 <= x.matrix_share <= 1 for x in lines)
    text = table(design(), w)
    assert all(x.name in text for x in lines) and "mean power" in text
    _, lines = breakdown(design(vector_lanes=512), work("llama-3.1-8b", Step.prefill(1, 4096)))
    assert {x.name: x for x in lines}["dense.gate_up"].bound == "matrix"


@pytest.mark.parametrize("chip", chips())
def test_every_shipped_model_on_every_shipped_chip(chip: str) -> None:
    spec = load_chip(chip)
    d = DesignArrays.of(spec)
    for name, _ in available():
        model = load(name)
        f = chip_formats(model, spec)
        for step in (Step.decode(np.array([1.0, 32]), 3000.0), Step.prefill(1.0, np.array([100.0, 5000]))):
            w = ChipWork.of(model, step, Parallelism(tp=np.array([1, 4])), f)
            e = estimate_chips(d, w)
            one_chip = spec.links.scale_up_lanes == 0  # no links: nothing to be shared
            assert np.isfinite(e.seconds[0]) and (one_chip or np.isfinite(e.seconds[1])), name
            assert (e.seconds > 0).all() and not (one_chip and e.fits[1]), name


def test_requests_in_flight_bound_a_port() -> None:
    """outstanding × port_bytes / latency; a request is one word of the port, as in the load engine's RTL."""
    few = design(outstanding=64)
    flow = Flow.of(few)
    assert float(flow.port_rate) == pytest.approx(64 * 128 / 0.35e-6)
    assert float(Flow.of(design(outstanding=4096)).port_rate) == pytest.approx(128 * 1.5e9)
    assert float(Flow.of(design(outstanding=64, cores=1)).port_rate) == pytest.approx(64 * 128 / 0.1e-6)


@pytest.mark.parametrize("name", chips())
def test_presets_cover_the_latency_of_their_memory(name: str) -> None:
    d = DesignArrays.of(load_chip(name))
    assert float(d.outstanding) >= float(d.clock_hz * d.memory_latency_s)


def test_copies_of_inputs_and_sums_cost_energy() -> None:
    """A product of few outputs is shared by contraction and by columns: its inputs go to every column's cores."""
    w = work("gpt-oss-20b", Step.decode(8, 1024))
    free, paid = (estimate_chips(design(joules_per_hop_byte=x), w) for x in (0.0, 1e-12))
    assert free.seconds == pytest.approx(float(paid.seconds))
    extra = float(paid.joules - free.joules)
    assert 0 < extra < 0.3 * float(free.joules)
    alone = [estimate_chips(design(cores=1, joules_per_hop_byte=x), w) for x in (0.0, 1e-12)]
    assert float(alone[1].joules) == pytest.approx(float(alone[0].joules), rel=1e-5)
