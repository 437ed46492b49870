"""The demo model as it is trained: the gpt-oss architecture in torch, experts in MXFP4 from the first step.

Weights keep the orientation of the published checkpoint (`[experts, out, in]`, gate rows even and up rows odd).
In every forward pass the expert matrices are rounded to MXFP4 and everything else to BF16 with the gradient
passed straight through, so the bits that are shipped are the bits that were trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Sizes of the network; the names are those of config.json."""

    hidden: int = 128
    layers: int = 4
    heads: int = 8
    kv_heads: int = 2
    head_dim: int = 32
    experts: int = 8
    experts_per_token: int = 2
    intermediate: int = 128
    vocabulary: int = 1024
    window: int = 32
    initial_context: int = 256
    yarn_factor: float = 4.0
    theta: float = 10_000.0
    beta_fast: float = 8.0
    beta_slow: float = 1.0
    limit: float = 7.0
    epsilon: float = 1e-5


def mxfp4(w: Tensor) -> tuple[Tensor, Tensor]:
    """(elements, exponent) of `w` `[..., k]` in MXFP4 blocks of 32 along the last axis (OCP MX v1.0, section 6.3):
    w ≈ elements × 2^exponent, elements on the E2M1 grid, `exponent` `[..., k/32, 1]` unbiased."""
    blocks = w.float().unflatten(-1, (-1, 32))
    amax = blocks.abs().amax(-1, keepdim=True).clamp_min(2.0**-100)
    exponent = torch.frexp(amax).exponent - 1 - 2  # floor(log2 amax) − emax of E2M1
    scaled = torch.ldexp(blocks, -exponent)
    size = scaled.abs()
    step = torch.where(size < 2, 0.5, torch.where(size < 4, 1.0, 2.0))
    return ((size / step).round() * step).clamp_max(6.0).copysign(scaled), exponent


def as_mxfp4(w: Tensor) -> Tensor:
    """`w` rounded to MXFP4, gradient straight through."""
    with torch.no_grad():
        elements, exponent = mxfp4(w)
        rounded = torch.ldexp(elements, exponent).flatten(-2)
    return w + (rounded - w).detach() if w.requires_grad else rounded


def as_bf16(w: Tensor) -> Tensor:
    """`w` rounded to BF16 but held in FP32, gradient straight through."""
    return w + (w.detach().bfloat16().float() - w.detach())


