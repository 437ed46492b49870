"""Linear attention by the gated delta rule: a state of constant size instead of a growing cache."""

from __future__ import annotations

import numpy as np

from tapeout.model.architecture import LinearAttention, Tensor
from tapeout.numerics import delta, fast, fp32
from tapeout.numerics.formats import Mx
from tapeout.simulator.functional.part import Batch, Setting, linear
from tapeout.simulator.functional.state import StateCache


class Delta:
    """Order: projections, convolution with silu, norms of queries and keys, decays and rates, the delta rule, norm of
    each head (its weight as it is), times silu of the gate, output."""

    def __init__(self, s: Setting, a: LinearAttention, names: dict[str, Tensor]) -> None:
        self.a, self.s = a, s
        self.qkv, self.z, self.b, self.a_in, self.out = (
            linear(s, [names[f"linear_attn.{p}.weight"]])
            for p in ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a", "out_proj")
        )
        self.convolution = _vector(s, names, "conv1d.weight").reshape(-1, a.convolution)
        self.bias = _vector(s, names, "dt_bias")
        self.rates = delta.rate(_vector(s, names, "A_log"))
        self.norm = _vector(s, names, "norm.weight")
        self.operand = s.plan.activation("attention")

    def cache(self) -> StateCache:
        """An empty state."""
        return StateCache(self.a)

    def __call__(self, x: Mx, batch: Batch) -> fp32.F32:
        """See `attention.Mixer`."""
        a = self.a
        qkv, z = self.qkv(x), self.z(x)
        betas = fast.sigmoid(self.b(x))
        decays = delta.decay(self.a_in(x), self.bias, self.rates)
        y = np.empty((len(qkv), a.value_heads, a.value_dim), np.float32)
        keys = a.key_heads * a.key_dim
        for span, cache in zip(batch.spans, batch.caches, strict=True):
            assert isinstance(cache, StateCache)
            inputs = np.concatenate([cache.before, qkv[span]])
            cache.before = inputs[len(inputs) - len(cache.before) :]
            mixed = delta.convolve(inputs, self.convolution)
            q, k = (mixed[:, i * keys : (i + 1) * keys].reshape(-1, a.key_heads, a.key_dim) for i in (0, 1))
            v = mixed[:, 2 * keys :].reshape(-1, a.value_heads, a.value_dim)
            y[span] = delta.gated_delta(
                delta.normalised(q, a.key_dim**-0.5),
                delta.normalised(k),
                v,
                decays[span],
                betas[span],
                cache.state,
            )
            cache.length += len(mixed)
        y, _ = fast.rms_norm(y, self.norm, self.s.epsilon)
        gate = fp32.mul(z, fast.sigmoid(z))
        return self.out(fast.quantise(fp32.mul(y.reshape(len(z), -1), gate), self.operand))


def _vector(s: Setting, names: dict[str, Tensor], name: str) -> fp32.F32:
    values = s.loader.vector(names[f"linear_attn.{name}"])
    assert values is not None
    return values
