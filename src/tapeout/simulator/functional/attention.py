"""The attention half of a layer: grouped-query, latent, linear."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tapeout.errors import InputError
from tapeout.model.architecture import Attention, GroupedQueryAttention, LatentAttention, Tensor
from tapeout.numerics import fast, fp32
from tapeout.numerics.formats import FORMATS, Mx
from tapeout.simulator.functional.cache import LayerCache
from tapeout.simulator.functional.delta import Delta
from tapeout.simulator.functional.part import Batch, Setting, linear
from tapeout.simulator.functional.rotary import Rotary
from tapeout.simulator.functional.state import StateCache


class Mixer(Protocol):
    """Attention of some kind."""

    def __call__(self, x: Mx, batch: Batch) -> fp32.F32:
        """Normalised inputs [tokens, hidden] → [tokens, hidden]; appends to the caches."""
        ...

    def cache(self) -> LayerCache | StateCache:
        """An empty cache."""
        ...


def build(s: Setting, a: Attention, names: dict[str, Tensor], rotaries: dict[object, Rotary]) -> Mixer:
    """The attention of a layer."""
    if isinstance(a, GroupedQueryAttention):
        return GroupedQuery(s, a, names, rotaries)
    if isinstance(a, LatentAttention):
        return Latent(s, a, names, rotaries)
    return Delta(s, a, names)


def _rotary(rotaries: dict[object, Rotary], rope: object) -> Rotary:
    return rotaries.setdefault(rope, Rotary(rope))  # type: ignore[arg-type]


def _norm(s: Setting, tensor: Tensor | None) -> fp32.F32 | None:
    weight = s.loader.vector(tensor)
    offset = s.loader.model.norm_offset
    return weight if weight is None or not offset else fp32.add(weight, np.float32(offset))


class GroupedQuery:
    """Order: projections, norms of heads, rotation (then the norm without weights of Llama 4), cache, attention,
    gate, output."""

    def __init__(
        self,
        s: Setting,
        a: GroupedQueryAttention,
        names: dict[str, Tensor],
        rotaries: dict[object, Rotary],
    ) -> None:
        self.a, self.s = a, s
        projections = [f"self_attn.{p}_proj" for p in "qkv"]
        self.qkv = linear(
            s, [names[f"{p}.weight"] for p in projections], [names.get(f"{p}.bias") for p in projections]
        )
        self.out = linear(s, [names["self_attn.o_proj.weight"]], [names.get("self_attn.o_proj.bias")])
        self.q_norm = _norm(s, names.get("self_attn.q_norm.weight"))
        self.k_norm = _norm(s, names.get("self_attn.k_norm.weight"))
        self.sinks = s.loader.vector(names.get("self_attn.sinks"))
        self.rotary = None if a.rope is None else _rotary(rotaries, a.rope)
        self.scale = a.head_dim**-0.5 if a.scale is None else a.scale
        self.activation = FORMATS[s.plan.attention]
        self.output_format = s.plan.activation("attention")

    def cache(self) -> LayerCache:
        """An empty cache."""
        a = self.a
        return LayerCache(FORMATS[self.s.plan.cache], a.kv_heads, a.head_dim, a.head_dim)

    def _normed(self, x: fp32.F32, weight: fp32.F32 | None) -> fp32.F32:
        if self.a.qk_norm == "head":
            return fast.rms_norm(x, weight, self.s.epsilon)[0]
        if self.a.qk_norm == "full":
            return fast.rms_norm(x.reshape(len(x), -1), weight, self.s.epsilon)[0].reshape(x.shape)
        return x

    def __call__(self, x: Mx, batch: Batch) -> fp32.F32:
        """See `Mixer`."""
        a, tokens = self.a, len(batch.positions)
        wide = a.heads * a.head_dim * (2 if a.output_gate else 1)
        qkv = self.qkv(x)
        q = np.ascontiguousarray(qkv[:, :wide]).reshape(tokens, a.heads, -1)
        gate = None
        if a.output_gate:
            q, gate = np.ascontiguousarray(q[..., : a.head_dim]), q[..., a.head_dim :]
        narrow = a.kv_heads * a.head_dim
        k = np.ascontiguousarray(qkv[:, wide : wide + narrow]).reshape(tokens, a.kv_heads, a.head_dim)
        v = np.ascontiguousarray(qkv[:, wide + narrow :]).reshape(tokens, a.kv_heads, a.head_dim)
        q, k = self._normed(q, self.q_norm), self._normed(k, self.k_norm)
        if self.rotary is not None and a.rope is not None:
            cos, sin = self.rotary.at(batch.positions)
            q = fast.rope(q, cos, sin, a.rope.interleaved)
            k = fast.rope(k, cos, sin, a.rope.interleaved)
            if a.qk_norm == "l2":
                q = fast.rms_norm(q, None, self.s.epsilon)[0]
                k = fast.rms_norm(k, None, self.s.epsilon)[0]
        y = np.empty_like(q)
        low, high = visible(batch.positions, a.window, a.chunk)
        for span, cache in zip(batch.spans, batch.caches, strict=True):
            assert isinstance(cache, LayerCache)
            cache.append(k[span], v[span])
            y[span] = fast.attend(
                q[span], cache.keys, cache.values, cache.length, low[span], high[span],
                self.scale, self.activation, a.head_dim, self.sinks, self.s.schedule.tile,
            )  # fmt: skip
        if gate is not None:
            y = fp32.mul(y, fast.sigmoid(gate))
        return self.out(fast.quantise(y.reshape(tokens, -1), self.output_format))


def visible(
    positions: NDArray[np.int64], window: int | None, chunk: int | None
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """First and one past the last position that each token sees."""
    low = np.zeros_like(positions)
    if window is not None:
        low = np.maximum(low, positions - window + 1)
    if chunk is not None:
        low = np.maximum(low, positions // chunk * chunk)
    return low.astype(np.int32), (positions + 1).astype(np.int32)


class Latent:
    """Latent attention in its absorbed form: every head attends to the cached latent itself.

    The part of kv_b_proj that makes keys is applied to the queries (contraction over the nope channels), the part
    that makes values to the attended latent (contraction over the latent). Keys are the normalised latent
    followed by the rotated key, values the latent.
    """

    def __init__(
        self, s: Setting, a: LatentAttention, names: dict[str, Tensor], rotaries: dict[object, Rotary]
    ) -> None:
        self.a, self.s = a, s
        self.low_rank = a.q_rank is not None
        if self.low_rank:
            self.q_a = linear(s, [names["self_attn.q_a_proj.weight"]])
            self.q_a_norm = _norm(s, names["self_attn.q_a_layernorm.weight"])
            self.q = linear(s, [names["self_attn.q_b_proj.weight"]])
        else:
            self.q = linear(s, [names["self_attn.q_proj.weight"]])
        self.kv_a = linear(s, [names["self_attn.kv_a_proj_with_mqa.weight"]])
        self.kv_a_norm = _norm(s, names["self_attn.kv_a_layernorm.weight"])
        both = s.loader.matrix(names["self_attn.kv_b_proj.weight"])
        both = both.reshape(a.heads, a.nope_dim + a.value_dim, a.kv_rank)
        format = s.plan.weight("attention")
        self.to_key = fast.prepare(np.ascontiguousarray(both[:, : a.nope_dim].swapaxes(1, 2)), format)
        self.to_value = fast.prepare(np.ascontiguousarray(both[:, a.nope_dim :]), format)
        self.out = linear(s, [names["self_attn.o_proj.weight"]])
        self.rotary = _rotary(rotaries, a.rope)
        self.activation = FORMATS[s.plan.attention]
        self.operand = s.plan.activation("attention")

    def cache(self) -> LayerCache:
        """An empty cache."""
        a = self.a
        return LayerCache(FORMATS[self.s.plan.cache], 1, a.kv_rank + a.rope_dim, a.kv_rank)

    def _per_head(self, x: fp32.F32, weights: fast.Weights) -> fp32.F32:
        """x [tokens, heads, in] times each head's own weights → [tokens, heads, out]."""
        tokens, heads, k = x.shape
        head = np.arange(heads, dtype=np.int32)
        index = (np.arange(tokens, dtype=np.int32)[None, :] * heads + head[:, None]).reshape(-1)
        groups = fast.Groups(head, np.arange(heads + 1, dtype=np.int32) * np.int32(tokens), index)
        splits = self.s.schedule.of("attention", k)
        y = fast.matmul(fast.quantise(x.reshape(-1, k), self.operand), weights, None, splits, groups)
        return np.ascontiguousarray(y.reshape(heads, tokens, -1).swapaxes(0, 1))

    def __call__(self, x: Mx, batch: Batch) -> fp32.F32:
        """See `Mixer`."""
        a, tokens, epsilon = self.a, len(batch.positions), self.s.epsilon
        if a.index_topk and int(batch.positions.max()) >= a.index_topk:
            raise InputError(
                self.s.loader.model.name, "sequence", f"{int(batch.positions.max()) + 1} tokens",
                f"at most {a.index_topk}: beyond it attention is sparse, which the simulator does not run",
            )  # fmt: skip
        if self.low_rank:
            _, down = fast.rms_norm(self.q_a(x), self.q_a_norm, epsilon, self.operand)
            assert down is not None
            q = self.q(down)
        else:
            q = self.q(x)
        q = q.reshape(tokens, a.heads, a.nope_dim + a.rope_dim)
        cos, sin = self.rotary.at(batch.positions)
        turned = fast.rope(np.ascontiguousarray(q[..., a.nope_dim :]), cos, sin, a.rope.interleaved)
        absorbed = self._per_head(np.ascontiguousarray(q[..., : a.nope_dim]), self.to_key)
        query = np.concatenate([absorbed, turned], axis=-1)
        kv = self.kv_a(x)
        latent, _ = fast.rms_norm(np.ascontiguousarray(kv[:, : a.kv_rank]), self.kv_a_norm, epsilon)
        key = np.ascontiguousarray(kv[:, None, a.kv_rank :])
        key = np.concatenate([latent[:, None], fast.rope(key, cos, sin, a.rope.interleaved)], axis=-1)
        y = np.empty((tokens, a.heads, a.kv_rank), np.float32)
        low, high = visible(batch.positions, None, None)
        for span, cache in zip(batch.spans, batch.caches, strict=True):
            assert isinstance(cache, LayerCache)
            cache.append(key[span], latent[span, None])
            y[span] = fast.attend(
                query[span], cache.keys, cache.values, cache.length, low[span], high[span],
                a.scale, self.activation, a.kv_rank, None, self.s.schedule.tile,
            )  # fmt: skip
        values = self._per_head(y, self.to_value)
        return self.out(fast.quantise(values.reshape(tokens, -1), self.operand))
