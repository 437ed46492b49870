"""The step equations in limits where the answer is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.estimate.machine import Machine, Network, Overheads, Power, Sustained
from tapeout.estimate.step import collective_seconds, estimate_step, kernels, operator_terms
from tapeout.model.load import load
from tapeout.workload.build import operators
from tapeout.workload.operators import Collective, Operator, Step, totals
from tapeout.workload.parallelism import Parallelism


def ideal(**changes: object) -> Machine:
    base = Machine(
        "ideal",
        {"bf16": 500e12, "fp8": 1000e12},
        4e12,
        1e11,
        Network(400e9, 0.0, 8),
        Network(50e9, 0.0, np.inf),
    )
    return base.replaced(**changes)


def matmul(m: float, n: float, k: float, format: str = "bf16") -> Operator:
    size = {"bf16": 2, "fp8": 1, "mxfp4": 0.53125}[format]
    return Operator("x", "matmul", "dense", m=m, n=n, k=k, weight_format=format, macs=m * n * k,
                    weight_bytes=n * k * size)  # fmt: skip


@given(st.integers(1, 100_000), st.sampled_from([128, 4096, 16384]), st.sampled_from([128, 8192]))
def test_an_ideal_machine_is_the_roofline(m: int, n: int, k: int) -> None:
    t = operator_terms(ideal(), matmul(m, n, k))
    assert t.time_s == pytest.approx(max(m * n * k / 500e12, n * k * 2 / 4e12), rel=1e-12)


def test_arithmetic_falls_back_to_what_the_machine_has() -> None:
    m = ideal()
    assert m.arithmetic_of("fp8") == "fp8"
    assert m.arithmetic_of("mxfp4") == "bf16", "weights of four bits are widened where FP4 is missing"
    assert m.arithmetic_of("int4_group32") == "bf16"
    assert not m.quantises("mxfp4")
    assert m.quantises("fp8_block128")


def test_without_overlap_compute_and_memory_add_up() -> None:
    t = operator_terms(ideal(sustained=Sustained(overlap=0.0)), matmul(512, 4096, 4096))
    assert t.time_s == pytest.approx(t.compute_s + t.memory_s)


def test_few_rows_run_at_a_fraction_of_the_rate() -> None:
    s = Sustained(rows_half=64.0)
    fast = operator_terms(ideal(), matmul(64, 4096, 4096)).compute_s
    assert operator_terms(ideal(sustained=s), matmul(64, 4096, 4096)).compute_s == pytest.approx(2 * fast)


def test_an_all_reduce_takes_latency_and_the_bytes_of_the_ring() -> None:
    m = ideal(scale_up=Network(400e9, 5e-6, 8, hop_s=1e-6), overheads=Overheads(collective_s=2e-6))
    c = Collective("all_reduce", 8, 8, 8e6)
    assert collective_seconds(m, c) == pytest.approx(2e-6 + 5e-6 + 2e-6 + 2 * 7 / 8 * 8e6 / 400e9)
    assert collective_seconds(m, Collective("all_reduce", 1, 1, 8e6)) == 0


def test_the_faster_kind_of_collective_is_used() -> None:
    m = ideal(
        scale_up=Network(400e9, 1e-6, 8),
        sustained=Sustained(network=0.2, bulk_network=0.8),
        overheads=Overheads(bulk_s=20e-6),
    )
    small, large = Collective("all_reduce", 2, 2, 1e3), Collective("all_reduce", 2, 2, 1e9)
    assert collective_seconds(m, small) < 2e-6
    assert collective_seconds(m, large) == pytest.approx(20e-6 + 1e9 / (400e9 * 0.8))


def test_a_group_beyond_the_domain_pays_for_the_slow_network() -> None:
    inside = collective_seconds(ideal(), Collective("all_reduce", 8, 8, 1e8))
    beyond = collective_seconds(ideal(), Collective("all_reduce", 16, 16, 1e8))
    assert beyond > inside + 1e8 / 8 / 50e9 * 0.9


def test_energy_is_power_times_time_plus_work() -> None:
    p = Power(idle_w=100, active_w=50, memory_pj_per_byte=60, mac_pj={"bf16": 1.0})
    o = matmul(16, 4096, 4096)
    e = estimate_step(ideal(power=p), [o])
    work = (o.weight_bytes * 60 + o.macs * 1.0) * 1e-12
    assert e.energy_j == pytest.approx(150 * e.time_s + work)


def test_a_power_limit_stretches_the_step() -> None:
    o = matmul(8192, 8192, 8192)
    hot = Power(idle_w=100, mac_pj={"bf16": 2.0}, limit_w=600)
    e = estimate_step(ideal(power=hot), [o])
    assert e.power_w == pytest.approx(600)
    assert e.time_s > estimate_step(ideal(), [o]).time_s


def test_host_costs_are_per_step_sequence_and_kernel() -> None:
    v = Overheads(step_s=1e-3, sequence_s=1e-5, eager_s=1e-6)
    ops = operators(load("llama-3.1-8b"), Step.decode(4.0, 100.0))
    bare = estimate_step(ideal(), ops).time_s
    graph = estimate_step(ideal(overheads=v), ops, 4.0).time_s
    eager = estimate_step(ideal(overheads=v), ops, 4.0, eager=True).time_s
    assert graph - bare == pytest.approx(1e-3 + 4e-5)
    assert eager - graph == pytest.approx(1e-6 * float(kernels(ops)))


def test_arrays_give_what_scalars_give() -> None:
    model, m = load("gpt-oss-20b"), ideal(sustained=Sustained(matrix={"bf16": 0.7}, expert_rows_half=30))
    batches = np.array([1.0, 7.0, 64.0])
    ranks = Parallelism(tp=np.array([1, 2, 4]))
    together = estimate_step(m, operators(model, Step.decode(batches, 900.0), ranks)).time_s
    for i, b in enumerate(batches):
        one = estimate_step(m, operators(model, Step.decode(b, 900.0), Parallelism(tp=[1, 2, 4][i]))).time_s
        assert one == pytest.approx(together[i])


def test_an_ideal_decode_of_one_sequence_is_its_bytes() -> None:
    ops = operators(load("llama-3.1-70b"), Step.decode(1.0, 0.0))
    e = estimate_step(ideal(), ops)
    assert e.time_s == pytest.approx(float(totals(ops).memory_bytes) / 4e12, rel=0.01)
