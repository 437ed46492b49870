"""A step of inference over any set of sequences, with the bits of the chip.

Sequences are independent: a token's results do not depend on what else is in the step, nor on how a prompt is
cut into steps, so sequences can join and leave between steps (continuous batching).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import Dense, Layer, Model
from tapeout.numerics import fast, fp32, library
from tapeout.numerics.plan import PRESETS, FormatPlan
from tapeout.simulator.functional.attention import build
from tapeout.simulator.functional.cache import LayerCache
from tapeout.simulator.functional.feed_forward import DenseNetwork, Mixture
from tapeout.simulator.functional.part import Batch, Setting, linear
from tapeout.simulator.functional.rotary import Rotary
from tapeout.simulator.functional.schedule import Schedule
from tapeout.simulator.functional.state import StateCache
from tapeout.simulator.functional.weights import Loader, Source

CHUNK = 512  # tokens of a prompt worked on at a time; changes memory, not bits
Observe = Callable[[str, int, NDArray[Any]], None]


def _cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Sequence:
    """One sequence: its tokens' caches, layer by layer. `length`: tokens seen so far."""

    def __init__(self, caches: list[LayerCache | StateCache]) -> None:
        self.caches = caches

    @property
    def length(self) -> int:
        """Tokens in the caches."""
        return self.caches[0].length if self.caches else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the caches."""
        return sum(c.nbytes for c in self.caches)

    def truncate(self, length: int) -> None:
        """Forget every token from position `length` on (to retry, to share a prompt, to reject a draft)."""
        for cache in self.caches:
            cache.truncate(length)


class _Block:
    """One decoder layer."""

    def __init__(self, s: Setting, index: int, layer: Layer, rotaries: dict[object, Rotary]) -> None:
        names = s.loader.of_layer(index)
        self.index, self.setting = index, s
        self.attention = build(s, layer.attention, names, rotaries)
        part = layer.feed_forward
        self.feed_forward = (
            DenseNetwork(s, part, names) if isinstance(part, Dense) else Mixture(s, part, names)
        )

        def norm(name: str) -> fp32.F32:
            weight = s.loader.vector(names[f"{name}.weight"])
            assert weight is not None
            offset = s.loader.model.norm_offset
            return fp32.add(weight, np.float32(offset)) if offset else weight

        self.input_norm = norm("input_layernorm")
        self.after_attention = norm("post_attention_layernorm") if layer.post_norms else None
        self.middle_norm = norm(
            "pre_feedforward_layernorm" if layer.post_norms else "post_attention_layernorm"
        )
        self.after_feed_forward = norm("post_feedforward_layernorm") if layer.post_norms else None

    def __call__(self, x: fp32.F32, batch: Batch, observe: Observe | None) -> fp32.F32:
        s = self.setting
        _, q = fast.rms_norm(x, self.input_norm, s.epsilon, s.plan.activation("attention"))
        assert q is not None
        y = self.attention(q, batch)
        if self.after_attention is not None:
            y, _ = fast.rms_norm(y, self.after_attention, s.epsilon)
        x = fast.add(x, y)
        h, _ = fast.rms_norm(x, self.middle_norm, s.epsilon)
        watch = None if observe is None else (lambda what, value: observe(what, self.index, value))
        y = self.feed_forward(h, watch)
        if self.after_feed_forward is not None:
            y, _ = fast.rms_norm(y, self.after_feed_forward, s.epsilon)
        x = fast.add(x, y)
        if observe is not None:
            observe("hidden", self.index, x)
        return x


class Engine:
    """A model ready to run.

    `checkpoint`: where its tensors are (`weights.Source`). `plan`: a `FormatPlan` or the name of a preset.
    `threads`: 0 takes every core; the setting is the process's. `observe(what, layer, array)`, if set, sees
    "hidden" [tokens, hidden] after each layer and "experts" [tokens, k], in the order of the step's tokens.
    Raises InputError for a model or a storage format that the simulator does not run.
    """

    def __init__(
        self,
        model: Model,
        checkpoint: Source,
        plan: FormatPlan | str = "mxint8",
        threads: int = 0,
        schedule: Schedule | None = None,
    ) -> None:
        if isinstance(plan, str) and plan not in PRESETS:
            raise InputError("--formats", "", plan, f"one of {', '.join(PRESETS)}")
        self.model = model
        self.plan = PRESETS[plan] if isinstance(plan, str) else plan
        self.schedule = schedule or Schedule()
        self.observe: Observe | None = None
        library.set_threads(threads or _cores())
        loader = Loader(model, checkpoint)
        setting = Setting(loader, self.plan, self.schedule, model.norm_epsilon)
        outside = {t.role: t for t in model.tensors if t.layer is None}
        rotaries: dict[object, Rotary] = {}
        self.layers = [_Block(setting, i, layer, rotaries) for i, layer in enumerate(model.layers)]
        self.embedding = loader.rows(outside["embedding"])
        norm = loader.vector(outside["norm"])
        assert norm is not None
        self.norm = fp32.add(norm, np.float32(model.norm_offset)) if model.norm_offset else norm
        head = outside["embedding"] if model.tied_embeddings else outside["lm_head"]
        self.head = linear(setting, [head], role="lm_head")
        self.head_format = self.plan.activation("lm_head")

    def sequence(self) -> Sequence:
        """A new, empty sequence."""
        return Sequence([layer.attention.cache() for layer in self.layers])

    def step(
        self, work: Iterable[tuple[Sequence, ArrayLike]], every: bool = False
    ) -> list[NDArray[np.float32]]:
        """Give each sequence new tokens (at least one) and return its logits: float32 [vocabulary] after its last
        token, or [tokens, vocabulary] after each with `every`.

        Raises InputError for a token outside the vocabulary or a sequence that outgrows the context; nothing
        has then changed.
        """
        items = [(s, np.asarray(tokens, dtype=np.int64).reshape(-1)) for s, tokens in work]
        self._check(items)
        results: list[list[NDArray[np.float32]]] = [[] for _ in items]
        done = [0] * len(items)
        while any(done[i] < len(t) for i, (_, t) in enumerate(items)):
            part, room = [], CHUNK
            for i, (_, tokens) in enumerate(items):
                n = min(room, len(tokens) - done[i])
                if n:
                    part.append((i, slice(done[i], done[i] + n)))
                    room -= n
                    done[i] += n
            hidden = self._layers([(items[i][0], items[i][1][span]) for i, span in part])
            start = 0
            for i, span in part:
                n = span.stop - span.start
                if every:
                    results[i].append(self._logits(hidden[start : start + n]))
                elif span.stop == len(items[i][1]):
                    results[i].append(hidden[start + n - 1 : start + n])
                start += n
        if every:
            return [np.concatenate(r) for r in results]
        if not results:
            return []
        return list(self._logits(np.concatenate([r[0] for r in results])))

    def _check(self, items: list[tuple[Sequence, NDArray[np.int64]]]) -> None:
        if len({id(s) for s, _ in items}) != len(items):
            raise ValueError("a sequence twice in one step")
        for s, tokens in items:
            if not tokens.size:
                raise InputError("prompt", "", Phrase("no tokens"), "at least one")
            if tokens.min() < 0 or tokens.max() >= self.model.vocabulary:
                bad = tokens[(tokens < 0) | (tokens >= self.model.vocabulary)][0]
                raise InputError(
                    "prompt", "token", int(bad), f"a token from 0 to {self.model.vocabulary - 1}"
                )
            if s.length + tokens.size > self.model.context:
                raise InputError(
                    "prompt", "", Phrase(f"{s.length + tokens.size} tokens"), f"at most {self.model.context}"
                )

    def _layers(self, work: list[tuple[Sequence, NDArray[np.int64]]]) -> fp32.F32:
        positions = np.concatenate([s.length + np.arange(len(t)) for s, t in work])
        starts = np.cumsum([0] + [len(t) for _, t in work])
        spans = [slice(int(a), int(b)) for a, b in pairwise(starts)]
        x = self.embedding(np.concatenate([t for _, t in work]))
        if self.model.embedding_scale != 1.0:
            x = fp32.mul(x, np.float32(self.model.embedding_scale))
        for i, layer in enumerate(self.layers):
            x = layer(x, Batch(positions, spans, [s.caches[i] for s, _ in work]), self.observe)
        return x

    def _logits(self, hidden: fp32.F32) -> NDArray[np.float32]:
        _, q = fast.rms_norm(hidden, self.norm, self.model.norm_epsilon, self.head_format)
        assert q is not None
        logits = self.head(q)
        cap = self.model.logit_softcap
        if cap is not None:  # cap·tanh(x / cap), tanh(z) = 2σ(2z) − 1
            s = fast.sigmoid(fp32.mul(logits, np.float32(2.0 / cap)))
            logits = fp32.mul(fp32.sub(fp32.mul(s, np.float32(2)), np.float32(1)), np.float32(cap))
        return logits
