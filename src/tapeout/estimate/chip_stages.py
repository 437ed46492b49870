"""Operators reduced to what runs on our engines one after another: stages.

A stage is one use of the matrix engine with the vector work that runs beside it, or vector work that
nothing can run beside (a barrier), or a collective. Element-wise vector work on the result of a product
(biases, rotation, activations, combination of experts) runs on each tile as it leaves the matrix
engine, and so does the conversion of a product's input to its format; norms and choices need whole rows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.chip_constants import NORM_INSTRUCTIONS
from tapeout.estimate.chip_design import BLOCK
from tapeout.workload.formats import bytes_of
from tapeout.workload.linear_attention import CHUNK
from tapeout.workload.operators import Collective, Number, Operator

_BARRIERS = ("norm.", "router.top_k", "sampling", "attention.gate", "linear.convolution", "linear.norm_gate")
QUANTISE_OPERATIONS = 2  # per element: block maximum, scale and round

StageKind = Literal["product", "attention", "barrier", "gather", "collective"]


@dataclass(frozen=True, eq=False)
class Stage:
    """Per execution, as in `Operator`. `stream_bytes`: weights or cached keys and values, from memory;
    `held_bytes`: inputs and outputs, in the scratchpads if they fit; `rows_bytes`: one row of input."""

    name: str
    kind: StageKind
    repeats: Number
    share: Number
    format: str  # of what streams through the columns
    m: Number = 0.0
    n: Number = 0.0
    k: Number = 0.0
    v: Number = 0.0
    products: Number = 0.0
    macs: Number = 0.0
    vector: Number = 0.0
    stream_bytes: Number = 0.0
    input_bytes: Number = 0.0
    held_bytes: Number = 0.0
    write_bytes: Number = 0.0
    row_bytes: Number = 0.0
    tokens: Number = 1.0  # a barrier can start on the next token while products still run on the last
    chosen: bool = False  # what to load is only known once the stage before has run
    collective: Collective | None = None
    operators: tuple[str, ...] = ()
    part: Number = 1.0  # of the whole that one product is
    blocks: Number = 1.0  # of 32 along the contraction
    sums_bytes: Number = 0.0  # all partial sums once, in FP32
    root: Number = 0.0  # (A/W)^1/2, (AW/S²)^1/3 and (A/S)^1/2 of inputs A, stream W and sums S: see
    cube: Number = 0.0  # chip_memory.Flow.port_seconds
    sums_root: Number = 0.0
    largest_held: float = 0.0
    reduced: Number = 0.0  # of the vector operations, those of sums and maxima over rows
    beside: Number = 0.0  # of the vector operations, those on the result of a product
    chain: Number = 0.0  # vector instructions that wait for each other, of a barrier
    values: bool = False  # attention with values, not only scores
    absent: NDArray[np.bool_] | None = None  # points in which it does not occur; None: it occurs in all

    def prepared(self, dtype: Any) -> Stage:
        """The same stage with every number of type `dtype`, and what depends on the work alone computed."""
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            a, w = np.asarray(self.input_bytes), np.asarray(self.stream_bytes)
            sums = np.asarray(self.products * self.m * (self.v if self.kind == "attention" else self.n)) * 4.0
            ratios = [np.sqrt(a / w), np.cbrt(a * w / sums**2), np.sqrt(a / sums)]
            root, cube, sums_root = (np.clip(np.nan_to_num(x, nan=0.0), 0.0, 1e9) for x in ratios)
        # Where the operator does not occur its shape means nothing: any will do, and it is not repeated.
        shape: dict[str, Any] = {}
        product = self.kind in ("product", "attention")
        absent = ~(np.asarray(self.products * self.m * self.n * self.k if product else self.m) > 0)
        if self.kind != "collective" and absent.any():
            shape = {name: np.where(absent, 1.0, getattr(self, name)) for name in ("m", "n", "k", "products")}
            shape |= {"repeats": np.where(absent, 0.0, self.repeats), "absent": absent}
        whole = replace(
            self,
            **shape,
            part=1 / np.maximum(self.products, 1.0),
            blocks=np.maximum(np.ceil(np.asarray(self.k) / 32), 1.0),
            sums_bytes=sums,
            root=root,
            cube=cube,
            sums_root=sums_root,
            largest_held=float(np.max(self.held_bytes)),
            values=self.kind == "attention" and bool(np.any(np.asarray(self.v) > 0)),
        )
        return whole._cast(dtype)

    def _cast(self, dtype: Any) -> Stage:
        def to(x: Any) -> Any:
            return np.asarray(x, dtype=dtype)

        changed: dict[str, Any] = {name: to(getattr(self, name)) for name in _NUMBERS}
        if self.collective is not None:
            c = self.collective
            changed["collective"] = Collective(c.kind, to(c.group), to(c.span), to(c.payload_bytes))
        return replace(self, **changed)


_NUMBERS = {
    "repeats", "share", "m", "n", "k", "v", "products", "macs", "vector", "stream_bytes", "input_bytes",
    "held_bytes", "write_bytes", "row_bytes", "tokens", "part", "root", "cube", "sums_root", "sums_bytes", "blocks",
    "reduced", "chain", "beside",
}  # fmt: skip


def stages(operators: Iterable[Operator], tokens: Number) -> tuple[Stage, ...]:
    """The stages of `operators`, in order. `tokens`: positions the chip computes."""
    found: list[Stage] = []
    for o in operators:
        if o.kind == "collective":
            c = o.collective
            found.append(
                Stage(o.name, "collective", o.repeats, o.share, "", collective=c, operators=(o.name,))
            )
        elif o.kind == "gather":
            found.append(_gather(o))
        elif o.kind == "vector":
            last = found[-1] if found else None
            if last is None or o.name.startswith(_BARRIERS) or last.kind != "product":
                found.append(_barrier(o, tokens))
            else:
                found[-1] = _beside(last, o)
        elif o.kind == "state":
            found.append(_state(o))
        else:
            found.append(_product(o, tokens))
    return tuple(found)


def _gather(o: Operator) -> Stage:
    return Stage(
        o.name, "gather", o.repeats, o.share, "", m=o.m, vector=o.vector_operations, stream_bytes=o.input_bytes,
        chosen=True, operators=(o.name,),
    )  # fmt: skip


def _barrier(o: Operator, tokens: Number) -> Stage:
    last = o.name.startswith(("norm.final", "sampling"))
    return Stage(
        o.name, "barrier", o.repeats, o.share, "", m=o.m, vector=o.vector_operations,
        stream_bytes=o.weight_bytes, held_bytes=o.input_bytes + o.output_bytes, write_bytes=o.kv_write_bytes,
        tokens=1.0 if last else tokens, operators=(o.name,),
        reduced=o.m * (2 if o.name == "sampling" else o.name.startswith("norm.")), chain=NORM_INSTRUCTIONS,
    )  # fmt: skip


def _beside(stage: Stage, o: Operator) -> Stage:
    """`stage` with the vector work of `o` beside it, scaled if `o` runs more or less often."""
    ratio = o.repeats / np.asarray(stage.repeats)
    return replace(
        stage,
        vector=stage.vector + ratio * o.vector_operations,
        beside=stage.beside + ratio * o.vector_operations,
        stream_bytes=stage.stream_bytes + ratio * o.weight_bytes,
        write_bytes=stage.write_bytes + ratio * o.kv_write_bytes,
        operators=(*stage.operators, o.name),
    )


def _product(o: Operator, tokens: Number) -> Stage:
    attention = o.kind == "attention"
    # The tokens of all experts are converted once, before they are dealt out.
    rows = o.products * o.m
    inputs = (np.minimum(rows, tokens) if o.name.startswith("experts.gate_up") else rows) * o.k
    reduced: Number = 0.0
    if attention:
        # Queries, and the weights of the softmax for each 32 channels of values, which have scales of their own.
        pairs, groups = o.products * o.m * o.n, np.maximum(np.ceil(np.asarray(o.v) / BLOCK), 1.0)
        inputs, reduced = o.products * o.m * o.k + groups * pairs, 2 * pairs
    activation = bytes_of(o.activation_format)
    return Stage(
        o.name,
        "attention" if attention else "product",
        o.repeats,
        o.share,
        o.weight_format if not attention else o.activation_format,
        m=o.m,
        n=o.n,
        k=o.k,
        v=o.v,
        products=o.products,
        macs=o.macs,
        vector=o.vector_operations + inputs * QUANTISE_OPERATIONS,
        beside=o.vector_operations,
        stream_bytes=o.weight_bytes + o.kv_read_bytes,
        input_bytes=o.input_bytes,
        held_bytes=o.input_bytes + o.output_bytes,
        write_bytes=o.kv_write_bytes,
        row_bytes=o.k * activation,
        chosen=o.name.startswith("experts.gate_up"),
        operators=(o.name,),
        reduced=reduced,
    )


def _state(o: Operator) -> Stage:
    """Linear attention: token by token on the vector unit, or chunkwise on the matrix engine."""
    if o.name.endswith("decode"):
        return Stage(
            o.name, "barrier", o.repeats, o.share, "", m=o.m * o.products, vector=o.vector_operations + o.macs,
            stream_bytes=o.kv_read_bytes, held_bytes=o.input_bytes + o.output_bytes,
            write_bytes=o.kv_write_bytes, operators=(o.name,),
        )  # fmt: skip
    rows = np.clip(o.m, 1.0, CHUNK)
    return Stage(
        o.name, "product", o.repeats, o.share, "mxint8", m=rows, n=o.n, k=o.k,
        products=o.macs / (rows * o.n * o.k), macs=o.macs, vector=o.vector_operations,
        stream_bytes=o.kv_read_bytes, input_bytes=o.input_bytes, held_bytes=o.input_bytes + o.output_bytes,
        write_bytes=o.kv_write_bytes, row_bytes=o.k, operators=(o.name,),
    )  # fmt: skip
