"""What stands behind the memory port: a latency and a bandwidth, or the banks of an HBM stack."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tapeout.errors import InputError
from tapeout.simulator.cycle.native import REGIONS, Settings

LATENCY = 100  # cycles; also the RTL simulation's
UNIT = 1024  # the native model counts memory's time in this many parts of a cycle


@dataclass(frozen=True)
class Memory:
    """Memory as one core sees it.

    `latency`: cycles from a request to its answer, at least 1. `bytes_per_cycle`: the core's share of the bandwidth,
    for reads and writes together; None: the port is the limit, a word each way a cycle. `clock_ghz`: given, memory is
    an HBM with rows that open and refreshes (`hbm.toml`) whose data pins give `bytes_per_cycle`; `latency` then is
    what controller and network add.

    With `bytes_per_cycle` and no clock, for a core that shares memory with others: `regions`: number below 64 and
    bytes per cycle of regions of 2^34 bytes where they differ from the rest, as those of what several cores
    read together do. `slack`: cycles whose bytes the core may take later, having let others have them.
    """

    latency: int = LATENCY
    bytes_per_cycle: float | None = None
    clock_ghz: float | None = None
    regions: tuple[tuple[int, float], ...] = ()
    slack: int = 0

    def fill(self, s: Settings) -> None:
        """Set the fields of `s` that are memory's. Raises InputError for values that mean nothing."""
        if not 1 <= self.latency <= 1_000_000:
            raise InputError("memory", "latency", self.latency, "1 to 1,000,000 cycles")
        if self.bytes_per_cycle is not None and not 0 < self.bytes_per_cycle < 1e9:
            raise InputError("memory", "bytes_per_cycle", self.bytes_per_cycle, "a positive number")
        for number, rate in self.regions:
            if not 0 <= number < REGIONS or not 0 < rate < 1e9 or self.bytes_per_cycle is None:
                raise InputError(
                    "memory", f"regions[{number}]", rate, "a positive number, by region below 64"
                )
            s.region_cost[number] = max(round(UNIT * s.port_bytes / rate), 1)
        if not 0 <= self.slack <= 1_000_000:
            raise InputError("memory", "slack", self.slack, "0 to 1,000,000 cycles")
        s.slack = UNIT * self.slack
        s.latency = self.latency
        if self.clock_ghz is None:
            s.cost = round(UNIT * s.port_bytes / self.bytes_per_cycle) if self.bytes_per_cycle else 0
            return
        if self.bytes_per_cycle is None:
            raise InputError("memory", "bytes_per_cycle", None, "the core's share, with HBM")
        t, cycles = hbm(), UNIT * self.clock_ghz
        burst = min(int(t["burst"]), s.port_bytes)
        # as many pseudo channels as one core's requests keep busy; their pins together give the share
        s.channels = max(1, s.port_bytes // burst)
        s.banks_per_channel, s.row_bytes, s.burst_bytes = int(t["banks"]), int(t["row"]), burst
        s.t_burst = round(UNIT * s.channels * burst / self.bytes_per_cycle)
        s.t_row_miss = round((t["precharge"] + t["activate"]) * cycles)
        s.t_row_cycle = round(t["row_cycle"] * cycles)
        s.t_refresh_interval = round(t["refresh_interval"] * cycles)
        s.t_refresh = round(t["refresh"] * cycles)


@lru_cache(maxsize=1)
def hbm() -> dict[str, float]:
    """The values of `hbm.toml`, by name."""
    table: dict[str, dict[str, Any]] = tomllib.loads(Path(__file__).with_name("hbm.toml").read_text())
    return {name: float(entry["value"]) for name, entry in table.items()}
