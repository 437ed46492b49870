"""Serving engines: what the software around a step costs, by engine and generation.

These are properties of the host program (Python scheduler, CUDA graphs, streaming), not of a model or an
accelerator. A generation is told by version where a version changed how the host works.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tapeout.estimate.parameters import Parameters

TOKEN_BUDGET = 8192  # tokens of one prefill step; the engines' default on accelerators of this size
# vLLM schedules the next step while the accelerator still works on this one since 0.14.
ASYNCHRONOUS_VLLM = (0, 14)
ENGINES = ("vllm", "vllm-async", "trtllm", "sglang")


@dataclass(frozen=True)
class Engine:
    """One engine. `kernel_factor` and `network_factor` multiply kernel overheads and network time (fusion, choice of
    algorithm). Seconds: `step_s` a step, `sequence_s` a decoding sequence in it, `eager_s` a kernel of a
    step with prefill, `first_s` a request before its prefill (HTTP, tokeniser, queues). `first_steps`: decoding
    steps a first token waits for, the one in progress and those over which the engine collects tokens before it
    sends them. `wave`: share of requests that arrive together with all others, as a closed-loop client's first do.
    """

    name: str
    kernel_factor: float
    network_factor: float
    step_s: float
    sequence_s: float
    eager_s: float
    first_s: float
    first_steps: float
    wave: float
    token_budget: int = TOKEN_BUDGET


def generation(backend: str, version: str | None) -> str:
    """The name of the engine's generation: "vllm" before asynchronous scheduling, "vllm-async" since, others as
    they are; "" for an engine that is not known."""
    name = re.sub(r"[^a-z0-9]", "", backend.lower())
    name = {"tensorrtllm": "trtllm", "trt": "trtllm", "tensorrt": "trtllm"}.get(name, name)
    if name == "vllm":
        found = re.match(r"v?(\d+)\.(\d+)", version or "")
        if found and (int(found[1]), int(found[2])) >= ASYNCHRONOUS_VLLM:
            return "vllm-async"
    return name if name in ENGINES else ""


def engine(name: str, parameters: Parameters) -> Engine:
    """The engine of that name (see `generation`); for an unknown one the geometric mean of those known."""
    p = parameters.values

    def get(field: str) -> float:
        if name in ENGINES:
            return p[f"engine.{name}.{field}"]
        product = 1.0
        for e in ENGINES:
            product *= p[f"engine.{e}.{field}"]
        return float(product ** (1 / len(ENGINES)))

    return Engine(
        name or "unknown",
        get("kernel_factor"),
        get("network_factor"),
        get("step_s"),
        get("sequence_s"),
        get("eager_s"),
        get("first_s"),
        get("first_steps"),
        p["wave"],
    )
