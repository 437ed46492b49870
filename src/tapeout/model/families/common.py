"""What families share: collecting weights under the checkpoint's names, and the decoder around the layers.

A family reads its config into `Layer`s and calls `decoder`. Where its checkpoint names or lays out a part
otherwise, it passes its own writer for that part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tapeout.model.architecture import (
    Dense,
    GroupedQueryAttention,
    Layer,
    MixtureOfExperts,
    Model,
    Role,
    Tensor,
)
from tapeout.model.config import Config
from tapeout.model.formats import StorageFormat
from tapeout.model.quantisation import Storage


class Weights:
    """The tensors of a model, in the order of its checkpoint. Names are given relative to `prefix`."""

    def __init__(self, storage: Storage, prefix: str = "", layer: int | None = None) -> None:
        self.storage, self.prefix, self.layer = storage, prefix, layer
        self.tensors: list[Tensor] = []

    def inside(self, prefix: str, layer: int | None = None) -> Weights:
        """The same collection, with names under `prefix` and tensors of `layer`."""
        inner = Weights(self.storage, prefix, layer)
        inner.tensors = self.tensors
        return inner

    def vector(self, name: str, *shape: int, role: Role, fmt: StorageFormat | None = None) -> None:
        """A bias, a norm, a sink: anything that is never quantised."""
        fmt = fmt or self.storage.plain
        self.tensors.append(Tensor(self.prefix + name, shape, fmt, role, self.layer))

    def norm(self, name: str, width: int) -> None:
        """The weight of a normalisation."""
        self.vector(f"{name}.weight", width, role="norm")

    def matrix(self, name: str, *shape: int, role: Role, transposed: bool = False) -> None:
        """A weight `[..., out, in]` under its full name; `transposed`: the file holds `[..., in, out]`."""
        module = self.prefix + name.removesuffix(".weight")
        fmt = self.storage.matrix(module, role)
        self.tensors.append(Tensor(self.prefix + name, shape, fmt, role, self.layer, True, transposed))

    def linear(self, module: str, *shape: int, role: Role, bias: bool = False) -> None:
        """`module.weight` [..., out, in] and, with `bias`, `module.bias` [..., out]."""
        self.matrix(f"{module}.weight", *shape, role=role)
        if bias:
            self.vector(f"{module}.bias", *shape[:-1], role=role)


Writer = Callable[[Weights, int, Any], None]  # weights, hidden, the part of the layer to write


def write_grouped_query(w: Weights, hidden: int, a: GroupedQueryAttention) -> None:
    """`self_attn.{q,k,v,o}_proj`, norms of queries and keys, sinks."""
    queries, keys = a.heads * a.head_dim, a.kv_heads * a.head_dim
    gated = 2 if a.output_gate else 1
    w.linear("self_attn.q_proj", queries * gated, hidden, role="attention", bias=a.qkv_bias)
    w.linear("self_attn.k_proj", keys, hidden, role="attention", bias=a.qkv_bias)
    w.linear("self_attn.v_proj", keys, hidden, role="attention", bias=a.qkv_bias)
    w.linear("self_attn.o_proj", hidden, queries, role="attention", bias=a.output_bias)
    if a.qk_norm in ("head", "full"):
        w.norm("self_attn.q_norm", a.head_dim if a.qk_norm == "head" else queries)
        w.norm("self_attn.k_norm", a.head_dim if a.qk_norm == "head" else keys)
    if a.sinks:
        w.vector("self_attn.sinks", a.heads, role="attention")


def write_gated(
    w: Weights, module: str, hidden: int, intermediate: int, role: Role, bias: bool = False
) -> None:
    """`module.{gate,up,down}_proj`."""
    w.linear(f"{module}.gate_proj", intermediate, hidden, role=role, bias=bias)
    w.linear(f"{module}.up_proj", intermediate, hidden, role=role, bias=bias)
    w.linear(f"{module}.down_proj", hidden, intermediate, role=role, bias=bias)


def write_experts(
    w: Weights,
    hidden: int,
    moe: MixtureOfExperts,
    module: str = "mlp",
    names: tuple[str, str, str] = ("gate_proj", "up_proj", "down_proj"),
    correction: str = "gate.e_score_correction_bias",
    shared: str = "shared_experts",
) -> None:
    """A router `module.gate`, `module.experts.*` one by one, the shared experts and their gate."""
    w.linear(f"{module}.gate", moe.experts, hidden, role="router", bias=moe.router_bias)
    if moe.correction_bias:
        w.vector(f"{module}.{correction}", moe.experts, role="router", fmt="f32")
    gate, up, down = (f"{module}.experts.*.{name}" for name in names)
    w.linear(gate, moe.experts, moe.intermediate, hidden, role="experts")
    w.linear(up, moe.experts, moe.intermediate, hidden, role="experts")
    w.linear(down, moe.experts, hidden, moe.intermediate, role="experts")
    if moe.shared:
        write_gated(w, f"{module}.{shared}", hidden, moe.shared_intermediate, "shared_expert")
        if moe.shared_gate:
            w.linear(f"{module}.{shared}_gate", 1, hidden, role="router")


def write_feed_forward(
    w: Weights, hidden: int, part: Dense | MixtureOfExperts, shared: str = "shared_experts"
) -> None:
    """`mlp`, dense or a mixture."""
    if isinstance(part, MixtureOfExperts):
        write_experts(w, hidden, part, shared=shared)
    else:
        write_gated(w, "mlp", hidden, part.intermediate, "dense", part.bias)


def write_norms(w: Weights, hidden: int, layer: Layer) -> None:
    """`input_layernorm` and `post_attention_layernorm`."""
    w.norm("input_layernorm", hidden)
    w.norm("post_attention_layernorm", hidden)


def decoder(
    config: Config,
    family: str,
    layers: Sequence[Layer],
    *,
    attention: Writer = write_grouped_query,
    feed_forward: Writer = write_feed_forward,
    norms: Writer = write_norms,
    prefix: str = "model.",
    head: str = "lm_head",
    tied: bool = False,
    approximations: Sequence[str] = (),
    **options: Any,
) -> Model:
    """The model of these layers: embedding, layers under `prefix + layers.N`, norm, head."""
    tied = (config if "tie_word_embeddings" in config else config.outer).boolean("tie_word_embeddings", tied)
    shared: dict[Layer, Layer] = {}
    layers = tuple(shared.setdefault(layer, layer) for layer in layers)
    w = Weights(config.storage)
    w.matrix(f"{prefix}embed_tokens.weight", config.vocabulary, config.hidden, role="embedding")
    for i, layer in enumerate(layers):
        inside = w.inside(f"{prefix}layers.{i}.", i)
        attention(inside, config.hidden, layer.attention)
        feed_forward(inside, config.hidden, layer.feed_forward)
        norms(inside, config.hidden, layer)
    w.norm(f"{prefix}norm", config.hidden)
    if not tied:
        w.matrix(f"{head}.weight", config.vocabulary, config.hidden, role="lm_head")
    if config.multimodal:
        approximations = (*approximations, "text only: the encoders for images and other media are left out")
    return Model(
        name=family,
        family=family,
        hidden=config.hidden,
        vocabulary=config.vocabulary,
        context=config.context,
        layers=layers,
        tensors=tuple(w.tensors),
        norm_epsilon=options.pop("norm_epsilon", None) or config.number("rms_norm_eps", 1e-6, low=0, high=1),
        tied_embeddings=tied,
        approximations=tuple(approximations),
        eos=config.tokens("eos_token_id"),
        bos=next(iter(config.tokens("bos_token_id")), None),
        **options,
    )
