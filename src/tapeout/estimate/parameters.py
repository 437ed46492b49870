"""The parameters of the accelerator model: few, physical, each with a prior, a spread and a source.

A prior comes from kernel measurements or from the literature and says what is believed before any serving run
has been seen; calibration moves a parameter as far as the measurements warrant. All are positive and
fitted as logarithms: `spread` is the standard deviation of the prior's logarithm.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

KERNELS = "kernel latencies of A100, H100, H200 and B200 (aiconfigurator performance database, Apache-2.0)"
EXPECTED = "expected from the engines' published profiles"


@dataclass(frozen=True)
class Parameter:
    """One parameter: its unit, what is believed of it beforehand, and why."""

    name: str
    unit: str
    prior: float
    spread: float
    meaning: str
    source: str = KERNELS
    fitted: bool = True


def _hardware() -> list[Parameter]:
    p = Parameter
    return [
        p("matrix.bf16", "ratio", 0.80, 0.07, "sustained share of the BF16 matrix peak, large products"),
        p("matrix.fp8", "ratio", 0.60, 0.10, "the same in FP8"),
        p("matrix.fp4", "ratio", 0.43, 0.15, "the same in FP4"),
        p("expert_matrix.bf16", "ratio", 0.60, 0.2, "the same for grouped products of experts, BF16 arithmetic"),
        p("expert_matrix.fp8", "ratio", 0.33, 0.2, "the same in FP8"),
        p("expert_matrix.fp4", "ratio", 0.30, 0.3, "the same in FP4"),
        p("rows_half", "rows", 4.0, 0.7, "rows at which a product runs at half its sustained rate"),
        p("expert_rows_half", "rows", 60.0, 0.3, "the same for an expert: tiles are padded to their height"),
        p("attention", "ratio", 0.65, 0.1, "sustained share of the BF16 peak in attention, many query rows"),
        p("attention_rows_half", "rows", 9.0, 0.3, "query rows sharing keys at which half of it is reached"),
        p("memory", "ratio", 0.81, 0.05, "sustained share of memory bandwidth, weights of dense layers"),
        p("expert_memory", "ratio", 0.70, 0.15, "the same for weights of experts"),
        p("cache_memory.bf16", "ratio", 0.86, 0.05, "the same for a BF16 cache in decode attention"),
        p("cache_memory.fp8", "ratio", 0.68, 0.15, "the same for an 8-bit cache"),
        p("overlap", "ratio", 0.75, 0.15, "part of the shorter of compute and memory time that is hidden"),
        p("vector", "ratio", 0.5, 0.3, "sustained share of the FP32 vector peak", fitted=False),
        p("network", "ratio", 0.29, 0.2, "sustained share of scale-up bandwidth, latency-optimised all-reduce"),
        p("bulk_network", "ratio", 0.65, 0.1, "the same, bandwidth-optimised (NCCL)", fitted=False),
        p("collective_s", "s", 4.4e-6, 0.3, "an all-reduce of no bytes among two chips"),
        p("collective_hop_s", "s", 0.4e-6, 0.5, "each doubling of the group after that"),
        p("bulk_s", "s", 7e-6, 0.2, "a bandwidth-optimised collective among two chips", fitted=False),
        p("bulk_hop_s", "s", 4.8e-6, 0.2, "each doubling of the group after that", fitted=False),
        p("scale_out_s", "s", 12e-6, 0.4, "latency across the scale-out network", EXPECTED, fitted=False),
        p("kernel_s", "s", 3.9e-6, 0.2, "a matrix product's launch, fill and drain"),
        p("quantise_s", "s", 4.1e-6, 0.4, "more where activations are converted to FP8 or FP4 first"),
        p("vector_s", "s", 2.2e-6, 0.3, "a vector kernel's launch, fill and drain", EXPECTED),
        p("attention_s", "s", 12.5e-6, 0.2, "attention's launch, split over keys and reduction"),
        p("expert_s", "s", 13e-6, 0.3, "a grouped product's launch and routing tables"),
        p(
            "expert_s.fp4", "s", 10e-6, 0.4, "the same where four-bit weights meet native arithmetic, as on Blackwell",
            "gpt-oss-120b on eight B200 at 4 requests: 437 tokens/s and user (InferenceX)", fitted=False,
        ),
        p(
            "routing_skew", "exponent", 0.8, 0.3,
            "exponent of the Zipf law of expert popularity; random prompts wake fewer experts than an even router",
            "power laws of 1.01 and 1.2 are what kernel benchmarks assume; chosen between those and 0 by"
            " held-out error", fitted=False,
        ),
    ]  # fmt: skip


_ENGINES: dict[str, tuple[float, float, float, float]] = {
    # name: (host seconds a step, spread, kernel factor's spread, seconds before prefill)
    "vllm": (2.0e-3, 0.6, 0.2, 15e-3),
    "vllm-async": (0.5e-3, 0.6, 0.2, 10e-3),
    "trtllm": (0.8e-3, 0.6, 0.2, 20e-3),
    "sglang": (1.0e-3, 0.6, 0.2, 30e-3),
}


def _engines() -> list[Parameter]:
    found = []
    for name, (step, spread, kernel, first) in _ENGINES.items():
        e = f"engine.{name}"
        found += [
            Parameter(
                f"{e}.kernel_factor",
                "ratio",
                1.0,
                kernel,
                "kernel overheads against the isolated ones",
                EXPECTED,
            ),
            Parameter(
                f"{e}.network_factor", "ratio", 1.0, 0.3, "collective time against the isolated one", EXPECTED
            ),
            Parameter(f"{e}.step_s", "s", step, spread, "host work that a step waits for", EXPECTED),
            Parameter(f"{e}.sequence_s", "s", 15e-6, 0.6, "the same for each decoding sequence", EXPECTED),
            Parameter(f"{e}.eager_s", "s", 8e-6, 0.5, "launch of a kernel of a step with prefill", EXPECTED),
            Parameter(
                f"{e}.first_steps",
                "steps",
                1.0,
                0.8,
                "steps until a first token reaches the client",
                EXPECTED,
            ),
            Parameter(f"{e}.first_s", "s", first, 0.8, "before prefill: HTTP, tokeniser, queues", EXPECTED),
        ]
    found.append(
        Parameter(
            "wave",
            "ratio",
            0.05,
            0.5,
            "share of requests that arrive all at once, as a client's first do",
            EXPECTED,
        )
    )
    return found


def _power() -> list[Parameter]:
    why = "H100 figures in the literature; fitted on published energy of serving"
    found = [
        ("power.idle", "W", 75.0, 0.2, "an H100 with nothing to do", False),
        (
            "power.active",
            "W",
            330.0,
            0.4,
            "more while it serves, whatever it does: clocks, leakage, fabric",
            True,
        ),
        ("power.memory_pj_per_byte", "pJ/byte", 40.0, 0.25, "a byte from HBM to the multipliers", True),
        ("power.mac_pj", "pJ", 0.9, 0.4, "a BF16 multiply-accumulate, operands included, N5", True),
        ("power.network_pj_per_byte", "pJ/byte", 60.0, 0.4, "a byte sent to another chip", False),
        ("power.vector_pj", "pJ", 5.0, 0.4, "an FP32 lane operation, N5", False),
    ]
    return [Parameter(n, unit, v, s, meaning, why, fitted) for n, unit, v, s, meaning, fitted in found]


HARDWARE: tuple[Parameter, ...] = tuple(_hardware())
ENGINE: tuple[Parameter, ...] = tuple(_engines())
POWER: tuple[Parameter, ...] = tuple(_power())
ALL: dict[str, Parameter] = {p.name: p for p in HARDWARE + ENGINE + POWER}


@dataclass(frozen=True)
class Parameters:
    """A value for every parameter, with the standard deviation of its logarithm, and where they come from."""

    values: Mapping[str, float]
    deviations: Mapping[str, float] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def priors() -> Parameters:
        """What is believed before any serving run has been seen."""
        return Parameters({n: p.prior for n, p in ALL.items()}, {n: p.spread for n, p in ALL.items()})

    def replaced(self, values: Mapping[str, float]) -> Parameters:
        """These with some values changed."""
        return Parameters({**self.values, **values}, self.deviations, self.provenance)
