"""The types of a model: what every later stage knows about it, and nothing it does not need.

A `Model` is a tuple of `Layer`s, each a sequence mixer (attention of some kind) and a channel
mixer (dense or mixture of experts), between an embedding and a head. Shapes follow Hugging Face:
a linear layer of `out × in` is stored `[out, in]`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Literal, get_args

from tapeout.errors import InputError
from tapeout.model.formats import (
    CACHE_BITS,
    FORMATS,
    CacheFormat,
    StorageFormat,
    StoredTensor,
    stored,
    stored_bytes,
)
from tapeout.model.rope import Rope

__all__ = [
    "LINEAR_ROLES",
    "Activation",
    "Attention",
    "CacheFormat",
    "Dense",
    "GroupedQueryAttention",
    "LatentAttention",
    "Layer",
    "LinearAttention",
    "MixtureOfExperts",
    "Model",
    "Role",
    "Rope",
    "StorageFormat",
    "StoredTensor",
    "Tensor",
]

Activation = Literal["silu", "gelu_tanh", "clamped_swiglu", "relu2"]


@dataclass(frozen=True)
class GroupedQueryAttention:
    """Softmax attention, `heads` query heads sharing `kv_heads` key and value heads (arXiv 2305.13245)."""

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

    @property
    def kind(self) -> str:
        """In a few words."""
        local = f" window {self.window}" if self.window else f" chunk {self.chunk}" if self.chunk else ""
        return f"GQA {self.heads}:{self.kv_heads}{local}"

    @property
    def cache_elements(self) -> int:
        """Numbers cached per token: keys and values."""
        return 2 * self.kv_heads * self.head_dim

    @property
    def state_elements(self) -> int:
        """Numbers cached per sequence whatever its length."""
        return 0


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
    index_topk: int = 0  # a layer with it but without heads reuses the selection of the layer before
    index_interleaved: bool = False  # the indexer's rotary embedding (GLM-5)

    @property
    def kind(self) -> str:
        """In a few words."""
        return f"MLA {self.heads}" + (f" top-{self.index_topk}" if self.index_topk else "")

    @property
    def cache_elements(self) -> int:
        """Numbers cached per token: the latent, the rotated key shared by all heads, the indexer's key."""
        return self.kv_rank + self.rope_dim + self.index_dim

    @property
    def state_elements(self) -> int:
        """Numbers cached per sequence whatever its length."""
        return 0


@dataclass(frozen=True)
class LinearAttention:
    """Gated delta rule (arXiv 2412.06464): a constant-size state instead of a growing cache."""

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    convolution: int  # kernel width of the short causal convolution

    @property
    def kind(self) -> str:
        """In a few words."""
        return f"delta {self.value_heads}:{self.key_heads}"

    @property
    def cache_elements(self) -> int:
        """Numbers cached per token: none, the state does not grow."""
        return 0

    @property
    def state_elements(self) -> int:
        """Numbers cached per sequence whatever its length: state of each head, inputs of the convolution."""
        channels = 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim
        return self.value_heads * self.key_dim * self.value_dim + channels * (self.convolution - 1)


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


# What a quantised version of a model usually quantises; norms, router, embedding and head stay.
LINEAR_ROLES: tuple[Role, ...] = ("attention", "experts", "shared_expert", "dense")


