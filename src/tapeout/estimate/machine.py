"""Machine: what any accelerator is to the closed-form estimate, ours or off the shelf.

A machine is a matrix peak for each arithmetic format, a memory, two networks, and the few numbers that say
how much of each a kernel gets (`Sustained`), what a kernel and a step cost beside that (`Overheads`), and
what it draws (`Power`). Every number may be a NumPy array over designs; arrays broadcast with those of the
operators. A GPU is built from a datasheet entry and the calibrated parameters
(`tapeout.estimate.accelerators`), a chip of ours from its `ChipSpec`: both go through the same equations
(`tapeout.estimate.step`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from tapeout.workload.operators import Number

# Arithmetic classes, narrowest first. A machine states its dense peak for those it has.
ARITHMETIC = ("fp4", "fp8", "int8", "bf16", "f32")

# The arithmetic class that would be native for weights (or a cache) of a format, with activations alike.
NATIVE: dict[str, str] = {
    "mxfp4": "fp4",
    "nvfp4": "fp4",
    "int4_group32": "bf16",  # weight-only formats are multiplied as BF16
    "mxfp8": "fp8",
    "fp8": "fp8",
    "fp8_block128": "fp8",
    "fp8_tensor": "fp8",
    "fp8_channel": "fp8",
    "fp8_row": "fp8",
    "mxint8": "int8",
    "int8": "int8",
    "bf16": "bf16",
    "f16": "bf16",
    "f32": "f32",
}
# Where a machine lacks a class, what does its work instead, first choice first.
_INSTEAD: dict[str, tuple[str, ...]] = {
    "fp4": ("bf16", "fp8", "f32"),
    "fp8": ("bf16", "int8", "f32"),
    "int8": ("fp8", "bf16", "f32"),
    "bf16": ("f32",),
    "f32": ("bf16",),
}


def pick(value: Number | Mapping[str, Number], key: str) -> Number:
    """The entry of a table, its mean where it lacks the key; a plain number is for every key."""
    if not isinstance(value, Mapping):
        return value
    if key in value:
        return value[key]
    return sum(value.values(), start=np.float64(0.0)) / max(len(value), 1)


@dataclass(frozen=True, eq=False)
class Network:
    """Links among `domain` chips that reach each other at full bandwidth.

    `bandwidth`: bytes/s one chip can send, one direction. `latency_s`: what a collective among two chips
    takes for no bytes; `hop_s`: what each further doubling of the group adds.
    """

    bandwidth: Number
    latency_s: Number
    domain: Number
    hop_s: Number = 0.0


@dataclass(frozen=True, eq=False)
class Sustained:
    """How much of each peak a kernel gets.

    `matrix`, `expert_matrix`: by arithmetic class (or one number for all). They are approached as products
    grow: one of m rows runs at matrix × m / (m + rows_half), since tiles are of a least height. `attention`
    likewise, m being the query rows that share keys. `memory`, `expert_memory`: streaming weights, of dense
    layers and of experts; `cache_memory` by bytes per cached number, 2 or 1. `network`: collectives that are built for
    latency; `bulk_network`: those built for bandwidth, None where there is one kind only. `overlap`: the
    part of the shorter of compute and memory time of a matmul that hides behind the longer. `routing_skew`:
    exponent of the Zipf law of expert popularity.
    """

    matrix: Number | Mapping[str, Number] = 1.0
    expert_matrix: Number | Mapping[str, Number] = 1.0
    attention: Number = 1.0
    memory: Number = 1.0
    expert_memory: Number = 1.0
    cache_memory: Number | Mapping[str, Number] = 1.0
    network: Number = 1.0
    bulk_network: Number | None = None
    vector: Number = 1.0
    overlap: Number = 1.0
    rows_half: Number = 0.0
    expert_rows_half: Number = 0.0
    attention_rows_half: Number = 0.0
    routing_skew: float = 0.0


@dataclass(frozen=True, eq=False)
class Overheads:
    """Seconds that do no work: per kernel of each kind, per collective call, and per step.

    `kernel_s` of a matmul or state update, `quantise_s` more where its activations are converted to the
    narrow format of its weights first, `vector_s` of a vector or gather kernel, `attention_s`, `expert_s` (by
    arithmetic class, or one number for all);
    `collective_s` on top of the network's latency, `bulk_s` and `bulk_hop_s` (per doubling of the group) of one
    built for bandwidth. `step_s` once a step (host, scheduling, launch, sampling), `sequence_s` for each
    decoding sequence in it, `eager_s` for each kernel of a step that is launched one by one, as steps with
    prefill are.
    """

    kernel_s: Number = 0.0
    quantise_s: Number = 0.0
    vector_s: Number = 0.0
    attention_s: Number = 0.0
    expert_s: Number | Mapping[str, Number] = 0.0
    collective_s: Number = 0.0
    bulk_s: Number = 0.0
    bulk_hop_s: Number = 0.0
    step_s: Number = 0.0
    sequence_s: Number = 0.0
    eager_s: Number = 0.0


@dataclass(frozen=True, eq=False)
class Power:
    """Power of one chip with its memory (no host): `idle_w` always, energies for what it does, and
    `active_w` while a step runs. `limit_w`: above it the clock gives way. `cap_w`: what the vendor allows; calibrated
    times already keep within it, so a comparison holds the energy to it and leaves the time alone."""

    idle_w: Number = 0.0
    active_w: Number = 0.0
    memory_pj_per_byte: Number = 0.0
    network_pj_per_byte: Number = 0.0
    mac_pj: Mapping[str, Number] = field(default_factory=dict)  # by arithmetic class
    vector_pj: Number = 0.0  # per FP32 lane operation
    limit_w: Number = np.inf
    cap_w: Number = np.inf


@dataclass(frozen=True, eq=False)
class Machine:
    """One accelerator as the estimate sees it. Rates are per second, sizes in bytes."""

    name: str
    peak_macs: Mapping[str, Number]  # dense multiply-accumulates per second, by arithmetic class
    memory_bandwidth: Number
    memory_capacity: Number
    scale_up: Network
    scale_out: Network
    vector_rate: Number = np.inf  # FP32 lane operations per second
    on_chip_bytes: Number = np.inf  # activations up to this size stay on chip
    on_chip_bandwidth: Number = np.inf
    arithmetic: Mapping[str, str] = field(default_factory=dict)  # weight format → class, where not the usual
    sustained: Sustained = field(default_factory=Sustained)
    overheads: Overheads = field(default_factory=Overheads)
    power: Power = field(default_factory=Power)

    def arithmetic_of(self, weight_format: str) -> str:
        """The arithmetic class that multiplies weights of this format on this machine."""
        if weight_format in self.arithmetic:
            return self.arithmetic[weight_format]
        wanted = NATIVE.get(weight_format, "bf16")
        for choice in (wanted, *_INSTEAD[wanted]):
            if choice in self.peak_macs:
                return choice
        return next(iter(self.peak_macs))

    def quantises(self, weight_format: str) -> bool:
        """Whether activations are converted to a narrow format before they meet such weights."""
        return self.arithmetic_of(weight_format) not in ("bf16", "f32")

    def peak_of(self, weight_format: str) -> Number:
        """Dense MAC/s with weights of this format."""
        return self.peak_macs[self.arithmetic_of(weight_format)]

    def replaced(self, **fields: Any) -> Machine:
        """This machine with some fields changed."""
        return replace(self, **fields)
