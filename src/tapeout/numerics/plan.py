"""Which format each tensor of a model takes on the chip: a `FormatPlan`.

Weights that a checkpoint publishes in an MX format are used exactly as they are. Everything else is converted
once, on loading, to the format of its role. Norms, biases, sinks and the embedding are not operands of the matrix
engine: they stay as stored and enter the vector unit as FP32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tapeout.numerics.formats import FORMATS, FormatName, MxFormat

ROLES = ("attention", "router", "experts", "shared_expert", "dense", "lm_head")


@dataclass(frozen=True)
class Operands:
    """Formats of the two sides of a matrix product."""

    weight: FormatName
    activation: FormatName


@dataclass(frozen=True)
class FormatPlan:
    """Formats by role of the weight, of attention's own products (queries and probabilities against the cache),
    and of the cache. Roles not in `roles` take `default`."""

    name: str
    default: Operands
    roles: Mapping[str, Operands] = field(default_factory=dict)
    attention: FormatName = "mxint8"  # queries and probabilities
    cache: FormatName = "mxint8"

    def operands(self, role: str) -> Operands:
        """Formats of a product with weights of this role."""
        return self.roles.get(role, self.default)

    def activation(self, role: str) -> MxFormat:
        """Format of the activations that meet weights of this role."""
        return FORMATS[self.operands(role).activation]

    def weight(self, role: str) -> MxFormat:
        """Format that weights of this role are converted to."""
        return FORMATS[self.operands(role).weight]

    def formats(self) -> set[FormatName]:
        """Every format the plan asks an engine for (published MX weights come on top)."""
        pairs = [self.default, *self.roles.values()]
        return {f for p in pairs for f in (p.weight, p.activation)} | {self.attention, self.cache}


_INT8 = Operands("mxint8", "mxint8")
_WIDE = Operands("mxint15", "mxint15")

PRESETS: dict[str, FormatPlan] = {
    p.name: p
    for p in (
        FormatPlan("mxint8", _INT8),
        FormatPlan("mxfp8", Operands("mxfp8", "mxfp8"), attention="mxfp8", cache="mxfp8"),
        FormatPlan("mxfp4", Operands("mxfp4", "mxint8"), {"router": _INT8, "lm_head": _INT8}),
        FormatPlan(
            "bf16-attention",
            _INT8,
            {"attention": _WIDE, "router": _WIDE, "lm_head": _WIDE},
            attention="mxint15",
            cache="mxint15",
        ),
        FormatPlan("widest", _WIDE, attention="mxint15", cache="mxint15"),
    )
}
"""mxint8: everything not published as MX in 8-bit integers. mxfp8: in E4M3. mxfp4: weights in E2M1 but for router
and head, activations in 8-bit integers. bf16-attention: attention, router and head hold BF16 values (as MXINT15).
widest: every operand MXINT15."""
