"""The types of a model: what every later stage knows about it, and nothing it does not need.

A `Model` is a tuple of `Layer`s, each a sequence mixer (attention of some kind) and a channel
mixer (dense or mixture of experts), between an embedding and a head. Shapes follow Hugging Face:
a linear layer of `out × in` is stored `[out, in]`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

StorageFormat = Literal["f32", "bf16", "f16", "mxfp4", "fp8_block128", "nvfp4", "int4_group32", "i32"]
Activation = Literal["silu", "gelu_tanh", "clamped_swiglu", "relu2"]


@dataclass(frozen=True)
class Rope:
    """Rotary position embedding, half-split unless `interleaved` (RoFormer, arXiv 2104.09864).

    `scaling` is none, linear, llama3 or yarn (arXiv 2309.00071); the fields that a scaling does not
    use keep their defaults. `rotary_dim` is the number of channels rotated in each head.
    """

    theta: float
    rotary_dim: int
    interleaved: bool = False
    scaling: Literal["none", "linear", "llama3", "yarn"] = "none"
    factor: float = 1.0
    original_context: int = 0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True
    low_frequency_factor: float = 1.0
    high_frequency_factor: float = 4.0
    attention_factor: float = 1.0  # multiplies cos and sin (YaRN's mscale)


@dataclass(frozen=True)
class GroupedQueryAttention:
    """Softmax attention with `heads` query heads sharing `kv_heads` key and value heads (arXiv 2305.13245)."""

    heads: int
    kv_heads: int
    head_dim: int
    rope: Rope | None
    window: int | None = None  # sliding window in tokens, the token itself included; None: all
    chunk: int | None = None  # attention within chunks of this many tokens (Llama 4)
    sinks: bool = False  # one learned logit per head joins the softmax (gpt-oss)
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: Literal["none", "head", "full", "l2"] = "none"  # RMSNorm of each head / of the whole vector
    output_gate: bool = False  # sigmoid gate from the query projection (Qwen3.5)
    scale: float | None = None  # of the scores; None: 1/sqrt(head_dim)


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention, DeepSeek-V2/V3 (arXiv 2405.04434): the cache holds `kv_rank + rope_dim`
    numbers per token."""

    heads: int
    q_rank: int | None
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    rope: Rope
    scale: float  # of the scores, YaRN's mscale included
    index_heads: int = 0  # sparse attention by a lightning indexer (DeepSeek-V3.2, GLM-5); 0: dense
    index_dim: int = 0
    index_topk: int = 0


@dataclass(frozen=True)
class LinearAttention:
    """Gated delta rule (arXiv 2412.06464): a constant-size state instead of a growing cache."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    convolution: int  # kernel width of the short causal convolution


Attention = GroupedQueryAttention | LatentAttention | LinearAttention


@dataclass(frozen=True)
class Dense:
    """Gated feed-forward network: down(act(gate(x)) * up(x))."""

    intermediate: int
    activation: Activation = "silu"
    bias: bool = False
    limit: float | None = None  # of clamped_swiglu


@dataclass(frozen=True)
class MixtureOfExperts:
    """`experts_per_token` of `experts` gated networks per token, plus `shared` ones that always run.

    `scoring`: the order of softmax/sigmoid and top-k. `groups` and `topk_groups`: group-limited
    routing of DeepSeek-V3.
    """

    experts: int
    experts_per_token: int
    intermediate: int
    activation: Activation = "silu"
    bias: bool = False
    router_bias: bool = False
    shared: int = 0
    shared_intermediate: int = 0  # of all shared experts together
    shared_gate: bool = False
    scoring: Literal["topk_softmax", "softmax_topk", "softmax_topk_renormalised", "sigmoid"] = "topk_softmax"
    groups: int = 1
    topk_groups: int = 1
    correction_bias: bool = False
    renormalise: bool = True
    routed_scale: float = 1.0
    scale_input: bool = False  # the routing weight multiplies the expert's input (Llama 4)
    limit: float | None = None


@dataclass(frozen=True)
class Layer:
    """One decoder layer: normalise, attend, add; normalise, feed forward, add."""

    attention: Attention
    feed_forward: Dense | MixtureOfExperts
    post_norms: bool = False  # a norm after attention and after feed-forward too (Gemma 3)


Role = Literal[
    "embedding", "lm_head", "norm", "attention", "router", "experts", "shared_expert", "dense", "other"
]


@dataclass(frozen=True)
class Tensor:
    """One weight as the model uses it: `shape` is logical, `format` how the published checkpoint stores it.

    `stored()` gives the file's tensors (name, shape, dtype) that hold it.
    """

    name: str
    shape: tuple[int, ...]
    format: StorageFormat
    role: Role
    layer: int | None = None  # None: outside the layers

    @property
    def parameters(self) -> int:
        """Number of logical parameters."""
        return prod(self.shape)


@dataclass(frozen=True)
class Model:
    """A decoder-only language model."""

    name: str
    family: str
    hidden: int
    vocabulary: int
    context: int  # longest sequence, tokens
    layers: tuple[Layer, ...]
    tensors: tuple[Tensor, ...]
    norm_epsilon: float = 1e-5
    tied_embeddings: bool = False
    embedding_scale: float = 1.0
    norm_offset: float = 0.0  # Gemma multiplies by 1 + weight
    approximations: tuple[str, ...] = ()  # what this description leaves out, in the user's words
    eos: tuple[int, ...] = ()
    bos: int | None = None

    @cached_property
    def parameters(self) -> int:
        """Total parameters (block scales are not parameters)."""
        return sum(t.parameters for t in self.tensors)
