"""vcompare: 1.0 where a comparison holds, else 0.0."""

from __future__ import annotations

import numpy as np

from tapeout.chip.isa.definition import Field
from tapeout.chip.isa.forms import F32, binary


def compare(a: F32, b: F32, condition: int) -> F32:
    """IEEE comparison: −0 equals +0, and with a NaN none holds."""
    holds = (a < b, a <= b, a == b)[condition]
    return holds.astype(np.float32)


INSTRUCTION = binary(
    "vcompare", 0x65, "out = 1.0 where a compares so with b, else 0.0 (−0 equals +0; with a NaN no comparison holds)",
    compare, (Field("if", 34, 2, "comparison", ("less", "at_most", "equal")),),
)  # fmt: skip
