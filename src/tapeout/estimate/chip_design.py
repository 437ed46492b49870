"""Designs as arrays: what the estimate needs to know of a chip, for one chip or for a million at once."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from tapeout.chip.designs import Designs, as_designs
from tapeout.chip.spec import MATRIX_FORMATS, MEMORY_KINDS, ChipSpec
from tapeout.estimate.chip_constants import (
    DIRECT_LATENCY_SECONDS,
    LINK_EFFICIENCY,
    MEMORY_LATENCY_SECONDS,
    SCALE_OUT_LATENCY_SECONDS,
    SCALE_UP_LATENCY_SECONDS,
)
from tapeout.estimate.machine import Machine, Network
from tapeout.physical.area import memory_bandwidth
from tapeout.physical.energy import Energy, energy
from tapeout.physical.views import View, shipped
from tapeout.workload.operators import Number

BLOCK = 32  # elements that share a scale, and that a unit takes at a time


@dataclass(frozen=True, eq=False)
class DesignArrays:
    """The fields broadcast together; any may be a scalar. SI units (bytes, hertz, watts, joules)."""

    rows: Number
    columns: Number
    cores: Number  # of the whole package
    vector_lanes: Number  # of one core
    scratchpad_bytes: Number  # of one core
    scratchpad_bytes_per_cycle: Number  # of one core: banks × word
    port_bytes: Number  # per cycle and core, each way
    outstanding: Number  # memory requests of one core in flight
    noc_bytes: Number  # per cycle, mesh link and direction
    clock_hz: Number
    memory_capacity: Number
    memory_bandwidth: Number  # peak, bytes per second
    memory_sustained: Number  # share of it that long contiguous reads get
    scale_up_bandwidth: Number  # bytes per second and direction
    scale_out_bandwidth: Number
    scale_up_domain: Number
    rate: dict[str, Number]  # blocks per cycle and unit and output, by format of the weights; 0: has none
    joules_per_mac: dict[str, Number]
    fp4_ways: Number = 1.0  # outputs a unit works on at once with MXFP4 weights
    scratchpad_banks: Number = 8.0  # of one core, each one access a cycle
    joules_per_vector_operation: Number = 0.0
    joules_per_scratchpad_byte: Number = 0.0
    joules_per_noc_byte: Number = 0.0  # over the mean distance between memory and a core
    joules_per_hop_byte: Number = 0.0  # from a core to its neighbour, as each branch of a multicast
    joules_per_memory_byte: Number = 0.0
    joules_per_link_byte: Number = 0.0
    idle_watts: Number = 0.0  # leakage, clock tree, memory background, links kept up

    @staticmethod
    def of(
        chips: Designs | ChipSpec, view: View | None = None, energies: Energy | None = None
    ) -> DesignArrays:
        """`chips` for the estimate, in the technology of `view` (default: the tables at their values).

        Fields have the shape [n, 1], or are scalars for one ChipSpec; with a view of s samples [s · n, 1], samples
        slowest. `energies`: those of `tapeout.physical.energy`, if already known. Joules and watts are those drawn
        before the package's regulators.
        """
        d, view = as_designs(chips), view or shipped().nominal()
        e = energies or energy(d, view)
        loss = 1 / view.get("board.power.regulator_efficiency", "1")
        # Blocks of 32 per cycle and unit: BF16 takes four passes of the 8-bit multipliers.
        passes = {"bf16": 0.25}
        rate: dict[str, Number] = {
            f: d.has_format(f) * (d.lanes / BLOCK) * passes.get(f, 1.0) for f in MATRIX_FORMATS
        }
        lane = d.gigabits_per_lane * 1e9 / 8
        found = DesignArrays(
            rows=d.rows,
            columns=d.columns,
            cores=d.cores,
            vector_lanes=d.vector_lanes,
            scratchpad_bytes=d.scratchpad_kibibytes * 1024.0,
            scratchpad_banks=d.scratchpad_banks,
            scratchpad_bytes_per_cycle=d.scratchpad_banks * d.scratchpad_word_bytes,
            port_bytes=d.port_bytes,
            outstanding=d.outstanding,
            noc_bytes=d.noc_bytes_per_cycle,
            clock_hz=d.clock_ghz * 1e9,
            memory_capacity=d.stacks * d.gibibytes_per_stack * 2.0**30,
            memory_bandwidth=memory_bandwidth(d, view),
            memory_sustained=view.pick("memories", MEMORY_KINDS, d.memory_kind, "sustained", "1"),
            scale_up_bandwidth=d.scale_up_lanes * lane,
            scale_out_bandwidth=d.scale_out_lanes * lane,
            scale_up_domain=d.scale_up_domain,
            rate=rate,
            fp4_ways=np.where(d.double_rate_fp4, 2.0, 1.0),
            joules_per_mac={f: loss * e.mac[f] for f in MATRIX_FORMATS},
            joules_per_vector_operation=loss * e.vector_operation,
            joules_per_scratchpad_byte=loss * e.scratchpad_byte,
            joules_per_noc_byte=loss * e.noc_byte,
            joules_per_hop_byte=loss * e.hop_byte,
            joules_per_memory_byte=loss * e.memory_byte,
            joules_per_link_byte=loss * e.link_byte,
            idle_watts=loss * e.idle_watts,
        )
        samples = found.shape[0] if len(found.shape) == 2 else 1
        if isinstance(chips, ChipSpec) and samples == 1:
            return found.map(lambda x: np.reshape(x, ()))
        return found.map(lambda x: np.broadcast_to(x, (samples, len(d))).reshape(-1, 1))

    def map(self, function: Any) -> DesignArrays:
        """The same designs with `function` applied to every array."""
        changed: dict[str, Any] = {}
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, dict):
                changed[f.name] = {k: function(v) for k, v in value.items()}
            else:
                changed[f.name] = function(value)
        return replace(self, **changed)

    def __getitem__(self, index: Any) -> DesignArrays:
        """The designs at `index` of the first axis; fields that do not vary along it are kept."""
        length = self.length

        def take(v: Number) -> Number:
            a = np.asarray(v)
            return a[index] if a.ndim and a.shape[0] == length and length > 1 else a

        return self.map(take)

    @property
    def memory_latency_s(self) -> Number:
        """Seconds from a request at a core's port to its data, unloaded."""
        return np.where(np.asarray(self.cores) > 1, MEMORY_LATENCY_SECONDS, DIRECT_LATENCY_SECONDS).astype(
            np.asarray(self.clock_hz).dtype
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that all fields broadcast to."""
        shapes = [np.shape(getattr(self, f.name)) for f in fields(self) if f.name not in _TABLES]
        shapes += [np.shape(v) for name in _TABLES for v in getattr(self, name).values()]
        return np.broadcast_shapes(*shapes)

    @property
    def length(self) -> int:
        """Extent of the first axis; 1 for scalars."""
        return self.shape[0] if self.shape else 1

    def links(self) -> Machine:
        """The networks alone, in the terms of every other accelerator; nothing else of it is meaningful."""
        up = Network(
            self.scale_up_bandwidth * LINK_EFFICIENCY, SCALE_UP_LATENCY_SECONDS, self.scale_up_domain
        )
        out = Network(self.scale_out_bandwidth * LINK_EFFICIENCY, SCALE_OUT_LATENCY_SECONDS, np.inf)
        return Machine("chip", {}, self.memory_bandwidth, self.memory_capacity, up, out)

    def machine(self, name: str = "chip") -> Machine:
        """These designs in the terms of every other accelerator: peaks, without what our own equations know."""
        classes = {"fp4": "mxfp4", "fp8": "mxfp8", "int8": "mxint8", "bf16": "bf16"}
        peak = {a: self.peak_macs(f) for a, f in classes.items() if np.any(np.asarray(self.rate[f]) > 0)}
        return self.links().replaced(
            name=name,
            peak_macs=peak,
            memory_bandwidth=self.memory_bandwidth * self.memory_sustained,
            vector_rate=self.cores * self.vector_lanes * self.clock_hz,
            on_chip_bytes=self.cores * self.scratchpad_bytes / 2,
        )

    def peak_macs(self, format: str) -> Number:
        """Multiply-accumulates per second with weights of `format`."""
        units = self.rows * self.columns * self.cores
        return units * BLOCK * self.rate[format] * self.ways(format) * self.clock_hz

    def ways(self, format: str) -> Number:
        """Outputs a unit works on at once with weights of `format`."""
        return self.fp4_ways if format == "mxfp4" else np.ones_like(self.fp4_ways)


_TABLES = ("rate", "joules_per_mac")
