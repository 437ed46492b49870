"""The part of a step that falls to one chip, and the two shapes of operator that everything is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from tapeout.model.architecture import Model
from tapeout.workload.formats import Formats, bytes_of
from tapeout.workload.operators import Collective, CollectiveKind, Number, Operator, OperatorRole, Step
from tapeout.workload.parallelism import Parallelism

# FP32 lane operations per element, counted as vector instructions an element passes through.
NORM_OPERATIONS = 4  # add residual, square and sum, times reciprocal root, times weight
ROPE_OPERATIONS = 3  # two products and a sum
SOFTMAX_OPERATIONS = 4  # running maximum, subtract, exp2, sum; the scale is taken into the query
RESCALE_OPERATIONS = 2  # of the running output of a blockwise softmax
GATED_OPERATIONS = {"silu": 3, "gelu_tanh": 7, "clamped_swiglu": 7, "relu2": 2}  # per intermediate channel
SAMPLING_OPERATIONS = 4  # per logit: temperature, maximum, exp2, sum

LatentMode = Literal["auto", "absorbed", "expanded"]


@dataclass(frozen=True, eq=False)
class Shard:
    """What the busiest chip of a group sees of `step`: its attention-data-parallel rank's sequences."""

    model: Model
    step: Step
    parallelism: Parallelism
    formats: Formats
    skew: float
    latent: LatentMode

    def _of_rank(self, sequences: Number) -> Number:
        """Sequences of the fullest rank. Whole only where they are dealt out: a mean may be fractional."""
        ranks = np.asarray(self.parallelism.attention_dp)
        return np.where(ranks > 1, np.ceil(sequences / ranks), sequences)

    @cached_property
    def decode_sequences(self) -> Number:
        """Decoding sequences of the rank."""
        return self._of_rank(self.step.decode_sequences)

    @cached_property
    def prefill_sequences(self) -> Number:
        """Prefilling sequences of the rank."""
        return self._of_rank(self.step.prefill_sequences)

    @cached_property
    def decodes(self) -> bool:
        """Whether any point has decoding sequences."""
        return bool(np.any(np.asarray(self.step.decode_sequences) > 0))

    @cached_property
    def prefills(self) -> bool:
        """Whether any point has prefilling sequences."""
        return bool(np.any(np.asarray(self.step.prefill_sequences) > 0))

    @cached_property
    def tokens(self) -> Number:
        """Token positions of the rank."""
        decode = self.decode_sequences * self.step.decode_tokens
        return decode + self.prefill_sequences * self.step.prefill_tokens if self.prefills else decode

    @cached_property
    def head_rows(self) -> Number:
        """Positions of the rank whose logits are wanted: every decoded token, the last of each prompt."""
        ends = self.step.prefill_sequences if self.step.prefill_heads is None else self.step.prefill_heads
        return self.decode_sequences * self.step.decode_tokens + self._of_rank(ends)

    @cached_property
    def share(self) -> Number:
        """Tokens of the mean rank over those of the fullest."""
        with np.errstate(invalid="ignore", divide="ignore"):
            share = self.step.tokens / self.parallelism.attention_dp / self.tokens
        return np.where(np.isfinite(share), share, 1.0)

    @property
    def tp(self) -> Number:
        """Tensor-parallel degree."""
        return self.parallelism.tp

    def split(self, heads: int) -> Number:
        """Heads of this chip; a head fewer chips than heads cannot share is replicated."""
        return np.maximum(heads / np.asarray(self.tp), 1.0)

    def repeats(self, layers: float) -> Number:
        """Executions on the mean pipeline stage."""
        return layers / np.asarray(self.parallelism.pp)

    def linear(
        self,
        name: str,
        role: OperatorRole,
        format: str,
        layers: float,
        m: Number,
        n: Number,
        k: Number,
        *,
        products: Number = 1.0,
        bias: bool = False,
        share: Number | None = None,
        expert: bool = False,
    ) -> Operator:
        """`products` products of m × k activations by k × n weights."""
        activation = bytes_of(self.formats.activation)
        bias_bytes = products * n * bytes_of(self.formats.vector) if bias else 0.0
        return Operator(
            name=name,
            kind="expert_matmul" if expert else "matmul",
            role=role,
            repeats=self.repeats(layers),
            m=m,
            n=n,
            k=k,
            products=products,
            weight_format=format,
            activation_format=self.formats.activation,
            weight_bytes=products * n * k * bytes_of(format) + bias_bytes,
            input_bytes=products * m * k * activation,
            output_bytes=products * m * n * activation,
            macs=products * m * n * k,
            vector_operations=products * m * n if bias else 0.0,
            share=self.share if share is None else share,
        )

    def vector(
        self,
        name: str,
        role: OperatorRole,
        layers: float,
        elements: Number,
        operations: float,
        *,
        parameters: Number = 0.0,
        outputs: Number | None = None,
        kv_write_bytes: Number = 0.0,
        share: Number | None = None,
    ) -> Operator:
        """`operations` lane operations on each of `elements` elements, with `parameters` weights."""
        activation = bytes_of(self.formats.activation)
        return Operator(
            name=name,
            kind="vector",
            role=role,
            repeats=self.repeats(layers),
            m=elements,
            weight_format=self.formats.vector if np.any(parameters) else "",
            activation_format=self.formats.activation,
            weight_bytes=parameters * bytes_of(self.formats.vector),
            input_bytes=elements * activation,
            output_bytes=(elements if outputs is None else outputs) * activation,
            kv_write_bytes=kv_write_bytes,
            vector_operations=elements * operations,
            share=self.share if share is None else share,
        )

    def collective(
        self,
        name: str,
        kind: CollectiveKind,
        layers: Number,
        group: Number,
        span: Number,
        elements: Number,
        format: str | None = None,
    ) -> Operator:
        """A collective on `elements` numbers, in the format of exchanges unless another is given."""
        format = format or self.formats.exchange
        payload = elements * bytes_of(format)
        return Operator(
            name=name,
            kind="collective",
            role="communication",
            repeats=layers / np.asarray(self.parallelism.pp),
            activation_format=format,
            collective=Collective(kind, group, span, payload),
        )
