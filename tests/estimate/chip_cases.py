"""Designs for the tests of the chip estimate: one by hand, and random ones as arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeout.estimate.chip_design import DesignArrays


def design(**changed: Any) -> DesignArrays:
    """A balanced chip of 64 cores of 16 × 16 × 32, with fields replaced."""
    figures: dict[str, Any] = {
        "rows": 16,
        "columns": 16,
        "cores": 64,
        "vector_lanes": 64,
        "scratchpad_bytes": 2 * 2**20,
        "scratchpad_bytes_per_cycle": 2048,
        "port_bytes": 128,
        "outstanding": 1024,
        "noc_bytes": 512,
        "clock_hz": 1.5e9,
        "memory_capacity": 8 * 36 * 2**30,
        "memory_bandwidth": 8 * 1.2e12,
        "memory_sustained": 0.92,
        "scale_up_bandwidth": 1.8e12,
        "scale_out_bandwidth": 2e11,
        "scale_up_domain": 64,
        "fp4_ways": 2.0,
        "rate": {"mxfp4": 1.0, "mxint8": 1.0, "mxfp8": 1.0, "bf16": 0.25},
        "joules_per_mac": {"mxfp4": 5e-14, "mxint8": 1e-13, "mxfp8": 1.2e-13, "bf16": 4e-13},
        "joules_per_vector_operation": 2e-12,
        "joules_per_scratchpad_byte": 5e-13,
        "joules_per_noc_byte": 1e-12,
        "joules_per_hop_byte": 6e-13,
        "joules_per_memory_byte": 2.8e-11,
        "joules_per_link_byte": 4e-11,
        "idle_watts": 120.0,
    }
    return DesignArrays(**{**figures, **changed})


def random_designs(count: int, seed: int = 0) -> DesignArrays:
    """`count` random designs, fields of shape [count, 1]."""
    rng = np.random.default_rng(seed)

    def pick(*choices: float) -> Any:
        return rng.choice(choices, size=(count, 1))

    return design(
        rows=pick(4, 8, 16, 32, 64),
        columns=pick(4, 8, 16, 32, 64),
        cores=pick(1, 16, 64, 100, 256),
        vector_lanes=pick(8, 32, 128),
        scratchpad_bytes=pick(2**17, 2**20, 2**22),
        scratchpad_bytes_per_cycle=pick(256, 1024, 4096),
        port_bytes=pick(32, 128, 256),
        outstanding=pick(64, 1024),
        noc_bytes=pick(64, 256, 1024),
        clock_hz=pick(1e9, 1.5e9, 2e9),
        memory_capacity=pick(4, 8, 12) * 36 * 2**30,
        memory_bandwidth=pick(4, 8, 12) * 1.2e12,
        scale_up_bandwidth=pick(2e11, 1.8e12),
        idle_watts=pick(50, 200),
    )
