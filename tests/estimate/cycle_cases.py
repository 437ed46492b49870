"""Random single operators on random cores: what the chip estimate says, and what the cycle simulator counts.

Both at a memory latency of 100 cycles (0.1 µs at 1 GHz, the estimate's for one core), with memory as fast as the
port or, for half of them, slower. Operators start cold: nothing was loaded before, so the estimate
counts the latency once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.spec import ChipSpec, Core, MatrixEngine, Scratchpad, validate
from tapeout.errors import TapeoutError
from tapeout.estimate.chip import estimate_chips
from tapeout.estimate.chip_constants import STEP_OVERHEAD_SECONDS
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_stages import Stage, stages
from tapeout.estimate.chip_work import ChipWork
from tapeout.simulator.cycle import Memory, simulate, single
from tapeout.workload.formats import Formats, bytes_of
from tapeout.workload.operators import Operator
from tapeout.workload.shard import RESCALE_OPERATIONS, SOFTMAX_OPERATIONS

NORM_OPERATIONS = 4  # an element: square, sum, scale, weight
KINDS = ("decode product", "batch product", "norm", "attention")


@dataclass(frozen=True)
class Sample:
    """`shape`: m, n, k of a product; m, n of a norm; heads of keys, queries of each, channels, context of attention.
    `share`: of the port's bandwidth that memory has."""

    kind: str
    core: Core
    shape: tuple[int, ...]
    format: str
    share: float

    def simulated(self) -> int:
        """Cycles in the cycle simulator. Raises TapeoutError where the scratchpad is too small."""
        arguments: tuple[int, ...] = ()
        if self.kind == "attention":
            program, arguments = single.attention(self.core, *self.shape), (0, self.shape[3] - 1, 0, 1, 0)
        elif self.kind == "norm":
            program = single.norm(self.core, *self.shape)
        else:
            program = single.product(self.core, *self.shape, self.format)
        rate = None if self.share == 1 else self.share * self.core.port_bytes
        memory = Memory(latency=100, bytes_per_cycle=rate)
        whole = simulate(self.core, program, arguments, base=single.BASE, memory=memory).cycles
        # Of a step's own overhead the operator is free: the way to the first instruction and out of the last.
        return whole - simulate(self.core, program[-1:], base=single.BASE, memory=memory).cycles

    def estimated(self) -> float:
        """Cycles by the closed form."""
        d = DesignArrays.of(ChipSpec(core=self.core, cores=1, clock_ghz=1.0))
        d = replace(
            d, noc_bytes=d.port_bytes, memory_bandwidth=self.share * d.port_bytes * 1e9, memory_sustained=1.0
        )
        work = ChipWork((), (self.stage(),), Formats(), 1, 1, 1, 0.0, np.asarray(True))
        seconds = estimate_chips(d, work, dtype=np.float64).seconds
        return float((seconds - STEP_OVERHEAD_SECONDS) * 1e9)

    def stage(self) -> Stage:
        """The operator as the workload has it."""
        eight = bytes_of("mxint8")
        if self.kind == "norm":
            m, n = self.shape
            o = Operator(
                "norm.one", "vector", "norm", m=m * n, weight_bytes=4 * n, input_bytes=4 * m * n,
                output_bytes=m * n * eight, vector_operations=m * n * (NORM_OPERATIONS + 1),
            )  # fmt: skip
            return replace(stages((o,), m)[0], chosen=True)
        if self.kind == "attention":
            kv, group, dim, context = self.shape
            o = Operator(
                "attention.decode", "attention", "attention", m=group, n=context, k=dim, v=dim, products=kv,
                activation_format="mxint8", kv_read_bytes=2 * kv * dim * context * eight,
                input_bytes=kv * group * dim * eight, output_bytes=4 * kv * group * dim,
                macs=2 * kv * group * dim * context,
                vector_operations=kv * group * (context * SOFTMAX_OPERATIONS + dim * RESCALE_OPERATIONS),
            )  # fmt: skip
            return replace(stages((o,), 1)[0], chosen=True)
        m, n, k = self.shape
        o = Operator(
            "product", "matmul", "dense", m=m, n=n, k=k, weight_format=self.format, activation_format="mxint8",
            weight_bytes=n * k * bytes_of(self.format), input_bytes=m * k * eight, output_bytes=4 * m * n,
            macs=m * n * k,
        )  # fmt: skip
        return replace(stages((o,), m)[0], chosen=True, vector=0.0)


def samples(count: int, seed: int = 0) -> list[tuple[Sample, int]]:
    """`count` samples that the scratchpad has room for, with their simulated cycles."""
    rng = np.random.default_rng(seed)
    found: list[tuple[Sample, int]] = []
    while len(found) < count:
        kind = KINDS[len(found) % len(KINDS)]
        one = _sample(rng, kind)
        try:
            found.append((one, one.simulated()))
        except (TapeoutError, AssertionError):  # too small a scratchpad for this shape
            continue
    return found


def _sample(rng: np.random.Generator, kind: str) -> Sample:
    def pick(*choices: Any) -> Any:
        return choices[rng.integers(len(choices))]

    side = pick(4, 8, 16)
    engine = MatrixEngine(rows=pick(4, 8, 16), columns=side)
    port = pick(32, 64, 128)
    word = max(port, 16 * side)  # what the weights of two MXFP4 beats fill
    core = Core(
        matrix=engine, vector_lanes=pick(8, 16, 32, 64),
        scratchpad=Scratchpad(kibibytes=pick(512, 1024), banks=pick(4, 8), word_bytes=pick(word, 2 * word)),
        port_bytes=port, outstanding=pick(64, 128, 256),
    )  # fmt: skip
    validate(ChipSpec(core=core, cores=1, clock_ghz=1.0))
    share = pick(1.0, 1.0, 0.25, 0.5)
    if kind == "norm":
        return Sample(kind, core, (pick(1, 1, 4, 16), 32 * int(rng.integers(4, 90))), "", share)
    if kind == "attention":
        shape = (pick(1, 2, 4, 8), pick(1, 4, 8), pick(32, 64, 128), int(rng.integers(32, 4000)))
        return Sample(kind, core, shape, "", share)
    g = Geometry.of(core)
    m = 1 if kind == "decode product" else int(rng.integers(2, 4 * g.rows + 1))
    n, k = 8 * int(rng.integers(8, 360)), 32 * int(rng.integers(2, 90))
    return Sample(kind, core, (m, n, k), pick("mxfp4", "mxint8"), share)
