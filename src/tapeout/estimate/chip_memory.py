"""Traffic between memory and scratchpads on our chips: what streams, what must be read again, what spills."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.estimate.chip_design import BLOCK, DesignArrays
from tapeout.estimate.chip_stages import Stage
from tapeout.workload.operators import Number

KEPT = 2 / 3  # of a scratchpad, for inputs and outputs: a chunk of weights is a sixth, and there are two


@dataclass(frozen=True, eq=False)
class Flow:
    """What limits loads on a design. `bandwidth`: bytes/s of all cores together; `port_rate`: of one core;
    `kept`: bytes of all scratchpads for data that stays, the rest being for what streams through; `half`: of what
    streams, that may come early. `stalled`: how much longer a port takes with weights that are read meanwhile."""

    bandwidth: Number
    port_rate: Number
    stalled: Number
    cores: Number
    rows: Number
    half: Number
    kept: Number
    latency_s: Number
    joules_per_byte: Number
    smallest_kept: float

    @staticmethod
    def of(d: DesignArrays) -> Flow:
        """The limits of design `d`."""
        # A request brings what a word of the scratchpad takes; more of a port's width is read and thrown away.
        word = d.scratchpad_bytes_per_cycle / d.scratchpad_banks
        used = np.minimum(word / d.port_bytes, 1.0)
        # A port moves its width each cycle, if enough requests (of its width each) are in flight to cover the latency.
        flight = d.outstanding * d.port_bytes / d.memory_latency_s
        port = np.minimum(np.minimum(d.port_bytes, d.noc_bytes) * d.clock_hz, flight) * used
        # A port that fills a word a cycle waits for banks that the engine reads, each word once: y = 1 + 1 / (banks·y).
        # Where a beat is a word both go from bank to bank in step.
        waits = (1 + np.sqrt(1 + 4 / d.scratchpad_banks)) / 2
        full = np.minimum(d.port_bytes, word) * d.clock_hz
        meets = (word <= d.port_bytes) & (word < BLOCK * d.columns)
        stalled = np.where(meets, np.maximum(waits * port / full, 1.0), 1.0)
        # Memory controllers sit along two sides of the mesh: its rows carry what goes beyond the first column.
        side = np.sqrt(d.cores)
        entry = 2 * side * d.noc_bytes * d.clock_hz / np.maximum(1 - 2 / side, 1e-9)
        bandwidth = np.minimum(
            np.minimum(d.memory_bandwidth * d.memory_sustained * used, entry), d.cores * port
        )
        half, kept = d.cores * d.scratchpad_bytes / 2, d.cores * d.scratchpad_bytes * KEPT
        return Flow(
            bandwidth=bandwidth,
            port_rate=port,
            stalled=stalled,
            cores=d.cores,
            rows=d.rows,
            half=half,
            kept=kept,
            latency_s=d.memory_latency_s,
            joules_per_byte=d.joules_per_memory_byte + d.joules_per_noc_byte,
            smallest_kept=float(np.min(kept)),
        )

    def traffic(self, s: Stage) -> Number:
        """Bytes of one execution that cross the memory interface.

        While inputs and outputs fit into their part of the scratchpads everything crosses once. Otherwise either
        the tokens go in groups that fit and the stream is read for each group, or the stream goes in parts
        that fit and the inputs are read for each part; whichever is less.
        """
        once = s.stream_bytes + s.write_bytes
        if s.largest_held <= self.smallest_kept:
            return once
        spills = s.held_bytes > self.kept
        if s.kind == "barrier":
            return once + s.held_bytes * spills
        # Independent products (experts, heads) can go one after another, each over all the scratchpads.
        each = s.part / self.kept
        groups = np.ceil(s.held_bytes * each) - 1
        parts = np.ceil(s.stream_bytes * each) - 1
        again = np.minimum(groups * s.stream_bytes, parts * s.input_bytes)
        return once + spills * (s.held_bytes + again)

    def port_seconds(self, s: Stage, row_tiles: Number) -> tuple[Number, Number, Number, Number]:
        """Seconds the busiest core's port needs for its part of the stream, of the inputs and of the partial
        sums it gathers; seconds to fill the rows of its engine with their first inputs; the bytes that all
        ports together take beyond one copy of the stream: copies of it, inputs and partial sums; and a (below).

        The C cores that share a product form a grid of a (tokens) × b (contraction) × rest (outputs). A core
        takes inputs A/(ab), weights W·a/C and partial sums S·(b - 1)/C: least where the three are equal, with a
        and b not below 1, not above what there is to split, and a or b alone at their own best if the other is 1.
        """
        together = np.maximum(self.cores * s.part, 1)
        b = np.maximum(s.cube * np.cbrt(together), 1)
        a = np.maximum(s.root * np.sqrt(together / b), 1)
        a = np.minimum(np.minimum(a, row_tiles), together)
        b = np.maximum(s.sums_root * np.sqrt(together / a), 1)
        b = np.minimum(np.minimum(b, s.blocks), together / a)
        # A core alone has its inputs where they were made.
        away = self.cores > 1
        moved = s.input_bytes * away / (a * b) + (s.stream_bytes * a + s.sums_bytes * (b - 1)) / together
        fill = np.minimum(s.m, self.rows) * s.row_bytes * away / b
        copied = np.maximum(moved * together - s.stream_bytes, 0)
        return moved * (np.maximum(1 / self.cores, s.part) / self.port_rate), fill / self.port_rate, copied, a
