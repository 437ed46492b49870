"""A workload prepared for the chip estimate: operators reduced to the few arrays its equations use."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.spec import ChipSpec
from tapeout.estimate.chip_stages import Stage, stages
from tapeout.model.architecture import Model
from tapeout.workload.build import operators
from tapeout.workload.capacity import cache_bytes, weight_bytes
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Number, Operator, Step
from tapeout.workload.parallelism import Parallelism
from tapeout.workload.shard import LatentMode


@dataclass(frozen=True, eq=False)
class ChipWork:
    """The operators of one step (or of an array of operating points), and what must fit in memory.

    `tokens`: positions computed per replica; `passes`, `chips`: of one replica; `held_bytes`: weights and
    caches on the fullest chip.
    """

    operators: tuple[Operator, ...]
    stages: tuple[Stage, ...]
    formats: Formats
    tokens: Number
    passes: Number  # pipeline stages, each of which a token passes
    chips: Number
    held_bytes: Number
    valid: NDArray[np.bool_]  # whether the model can be split so
    _prepared: dict[Any, tuple[Stage, ...]] = field(default_factory=dict)

    @staticmethod
    def of(
        model: Model,
        step: Step,
        parallelism: Parallelism | None = None,
        formats: Formats | None = None,
        *,
        skew: float = 0.0,
        latent: LatentMode = "auto",
        resident_sequences: Number | None = None,
        resident_context: Number | None = None,
    ) -> ChipWork:
        """Prepare `step` of `model`. Memory must hold the step's sequences in every pipeline stage's turn;
        `resident_sequences` sequences of `resident_context` tokens instead if given."""
        p = parallelism or Parallelism()
        f = formats or Formats.stored(model, activation="mxint8", cache="mxint8")
        ranks = np.asarray(p.attention_dp)
        context: Number
        if resident_sequences is not None:
            sequences = resident_sequences
            context = step.decode_context if resident_context is None else resident_context
            cache = np.ceil(sequences / ranks) * cache_bytes(model, context, p, f)
        else:
            decode = np.ceil(step.decode_sequences * p.pp / ranks)
            cache = decode * cache_bytes(model, step.decode_context + step.decode_tokens, p, f)
            if np.any(np.asarray(step.prefill_sequences) > 0):
                prefill = np.ceil(step.prefill_sequences / ranks)
                cache = cache + prefill * cache_bytes(model, step.prefill_context + step.prefill_tokens, p, f)
        found = operators(model, step, p, f, skew=skew, latent=latent)
        return ChipWork(
            operators=found,
            stages=stages(found, np.maximum(step.tokens / ranks, 1.0)),
            formats=f,
            tokens=step.tokens,
            passes=p.pp,
            chips=p.chips,
            held_bytes=weight_bytes(model, p, f) + cache,
            valid=p.valid(model),
        )

    def prepared(self, dtype: Any) -> tuple[Stage, ...]:
        """The stages as arrays of type `dtype`, computed once."""
        known = self._prepared
        if dtype not in known:
            known[dtype] = tuple(s.prepared(dtype) for s in self.stages)
        return known[dtype]


def chip_formats(model: Model, chip: ChipSpec, *, cache: str | None = None) -> Formats:
    """Formats in which `chip` runs `model`: each weight as published where the matrix engine takes it, else
    the engine's first of MXINT8, MXFP8, BF16 and MXFP4 (of MXFP8 first for weights published in FP8)."""
    engine = chip.core.matrix.formats
    stored = Formats.stored(model)

    def run_in(format: str) -> str:
        if format in engine:
            return format
        wanted = ("mxint8", "mxfp8", "bf16", "mxfp4")
        if format.startswith("fp8"):
            wanted = ("mxfp8", "mxint8", "bf16", "mxfp4")
        return next(x for x in wanted if x in engine)

    changed: dict[str, Any] = {
        role: run_in(getattr(stored, role))
        for role in ("lm_head", "attention", "router", "experts", "shared_expert", "dense")
    }
    activation = next(x for x in ("mxint8", "mxfp8", "bf16", "mxfp4") if x in engine)
    return Formats(
        **changed,
        embedding=stored.embedding,
        activation=activation,
        cache=cache or activation,
        # Keys and values of an absorbed latent are read in different orders, which the load engine cannot turn.
        latent_values=cache or activation,
        index_cache=run_in("fp8"),
    )
