"""Evaluations (design × operating point) of the chip estimate per second, for one model.

    python benchmarks/estimate_speed.py [MODEL] [--threads 2] [--seconds 5]

Designs are random; the operating points are decode at 10 batches × 3 contexts × 4 shardings. An evaluation gives
time, energy and feasibility of a step. What depends on the points alone is prepared once, and that time is
printed apart.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from tapeout.chip.spec import ChipSpec
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_grid import estimate_grid
from tapeout.estimate.chip_work import ChipWork, chip_formats
from tapeout.model import load
from tapeout.workload.operators import Step
from tapeout.workload.parallelism import Parallelism


def random_designs(count: int, seed: int) -> DesignArrays:
    """`count` designs around the reticle limit, fields of shape [count, 1]."""
    rng = np.random.default_rng(seed)

    def pick(*choices: float) -> np.ndarray:
        return rng.choice(np.array(choices, dtype=np.float32), size=(count, 1))

    return DesignArrays(
        rows=pick(4, 8, 16, 32),
        columns=pick(8, 16, 32, 64),
        cores=pick(16, 36, 64, 100, 144),
        vector_lanes=pick(16, 32, 64, 128),
        scratchpad_bytes=pick(0.5, 1, 2, 4) * 2**20,
        scratchpad_bytes_per_cycle=pick(16, 32, 64) * 32,
        port_bytes=pick(32, 64, 128, 256),
        outstanding=pick(16, 32, 64),
        noc_bytes=pick(128, 256, 512),
        clock_hz=pick(1.0, 1.25, 1.5, 1.75, 2.0) * 1e9,
        memory_capacity=pick(4, 6, 8, 12) * 36 * 2**30,
        memory_bandwidth=pick(4, 6, 8, 12) * 1.2e12,
        memory_sustained=0.92,
        scale_up_bandwidth=pick(32, 64, 128) * 28e9,
        scale_out_bandwidth=8 * 28e9,
        scale_up_domain=64,
        fp4_ways=pick(1, 2),
        rate={"mxfp4": 1.0, "mxint8": 1.0, "mxfp8": 0.0, "bf16": 0.0},
        joules_per_mac={"mxfp4": 5e-14, "mxint8": 1e-13},
        joules_per_vector_operation=2e-12,
        joules_per_scratchpad_byte=5e-13,
        joules_per_noc_byte=1e-12,
        joules_per_memory_byte=2.8e-11,
        joules_per_link_byte=4e-11,
        idle_watts=pick(50, 100, 200),
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="gpt-oss-120b")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=5.0)
    a = parser.parse_args()
    model = load(a.model)
    axes = np.meshgrid(2.0 ** np.arange(10), [1024.0, 8192.0, 65536.0], [1, 2, 4, 8])
    batch, context, tp = (x.ravel() for x in axes)
    start = time.perf_counter()
    work = ChipWork.of(
        model, Step.decode(batch, context), Parallelism(tp=tp), chip_formats(model, ChipSpec())
    )
    work.prepared(np.float32)
    prepared = time.perf_counter() - start
    designs = random_designs(4096, 0)
    estimate_grid(designs, work, threads=a.threads)
    done, feasible = 0, 0
    start = time.perf_counter()
    while time.perf_counter() - start < a.seconds:
        e = estimate_grid(designs, work, threads=a.threads)
        done, feasible = done + e.fits.size, feasible + int(e.fits.sum())
    passed = time.perf_counter() - start
    print(f"{a.model}: {len(work.stages)} stages, {batch.size} points prepared in {prepared * 1e3:.1f} ms")
    print(
        f"{done / passed:,.0f} evaluations per second, {a.threads} threads ({feasible / done:.0%} feasible)"
    )


if __name__ == "__main__":
    main()
