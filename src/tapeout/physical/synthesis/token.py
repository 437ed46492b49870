"""Energy of one token of the demo at batch 1, from the energies of the operations: what the core's blocks do for it.

MACs by format, FP32 lane operations and scratchpad bytes of the workload times what one of each costs. Every weight
byte goes into the scratchpad and out again once; activations of an operator out and in once. Not in it: the memory
beyond the port, the sequencer and DMA, and what idle blocks' clocks take, which gating decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tapeout.model import load
from tapeout.physical.synthesis.operations import OperationEnergy
from tapeout.workload.build import operators
from tapeout.workload.operators import Step

CONTEXT = 128  # tokens before
BYTES = {"mxint8": 33 / 32, "mxfp4": 17 / 32}  # per weight, with the scale


@dataclass(frozen=True)
class TokenEnergy:
    """`counts`: of each operation; `pj`: of each, estimated; `low_pj`, `high_pj`, `total_pj`: of all."""

    context: int
    counts: dict[str, float]
    pj: dict[str, float]
    total_pj: float
    low_pj: float
    high_pj: float

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return dict(self.__dict__)


def counts(context: int = CONTEXT) -> dict[str, float]:
    """What one decoded token of the demo asks of the core."""
    found = {"mxint8 MAC": 0.0, "mxfp4 MAC": 0.0, "vector operation": 0.0, "write": 0.0, "read": 0.0}
    for o in operators(load("demo"), Step.decode(1, context)):
        times = float(np.asarray(o.repeats))
        form = "mxfp4" if o.weight_format == "mxfp4" else "mxint8"  # attention and what is BF16 run as MXINT8
        macs, moved = times * float(np.asarray(o.macs)), 0.0
        if macs:
            found[f"{form} MAC"] += macs
        if o.weight_format and macs:
            moved += macs * BYTES[form]  # one row: every weight is used once
        moved += times * float(np.asarray(o.kv_read_bytes + o.kv_write_bytes))
        found["write"] += moved + times * float(np.asarray(o.output_bytes))
        found["read"] += moved + times * float(np.asarray(o.input_bytes))
        found["vector operation"] += times * float(np.asarray(o.vector_operations))
    return found


def token(energies: Sequence[OperationEnergy], context: int = CONTEXT) -> TokenEnergy | None:
    """The token's energy, or None if an operation that it needs is not among `energies`. A vector operation
    costs the mean of add and mul, which most are."""
    of: Mapping[str, OperationEnergy] = {e.operation: e for e in energies}
    need = {
        "mxint8 MAC": ["mxint8 MAC"], "mxfp4 MAC": ["mxfp4 MAC"], "write": ["write"], "read": ["read"],
        "vector operation": ["FP32 add", "FP32 mul"],
    }  # fmt: skip
    if any(n not in of for names in need.values() for n in names):
        return None
    amount = counts(context)

    def sums(field: str) -> dict[str, float]:
        return {
            k: amount[k] * float(np.mean([getattr(of[n], field) for n in names])) for k, names in need.items()
        }

    pj = sums("pj")
    return TokenEnergy(
        context, amount, pj, sum(pj.values()), sum(sums("low_pj").values()), sum(sums("high_pj").values())
    )
