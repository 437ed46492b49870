"""From the time and energy of single steps to steady service: what users see, and what a chip delivers.

A replica decodes `batch` sequences together. Each needs its prompt computed once for every `output_tokens`
tokens, so each round of one decoding step carries batch / output_tokens prompts with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.search.scenario import Scenario
from tapeout.workload.operators import Number


@dataclass(frozen=True, eq=False)
class Service:
    """Steady service of one replica; arrays broadcast over designs and operating points.

    `tpot_s`: mean time per output token; `ttft_s`: time to first token on a replica with no queue;
    `tokens_per_s`: output tokens per second and chip; `joules_per_token`: of all chips of the replica, prefill
    included; `watts`: mean power of a chip; `decode_share`: part of chip-time that decodes.
    """

    tpot_s: Number
    ttft_s: Number
    tokens_per_s: Number
    joules_per_token: Number
    watts: Number
    decode_share: Number

    def meets(self, scenario: Scenario) -> NDArray[np.bool_]:
        """Where both latency targets hold."""
        ok = np.isfinite(np.asarray(self.tpot_s)) & (np.asarray(self.tokens_per_s) > 0)
        if scenario.tpot_ms is not None:
            ok = ok & (np.asarray(self.tpot_s) <= scenario.tpot_ms * 1e-3)
        if scenario.ttft_ms is not None:
            ok = ok & (np.asarray(self.ttft_s) <= scenario.ttft_ms * 1e-3)
        return ok


def serve(
    scenario: Scenario,
    *,
    batch: Number,
    chips: Number,
    passes: Number,
    decode_s: Number,
    decode_j: Number,
    prefill_s: Number,
    prefill_j: Number,
    prompts: Number = 1.0,
) -> Service:
    """Steady service from one decoding step and one prefill of `prompts` mean prompts.

    `decode_s`, `prefill_s`: seconds through one pipeline stage, of which a token takes `passes`; `*_j`: joules of
    the mean chip in that time; `chips`: of the replica.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        carried: Any = np.asarray(batch) / (scenario.output_tokens * np.asarray(prompts))
        round_s = decode_s + carried * prefill_s
        round_j = decode_j + carried * prefill_j
        interleaved = scenario.serving == "interleaved"
        first = prefill_s * passes
        return Service(
            tpot_s=(round_s if interleaved else decode_s) * passes,
            # The step in progress ends first where both share the chips.
            ttft_s=first + (decode_s * passes if interleaved else 0.0),
            tokens_per_s=batch / (round_s * chips),
            joules_per_token=round_j * chips / batch,
            watts=round_j / round_s,
            decode_share=decode_s / round_s,
        )