@dataclass(frozen=True)
class Tensor:
    """One weight as the model uses it: `shape` is logical, `format` how the published checkpoint stores it.

    The experts of a layer are one tensor `[experts, out, in]` in every family; a `*` in `name` says that
    the file has one tensor for each index along the first axis. `stored()` lists the file's tensors.
    """

    name: str
    shape: tuple[int, ...]
    format: StorageFormat
    role: Role
    layer: int | None = None  # None: outside the layers
    matrix: bool = False  # a matrix [..., out, in] that multiplies activations: what can be quantised
    transposed: bool = False  # the file holds [..., in, out] (experts of Llama 4)

    @property
    def parameters(self) -> int:
        """Number of logical parameters."""
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        """Bytes in the checkpoint, scales included."""
        return stored_bytes(self.name, self._file_shape, self.format)

    def stored(self) -> Iterator[StoredTensor]:
        """The file tensors (name, shape, dtype) that hold this weight."""
        return stored(self.name, self._file_shape, self.format)

    @property
    def _file_shape(self) -> tuple[int, ...]:
        return (*self.shape[:-2], self.shape[-1], self.shape[-2]) if self.transposed else self.shape


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
    logit_softcap: float | None = None
    approximations: tuple[str, ...] = ()  # what this description leaves out, in the user's words
    eos: tuple[int, ...] = ()
    bos: int | None = None

    @cached_property
    def parameters(self) -> int:
        """Total parameters (block scales are not parameters)."""
        return sum(t.parameters for t in self.tensors)

    @cached_property
    def active_parameters(self) -> int:
        """Parameters that one token meets: chosen experts only, the head but not the embedding table."""
        return sum(round(t.parameters * self.active_share(t)) for t in self.tensors)

    def active_share(self, tensor: Tensor) -> float:
        """Share of `tensor` that one token meets."""
        if tensor.role == "embedding":
            return 1.0 if self.tied_embeddings else 0.0
        if tensor.role == "experts" and tensor.layer is not None:
            feed_forward = self.layers[tensor.layer].feed_forward
            assert isinstance(feed_forward, MixtureOfExperts)
            return feed_forward.experts_per_token / feed_forward.experts
        return 1.0

    @cached_property
    def bytes(self) -> int:
        """Bytes of tensor data in the checkpoint, scales included."""
        return sum(t.bytes for t in self.tensors)

    @cached_property
    def bytes_by_role(self) -> dict[Role, int]:
        """`bytes`, by role."""
        total: Counter[Role] = Counter()
        for t in self.tensors:
            total[t.role] += t.bytes
        return dict(total)

    @cached_property
    def bytes_by_format(self) -> dict[StorageFormat, int]:
        """`bytes`, by format."""
        total: Counter[StorageFormat] = Counter()
        for t in self.tensors:
            total[t.format] += t.bytes
        return dict(total)

    @cached_property
    def mixture(self) -> MixtureOfExperts | None:
        """The mixture of experts of the first layer that has one; None for a dense model."""
        parts = (layer.feed_forward for layer in self.layers)
        return next((part for part in parts if isinstance(part, MixtureOfExperts)), None)

    @property
    def experts(self) -> int:
        """Routed experts per layer; 0 for a dense model."""
        return self.mixture.experts if self.mixture else 0

    @property
    def experts_per_token(self) -> int:
        """Routed experts that each token meets in a layer; 0 for a dense model."""
        return self.mixture.experts_per_token if self.mixture else 0

    @cached_property
    def attention_kind(self) -> str:
        """The kinds of attention in a few words, such as "GQA 64:8 window 128 + full"."""
        first, *others = dict.fromkeys(layer.attention.kind for layer in self.layers)
        return " + ".join([first, *("full" if first.startswith(f"{kind} ") else kind for kind in others)])

    def stored(self) -> Iterator[StoredTensor]:
        """Every tensor of the checkpoint's files."""
        for t in self.tensors:
            yield from t.stored()

    def layer_tensors(self, layer: int | None) -> tuple[Tensor, ...]:
        """The tensors of one layer; of None, those outside the layers."""
        return self._by_layer.get(layer, ())

    @cached_property
    def _by_layer(self) -> dict[int | None, tuple[Tensor, ...]]:
        found: dict[int | None, list[Tensor]] = {}
        for t in self.tensors:
            found.setdefault(t.layer, []).append(t)
        return {layer: tuple(tensors) for layer, tensors in found.items()}

    def cache_bytes_per_token(self, layer: int | None = None, fmt: CacheFormat = "bf16") -> float:
        """Bytes that one token adds to the KV cache, in one layer or (None) in all of them."""
        layers = self.layers if layer is None else (self.layers[layer],)
        return sum(each.attention.cache_elements for each in layers) * CACHE_BITS[fmt] / 8

    def cache_bytes(self, tokens: int, fmt: CacheFormat = "bf16") -> float:
        """Bytes of cache for one sequence of `tokens`: windows bound it, states (F32) do not grow."""
        bits = 0.0
        for layer in self.layers:
            a = layer.attention
            kept = tokens
            if isinstance(a, GroupedQueryAttention) and (a.window or a.chunk):
                kept = min(tokens, a.window or a.chunk or tokens)
            bits += a.cache_elements * kept * CACHE_BITS[fmt] + a.state_elements * 32
        return bits / 8

    def requantised(self, plan: StorageFormat | Mapping[Role, StorageFormat]) -> Model:
        """The same model with its matrices of some roles stored otherwise.

        `plan` gives a format for each role to change; a bare format means the roles of `LINEAR_ROLES`.
        Biases, norms and other vectors keep their format. Raises InputError for a name that is none.

        >>> load("llama-3.1-70b").requantised("fp8_block128")  # doctest: +SKIP
        """
        formats: Mapping[Role, StorageFormat]
        formats = dict.fromkeys(LINEAR_ROLES, plan) if isinstance(plan, str) else plan
        for role, fmt in formats.items():
            if role not in get_args(Role):
                raise InputError("format", "", role, f"one of {', '.join(get_args(Role))}")
            if fmt not in FORMATS:
                raise InputError("format", role, fmt, f"one of {', '.join(FORMATS)}")
        changed = tuple(
            replace(t, format=formats[t.role]) if t.matrix and t.role in formats else t for t in self.tensors
        )
        return replace(self, tensors=changed)

    def describe(self) -> str:
        """One line: what kind of model, how large."""
        experts = f", {self.experts_per_token} of {self.experts} experts" if self.experts else ""
        return (
            f"{self.name}: {self.family}, {self.parameters / 1e9:.2f} B parameters"
            f" ({self.active_parameters / 1e9:.2f} B active), {len(self.layers)} layers{experts},"
            f" {self.bytes / 2**30:.2f} GiB, context {self.context}"
        )