def rotary(shape: Shape, length: int) -> tuple[Tensor, Tensor]:
    """cos and sin `[length, head_dim/2]` of YaRN (arXiv 2309.00071), not truncated, scaled by the mscale."""
    half = shape.head_dim // 2

    def channel(rotations: float) -> float:
        turns = shape.initial_context / (rotations * 2 * math.pi)
        return shape.head_dim * math.log(turns) / (2 * math.log(shape.theta))

    low, high = max(channel(shape.beta_fast), 0.0), min(channel(shape.beta_slow), shape.head_dim - 1.0)
    plain = shape.theta ** -(torch.arange(half, dtype=torch.float32) / half)
    ramp = ((torch.arange(half, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
    frequency = plain / shape.yarn_factor * ramp + plain * (1 - ramp)
    angle = torch.arange(length, dtype=torch.float32)[:, None] * frequency
    scale = 0.1 * math.log(shape.yarn_factor) + 1
    return angle.cos() * scale, angle.sin() * scale


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Half-split rotation of `x` `[batch, heads, tokens, head_dim]`."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


def norm(x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """RMSNorm in FP32."""
    return F.rms_norm(x.float(), (x.shape[-1],), as_bf16(weight), epsilon)


class Block(nn.Module):
    """One decoder layer; even layers attend within the sliding window."""

    def __init__(self, shape: Shape, index: int) -> None:
        super().__init__()
        s, self.shape, self.local = shape, shape, index % 2 == 0
        deep = 0.5 / math.sqrt(2 * s.layers)

        def matrix(*size: int, gain: float = 0.5) -> nn.Parameter:
            return nn.Parameter(torch.randn(*size) * gain / math.sqrt(size[-1]))

        def zeros(*size: int) -> nn.Parameter:
            return nn.Parameter(torch.zeros(*size))

        self.input_norm, self.post_norm = (
            nn.Parameter(torch.ones(s.hidden)),
            nn.Parameter(torch.ones(s.hidden)),
        )
        self.q, self.q_bias = matrix(s.heads * s.head_dim, s.hidden), zeros(s.heads * s.head_dim)
        self.k, self.k_bias = matrix(s.kv_heads * s.head_dim, s.hidden), zeros(s.kv_heads * s.head_dim)
        self.v, self.v_bias = matrix(s.kv_heads * s.head_dim, s.hidden), zeros(s.kv_heads * s.head_dim)
        self.o, self.o_bias = matrix(s.hidden, s.heads * s.head_dim, gain=deep), zeros(s.hidden)
        self.sinks = zeros(s.heads)
        self.router, self.router_bias = matrix(s.experts, s.hidden), zeros(s.experts)
        self.gate_up = matrix(s.experts, 2 * s.intermediate, s.hidden)
        self.gate_up_bias = zeros(s.experts, 2 * s.intermediate)
        self.down = matrix(s.experts, s.hidden, s.intermediate, gain=deep)
        self.down_bias = zeros(s.experts, s.hidden)

    def attend(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Attention with sinks over `x` `[batch, tokens, hidden]`."""
        s, (batch, tokens, _) = self.shape, x.shape

        def heads(weight: Tensor, bias: Tensor, count: int) -> Tensor:
            y = F.linear(x, as_bf16(weight), as_bf16(bias))
            return y.view(batch, tokens, count, s.head_dim).transpose(1, 2)

        q = rotate(heads(self.q, self.q_bias, s.heads), cos, sin)
        k = rotate(heads(self.k, self.k_bias, s.kv_heads), cos, sin)
        v = heads(self.v, self.v_bias, s.kv_heads)
        # The sink is one more key: queries gain a channel of ones, keys one that is the sink there and 0 elsewhere.
        q = torch.cat((q * s.head_dim**-0.5, torch.ones_like(q[..., :1])), -1)
        k, v = (F.pad(t, (0, 1)).repeat_interleave(s.heads // s.kv_heads, 1) for t in (k, v))
        sink = F.pad(as_bf16(self.sinks)[:, None], (s.head_dim, 0)).to(k.dtype)
        if self.local and tokens > s.window and tokens % s.window == 0:
            # Blocks of one window: each query block sees its own and the previous block of keys.
            count = tokens // s.window
            q, k, v = (t.unflatten(2, (count, s.window)) for t in (q, k, v))
            k, v = (torch.cat((F.pad(t, (0, 0, 0, 0, 1, 0))[:, :, :-1], t), 3) for t in (k, v))
            row, column = torch.arange(s.window)[:, None], torch.arange(2 * s.window) - s.window
            mask = ((row >= column) & (row - column < s.window)).repeat(count, 1, 1)
            mask[0] &= column >= 0
            sink = sink[None, :, None, None].expand(batch, s.heads, count, 1, -1)
            q, k, v, sink = (t.transpose(1, 2).flatten(0, 1) for t in (q, k, v, sink))
            mask = mask.repeat(batch, 1, 1)[:, None]
        else:
            position = torch.arange(tokens)
            distance = position[:, None] - position
            mask = (distance >= 0) & ((distance < s.window) | (not self.local))
            sink = sink[None, :, None].expand(batch, s.heads, 1, -1)
        k, v = torch.cat((k, sink), -2), F.pad(v, (0, 0, 0, 1))
        y = F.scaled_dot_product_attention(q, k, v, F.pad(mask, (0, 1), value=True), scale=1.0)[..., :-1]
        if y.shape[0] != batch:
            y = y.unflatten(0, (batch, -1)).transpose(1, 2).flatten(2, 3)
        return F.linear(y.transpose(1, 2).flatten(2), as_bf16(self.o), as_bf16(self.o_bias))

    def route(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(expert ids, weights, load-balancing loss of arXiv 2101.03961) for `x` `[tokens, hidden]`."""
        with torch.autocast("cpu", enabled=False):  # a router in BF16 flips experts
            logits = F.linear(x.float(), as_bf16(self.router), as_bf16(self.router_bias))
        values, chosen = logits.topk(self.shape.experts_per_token, -1)
        share = F.one_hot(chosen, self.shape.experts).float().sum(1).mean(0) / self.shape.experts_per_token
        balance = self.shape.experts * (share * logits.softmax(-1).mean(0)).sum()
        return chosen, values.softmax(-1), balance

    def experts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mixture of experts over `x` `[tokens, hidden]`; returns the balance loss too."""
        s = self.shape
        chosen, weights, balance = self.route(x)
        gate_up, down = as_mxfp4(self.gate_up), as_mxfp4(self.down)
        gate_up_bias, down_bias = as_bf16(self.gate_up_bias), as_bf16(self.down_bias)
        order = chosen.flatten().argsort(stable=True)
        counts = chosen.flatten().bincount(minlength=s.experts).tolist()
        source = order // s.experts_per_token
        parts = []
        for e, rows in enumerate(x[source].split(counts)):
            both = F.linear(rows, gate_up[e], gate_up_bias[e]).float()
            gate = both[:, 0::2].clamp(max=s.limit)
            up = both[:, 1::2].clamp(-s.limit, s.limit)
            parts.append(F.linear((up + 1) * gate * torch.sigmoid(1.702 * gate), down[e], down_bias[e]))
        y = torch.cat(parts).float() * weights.flatten()[order][:, None]
        return torch.zeros_like(x, dtype=torch.float32).index_add(0, source, y), balance

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        """The residual stream after this layer, and the balance loss."""
        x = x + self.attend(norm(x, self.input_norm, self.shape.epsilon), cos, sin)
        y, balance = self.experts(norm(x, self.post_norm, self.shape.epsilon).flatten(0, 1))
        return x + y.view_as(x), balance


class Network(nn.Module):
    """Token ids `[batch, tokens]` to logits `[batch, tokens, vocabulary]`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embedding = nn.Parameter(torch.randn(shape.vocabulary, shape.hidden))
        self.blocks = nn.ModuleList(Block(shape, i) for i in range(shape.layers))
        self.norm = nn.Parameter(torch.ones(shape.hidden))
        self.head = nn.Parameter(torch.randn(shape.vocabulary, shape.hidden) * 0.5 / math.sqrt(shape.hidden))

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(logits, mean balance loss)."""
        x = F.embedding(tokens, as_bf16(self.embedding))
        cos, sin = rotary(self.shape, tokens.shape[1])
        total = torch.zeros(())
        for block in self.blocks:
            x, balance = block(x, cos, sin)
            total = total + balance / len(self.blocks)
        return F.linear(norm(x, self.norm, self.shape.epsilon), as_bf16(self.head)), total
