"""Traffic between memory and scratchpads on our chips: what streams, what must be read again, what spills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.estimate.chip_constants import BURST_BYTES, MEMORY_LATENCY_SECONDS, MEMORY_SUSTAINED
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_stages import Stage
from tapeout.workload.operators import Number


@dataclass(frozen=True, eq=False)
class Flow:
    """What limits loads on a design. `bandwidth`: bytes/s of all cores together; `port_rate`: of one core;
    `half`: bytes of all scratchpads for data that stays, the other half being for what streams through."""

    bandwidth: Number
    port_rate: Number
    cores: Number
    half: Number
    prefetch_seconds: Number
    joules_per_byte: Number
    smallest_half: float

    @staticmethod
    def of(d: DesignArrays) -> Flow:
        """The limits of design `d`."""
        # A port moves its width each cycle, if enough bursts are in flight to cover the latency.
        flight = d.outstanding * (BURST_BYTES / MEMORY_LATENCY_SECONDS)
        port = np.minimum(np.minimum(d.port_bytes, d.noc_bytes) * d.clock_hz, flight)
        # Memory controllers sit along two sides of the mesh: its rows carry what they deliver.
        entry = np.where(np.asarray(d.cores) > 1, 2 * np.sqrt(d.cores), np.inf) * d.noc_bytes * d.clock_hz
        bandwidth = np.minimum(np.minimum(d.memory_bandwidth * MEMORY_SUSTAINED, entry), d.cores * port)
        half = d.cores * d.scratchpad_bytes / 2
        return Flow(
            bandwidth=bandwidth,
            port_rate=port,
            cores=d.cores,
            half=half,
            prefetch_seconds=half / bandwidth,
            joules_per_byte=d.joules_per_memory_byte + d.joules_per_noc_byte,
            smallest_half=float(np.min(half)),
        )

    def traffic(self, s: Stage) -> Number:
        """Bytes of one execution that cross the memory interface.

        While inputs and outputs fit into half the scratchpads everything crosses once. Otherwise either
        the tokens go in groups that fit and the stream is read for each group, or the stream goes in parts
        that fit and the inputs are read for each part; whichever is less.
        """
        once = s.stream_bytes + s.write_bytes
        if s.largest_held <= self.smallest_half:
            return once
        spills = s.held_bytes > self.half
        if s.kind == "barrier":
            return once + s.held_bytes * spills
        groups = np.ceil(s.held_bytes / self.half) - 1
        parts = np.ceil(s.stream_bytes / self.half) - 1
        again = np.minimum(groups * s.stream_bytes, parts * s.input_bytes)
        return once + spills * (s.held_bytes + again)

    def port_seconds(self, s: Stage, row_tiles: Number) -> Number:
        """Seconds the busiest core's port needs: its part of the stream and of the inputs.

        The cores that share a product form a grid; splitting tokens over more of them means fewer inputs but
        more of the stream for each, and the best split is the square root of their ratio.
        """
        together = np.maximum(self.cores * s.part, 1)  # cores on one product
        across = s.root * np.sqrt(together)
        across = np.maximum(np.minimum(np.minimum(across, together), row_tiles), 1)
        moved = s.input_bytes / across + s.stream_bytes * (across / together)
        return moved * (np.maximum(1 / self.cores, s.part) / self.port_rate)
