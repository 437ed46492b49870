"""Time and energy of a step on our chips: many designs × many operating points as array operations.

The chain of stages of a step runs in order. A stage takes as long as the slowest of what runs side by
side in it: the matrix engine (`chip_matrix`), the load of what streams through it (`chip_memory`), and
the vector unit on its tiles. Loads do not wait for arithmetic: while a barrier or a collective runs, the
next stage's weights already stream into the free half of the scratchpads, except where a router has yet to
choose them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate import chip_attention
from tapeout.estimate.chip_constants import (
    CHUNK_BYTES,
    CHUNK_MOST,
    MEMORY_RESERVE,
    STEP_OVERHEAD_SECONDS,
    VECTOR_ACCESSES,
    VECTOR_PIPELINE_CYCLES,
    VECTOR_REDUCED,
)
from tapeout.estimate.chip_design import BLOCK, DesignArrays
from tapeout.estimate.chip_matrix import block_bytes_of, overhead_cycles, product_cycles, tiles_of
from tapeout.estimate.chip_memory import Flow
from tapeout.estimate.chip_stages import Stage
from tapeout.estimate.chip_vector import NORM_EARLY, NORM_LATE, NORM_SHORT, Passes, crossed, passes, summed
from tapeout.estimate.chip_work import ChipWork
from tapeout.estimate.step import collective_seconds
from tapeout.workload.operators import Number
from tapeout.workload.shard import NORM_OPERATIONS


@dataclass(frozen=True, eq=False)
class StageTime:
    """Seconds of one stage, all its repeats: what each resource would take alone, what is exposed before it
    can start, what of its load was hidden behind earlier stages, and the time that passes."""

    stage: Stage
    matrix_s: Number
    load_s: Number
    vector_s: Number
    network_s: Number
    overhead_s: Number
    hidden_s: Number
    time_s: Number
    traffic_bytes: Number
    joules: Number


@dataclass(frozen=True, eq=False)
class ChipEstimate:
    """One step, arrays of the shape that designs and operating points broadcast to.

    `seconds`: one pass through one pipeline stage (a token takes `passes` of them); `joules`: of the mean
    chip in that time, idle power included; `fits`: weights and caches fit, the formats are supported and the
    sharding is possible. `stage_times` only on request.
    """

    seconds: Number
    joules: Number
    fits: NDArray[np.bool_]
    passes: Number
    stage_times: tuple[StageTime, ...] = ()

    @property
    def watts(self) -> Number:
        """Mean power of one chip during the step."""
        return self.joules / self.seconds


def estimate_chips(
    designs: DesignArrays, work: ChipWork, *, breakdown: bool = False, dtype: Any = np.float32
) -> ChipEstimate:
    """Estimate `work` on `designs`, whose fields broadcast with those of the work: designs of shape [D, 1]
    and points of shape [P] give results of shape [D, P]; equal shapes go pairwise.

    Large grids run fastest in slices of about 2^14 results (`estimate_grid`). Values where `fits` is False
    are not meaningful.
    """
    d = designs.map(lambda x: np.asarray(x, dtype=dtype))
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return _estimate(d, work, breakdown, dtype)


def _norm(d: DesignArrays, p: Passes, s: Stage, load: Number) -> tuple[Number, Number]:
    """Seconds of a norm, and those of it that are not passes of the lanes. Its weights, which take `load`, have to be
    there for its last product; a conversion of the result may follow."""
    cycle = 1 / d.clock_hz
    rows = np.maximum(s.tokens / d.cores, 1.0)
    own = np.maximum(
        s.m / (d.cores * rows), 1.0
    )  # of a row; one that goes to several cores is a part of one to each
    across = crossed(d.vector_lanes, rows, s.m / s.tokens)
    each = rows * np.ceil(own / d.vector_lanes) * across
    converted = np.maximum(s.vector / s.m - NORM_OPERATIONS, 0.0)
    late = each * (p.two + converted * p.quantise) + NORM_LATE
    fixed = NORM_EARLY + NORM_SHORT * (rows - 1)
    early = each * (p.square + p.one) + summed(d, rows, own) + fixed
    return (np.maximum(load, early * cycle) + late * cycle), (fixed + NORM_LATE) * cycle


def _estimate(d: DesignArrays, work: ChipWork, breakdown: bool, dtype: Any) -> ChipEstimate:
    flow, links = Flow.of(d), d.links()
    cycle = 1 / d.clock_hz
    between = overhead_cycles(d) * cycle
    lanes = d.cores * d.vector_lanes * d.clock_hz
    # Operands and result of the vector engine meet in a bank as often as they take a share of all.
    taken = np.maximum(4 * d.vector_lanes / d.scratchpad_bytes_per_cycle, 1 / d.scratchpad_banks)
    stall = 1 + (VECTOR_ACCESSES - 1) * taken
    element = stall / lanes
    reduction = np.maximum(element, 1 / (np.minimum(d.vector_lanes, VECTOR_REDUCED) * d.cores * d.clock_hz))
    p = passes(d)
    alone = np.asarray(d.cores) == 1
    instruction = VECTOR_PIPELINE_CYCLES * cycle
    supported: Any = np.ones((), dtype=bool)
    busy_vector: Number = np.zeros((), dtype)
    time: Number = np.asarray(STEP_OVERHEAD_SECONDS, dtype) + np.zeros((), dtype)
    energy: Number = np.zeros((), dtype)
    gap: Number = np.zeros((), dtype)  # how long the memory has had nothing to do for the next stage
    kept: list[StageTime] = []
    left: dict[str, tuple[Number, Number]] = {}  # of attention by name: repeats, and what it leaves to loads
    for s in work.prepared(dtype):
        zero = np.zeros((), dtype)
        waiting = gap
        matrix: Number = zero
        load: Number = zero
        network: Number = zero
        hidden: Number = zero
        exposed: Number = zero
        traffic: Number = zero
        passing: Number
        vector = (s.vector - s.reduced) * element + s.reduced * reduction
        if s.kind == "collective":
            assert s.collective is not None
            network = np.asarray(collective_seconds(links, s.collective), dtype)
            passing = network
            gap = gap + network
            joules = s.collective.wire_bytes * d.joules_per_link_byte
        elif s.kind in ("barrier", "gather"):
            traffic = flow.traffic(s)
            load = traffic / flow.bandwidth
            chain = s.chain * instruction
            exposed = instruction + flow.latency_s if s.kind == "gather" else chain
            if s.name.startswith("norm."):
                passing, exposed = _norm(d, p, s, load + (flow.latency_s + instruction if s.chosen else 0))
            else:
                passing = np.maximum(load, vector) + exposed
            gap = gap + passing
            joules = traffic * flow.joules_per_byte + s.held_bytes * d.joules_per_scratchpad_byte
        else:
            rate = d.rate.get(s.format, zero)
            supported = supported & (rate > 0)
            block = block_bytes_of(s.format)
            ways = d.ways(s.format)
            attends = s.kind == "attention"
            if attends and not breakdown:  # its time is that of its tiles
                row_tiles: Number = np.ceil(s.m / d.rows)
            else:
                brings = None if attends else flow.port_rate * cycle
                cycles, row_tiles = product_cycles(d, rate, ways, s.m, s.n, s.k, s.products, block, brings)
                if s.values:
                    # Both operands are activations: whichever makes the better product stays in the rows.
                    values = product_cycles(d, rate, ways, s.m, s.v, s.n, s.products, block)[0]
                    turned = product_cycles(d, rate, ways, s.v, s.m, s.n, s.products, block)[0]
                    cycles = cycles + np.minimum(values, turned)
                matrix = cycles * cycle
            traffic = flow.traffic(s)
            # The rows take their first inputs while the weights already come.
            port, rows, copied, _ = flow.port_seconds(s, row_tiles)
            load = np.maximum(traffic / flow.bandwidth, port * flow.stalled)
            if not attends:  # weights come in whole words of the engine, the last one filled up
                outputs = d.columns * ways
                load = load * (np.ceil(s.n / outputs) * (outputs / s.n))
            early = rows if s.chosen else gap + rows
            exposed = between + rows + (flow.latency_s if s.chosen else 0)
            work_time = vector if attends else np.maximum(matrix, vector)
            room = load * (flow.half / np.maximum(traffic, 1))  # what of it the scratchpads can take early
            hidden = np.minimum(np.minimum(np.maximum(load - work_time, 0), early), room)
            if attends:
                # Tile after tile (`chip_attention`). Of several cores, which are not in step, some load while others
                # compute, at their ports' rate.
                turns = chip_attention.turns(d, s.m, s.n, s.products / d.cores, s.k, s.v)
                port = s.stream_bytes * turns.again / (d.cores * flow.port_rate)
                load = np.maximum(traffic * turns.read / flow.bandwidth, port)
                rate = np.where(alone, flow.bandwidth, flow.port_rate)
                words = (
                    rate * cycle / np.minimum(d.scratchpad_bytes_per_cycle / d.scratchpad_banks, d.port_bytes)
                )
                serial = chip_attention.cycles(d, turns, s.k, s.v, words, flow.latency_s * d.clock_hz) * cycle
                passing = np.where(alone, serial, np.maximum(load - hidden, serial) + exposed)
                # What comes next loads beside a single tile, but not while the program goes round over several.
                idle = np.maximum(passing - load, between)
                gap = np.where(turns.context <= chip_attention.TILE, idle, between)
            else:
                # Weights come in chunks: the last one's product, or the first one's load, has nothing beside it.
                wide = np.minimum(s.n, tiles_of(d.rows) * d.columns * ways)
                chunk = np.maximum(wide * s.k * (block / BLOCK), CHUNK_BYTES)
                chunk = np.minimum(chunk, CHUNK_MOST)
                last = np.minimum(load - hidden, work_time) / np.maximum(s.stream_bytes / chunk, 1.0)
                # As the compiler has it, for one core; of several the estimate assumes that they hide it.
                exposed = exposed + np.where(alone, last, 0.0)
                passing = np.maximum(work_time, load - hidden) + exposed
                gap = between
            scratchpad = s.stream_bytes * (1 + row_tiles) + 2 * s.held_bytes
            joules = (
                s.macs * d.joules_per_mac.get(s.format, zero)
                + traffic * flow.joules_per_byte
                + copied * d.joules_per_hop_byte
                + scratchpad * d.joules_per_scratchpad_byte
            )
        if s.kind == "attention":
            left[s.name] = s.repeats, gap
            # windows are attended to in other layers than everything: the mean of both
            windows = next((w for name, w in left.items() if name.startswith(f"{s.name}.")), None)
            if windows is not None:
                mine = s.repeats / np.maximum(s.repeats + windows[0], 1e-30)
                gap = mine * gap + (1 - mine) * windows[1]
        if s.absent is not None:
            gap = np.where(s.absent, waiting, gap)
        joules = joules + s.vector * d.joules_per_vector_operation
        energy = energy + (s.repeats * s.share) * joules
        busy_vector = busy_vector + s.repeats * vector
        time = time + s.repeats * passing
        if breakdown:
            r = s.repeats
            kept.append(
                StageTime(
                    s, r * matrix, r * load, r * vector, r * network, r * exposed, r * hidden, r * passing,
                    r * traffic, (r * s.share) * joules,
                )
            )  # fmt: skip
    time = np.maximum(time, busy_vector)
    fits: Any = work.held_bytes <= d.memory_capacity * (1 - MEMORY_RESERVE)
    return ChipEstimate(
        seconds=time,
        joules=energy + d.idle_watts * time,
        fits=fits & supported & work.valid & np.isfinite(time),
        passes=work.passes,
        stage_times=tuple(kept),
    )
