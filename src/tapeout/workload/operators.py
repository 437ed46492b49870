"""The types of a workload: what one chip does in one forward pass, as a short tuple of operators.

Every numeric field may be a float or a NumPy array, and the fields of all operators of a workload
broadcast together: a million operating points are one set of array operations. Quantities are those
of the *busiest* chip of the group, since all wait for it; `share` is what the mean chip does of that,
because energy follows the mean. Over pipeline stages, `repeats` are those of the mean stage, so that
`pp` times the time of a step is what a token takes through all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError
from tapeout.model.architecture import Role

Number = float | NDArray[Any]

Kind = Literal["matmul", "expert_matmul", "attention", "state", "vector", "gather", "collective"]
CollectiveKind = Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "send"]
OperatorRole = Role | Literal["sampling", "communication"]


@dataclass(frozen=True, eq=False)
class Collective:
    """Communication among `group` chips.

    `payload_bytes` is the size of the tensor in the sense of the collective libraries: for all_reduce
    and send the whole tensor; for all_gather the gathered result; for reduce_scatter the input; for
    all_to_all all that one chip holds for the group, its own part included. `span` is the number of
    consecutively numbered chips over which the group is spread, so a machine can tell whether it stays
    inside the scale-up domain (tensor parallelism numbers fastest, then attention data parallelism,
    then pipeline stages).
    """

    kind: CollectiveKind
    group: Number
    span: Number
    payload_bytes: Number

    @property
    def wire_bytes(self) -> Number:
        """Least bytes each chip must send: 2(g-1)/g of the payload for all_reduce (bandwidth-optimal
        ring or tree; Patarasuk and Yuan, 2009), (g-1)/g for the others, all of it for send."""
        remote = (np.maximum(self.group, 1) - 1) / np.maximum(self.group, 1)
        if self.kind == "send":
            return self.payload_bytes * (np.asarray(self.group) > 1)
        return self.payload_bytes * remote * (2 if self.kind == "all_reduce" else 1)


@dataclass(frozen=True, eq=False)
class Operator:
    """One kind of operation, executed `repeats` times in a step on one chip.

    All quantities are per execution. A matmul is `products` independent products of m × k by k × n
    (weights k × n): 1 for a plain linear layer, the touched experts of `expert_matmul`, the heads of a
    per-head projection. `attention` is scores m × n × k then values m × v × n for each of `products`
    (sequence, KV head) pairs, n being the *mean* number of visible keys of a query row. `state` is the
    update of a linear-attention state. `vector_operations` are FP32 lane operations (one element
    through one vector instruction). Bytes: `weight_bytes` (scales and biases included), `kv_*_bytes`
    and, for `gather`, `input_bytes` come from or go to memory in any case; `input_bytes` and
    `output_bytes` of the other kinds are activations, which may stay on chip.
    """

    name: str
    kind: Kind
    role: OperatorRole
    repeats: Number = 1.0
    m: Number = 0.0
    n: Number = 0.0
    k: Number = 0.0
    v: Number = 0.0
    products: Number = 1.0
    weight_format: str = ""  # empty: no weights
    activation_format: str = "bf16"
    weight_bytes: Number = 0.0
    input_bytes: Number = 0.0
    output_bytes: Number = 0.0
    kv_read_bytes: Number = 0.0
    kv_write_bytes: Number = 0.0
    macs: Number = 0.0
    vector_operations: Number = 0.0
    share: Number = 1.0
    collective: Collective | None = None

    @property
    def memory_bytes(self) -> Number:
        """Bytes per execution that cross the memory interface if activations stay on chip."""
        gathered = self.input_bytes if self.kind == "gather" else 0.0
        return self.weight_bytes + self.kv_read_bytes + self.kv_write_bytes + gathered


@dataclass(frozen=True, eq=False)
class Step:
    """One forward pass of one model replica: decoding sequences and prefill chunks together.

    `decode_context` and `prefill_context` count the tokens already in the cache before the step (a mean
    over the sequences); each decoding sequence adds `decode_tokens` (1, or 1 + drafts under speculative
    decoding), each prefilling one `prefill_tokens`. `prefill_heads`: how many of the prefilling sequences end
    their prompt in this step and so need logits (None: all). Counts are of the whole replica, over all its
    attention-data-parallel ranks.
    """

    decode_sequences: Number = 0.0
    decode_context: Number = 0.0
    decode_tokens: Number = 1.0
    prefill_sequences: Number = 0.0
    prefill_tokens: Number = 0.0
    prefill_context: Number = 0.0
    prefill_heads: Number | None = None

    @staticmethod
    def decode(sequences: Number, context: Number, tokens: Number = 1.0) -> Step:
        """`sequences` sequences, each with `context` tokens cached, each extended by `tokens`."""
        return Step(decode_sequences=sequences, decode_context=context, decode_tokens=tokens)

    @staticmethod
    def prefill(
        sequences: Number, tokens: Number, context: Number = 0.0, heads: Number | None = None
    ) -> Step:
        """`sequences` prompts (or chunks of prompts) of `tokens` new tokens after `context` cached ones."""
        return Step(
            prefill_sequences=sequences, prefill_tokens=tokens, prefill_context=context, prefill_heads=heads
        )

    def check(self) -> None:
        """Raise InputError if a count is negative or not a number."""
        for f in fields(self):
            value = np.asarray(0.0 if (given := getattr(self, f.name)) is None else given)
            wrong = ~(value >= 0)
            if wrong.any():
                raise InputError("step", f.name, float(value[wrong].flat[0]), "a number of at least 0")

    @property
    def tokens(self) -> Number:
        """Token positions computed in the step."""
        return self.decode_sequences * self.decode_tokens + self.prefill_sequences * self.prefill_tokens


@dataclass(frozen=True)
class Totals:
    """Sums over a workload: one step on the busiest chip."""

    macs: Number = 0.0
    vector_operations: Number = 0.0
    weight_bytes: Number = 0.0
    kv_read_bytes: Number = 0.0
    kv_write_bytes: Number = 0.0
    gather_bytes: Number = 0.0
    activation_bytes: Number = 0.0
    wire_bytes: Number = 0.0
    macs_by_format: dict[str, Number] = field(default_factory=dict)  # by weight (or cache) format

    @property
    def memory_bytes(self) -> Number:
        """Bytes across the memory interface if activations stay on chip."""
        return self.weight_bytes + self.kv_read_bytes + self.kv_write_bytes + self.gather_bytes


def totals(operators: Iterable[Operator]) -> Totals:
    """The sums over `operators`, repeats included; arrays broadcast."""
    t = Totals()
    for o in operators:
        r = o.repeats
        by_format = t.macs_by_format
        if o.kind in ("matmul", "expert_matmul", "attention"):
            key = o.weight_format or o.activation_format
            by_format = by_format | {key: by_format.get(key, 0.0) + r * o.macs}
        gathered = o.input_bytes if o.kind == "gather" else 0.0
        t = replace(
            t,
            macs=t.macs + r * o.macs,
            vector_operations=t.vector_operations + r * o.vector_operations,
            weight_bytes=t.weight_bytes + r * o.weight_bytes,
            kv_read_bytes=t.kv_read_bytes + r * o.kv_read_bytes,
            kv_write_bytes=t.kv_write_bytes + r * o.kv_write_bytes,
            gather_bytes=t.gather_bytes + r * gathered,
            activation_bytes=t.activation_bytes + r * (o.input_bytes + o.output_bytes - gathered),
            wire_bytes=t.wire_bytes + (r * o.collective.wire_bytes if o.collective else 0.0),
            macs_by_format=by_format,
        )
    return t


def bytes_by_role(operators: Iterable[Operator]) -> dict[str, Number]:
    """Weight bytes read in a step, by role of the weights: what shapes a chip for decode."""
    found: dict[str, Number] = {}
    for o in operators:
        if np.any(o.weight_bytes):
            found[o.role] = found.get(o.role, 0.0) + o.repeats * o.weight_bytes
    return found
