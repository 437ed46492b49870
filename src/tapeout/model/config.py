"""A config.json of Hugging Face's, read field by field: old and new spellings, bounds, rotary embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tapeout.errors import Phrase
from tapeout.fields import Fields
from tapeout.model.architecture import Activation, GroupedQueryAttention
from tapeout.model.quantisation import PLAIN, Storage, read_storage
from tapeout.model.rope import Rope, yarn_mscale

# Far above any model built or announced, low enough that every later product stays meaningful.
MAX_LAYERS, MAX_WIDTH, MAX_EXPERTS, MAX_HEADS = 2048, 2**20, 2**14, 2**14

ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu2": "relu2",
}


class Config(Fields):
    """The language part of a config.json.

    A multimodal file keeps it in `text_config`; what describes the whole file (`quantization_config`,
    `dtype`) then stays outside and is found there.
    """

    def __init__(self, table: Mapping[str, Any], where: object) -> None:
        outer = Fields(table, where)
        inner = outer.section("text_config") if "text_config" in outer else outer
        super().__init__(inner.table, where, inner.path)
        self.outer = outer
        self.multimodal = inner is not outer
        self.hidden = self.integer("hidden_size", high=MAX_WIDTH)
        self.layers = self.integer("num_hidden_layers", high=MAX_LAYERS)
        self.vocabulary = self.integer("vocab_size", high=2**24)
        self.context = self.integer("max_position_embeddings", high=2**30)
        self.storage = self._storage()

    @property
    def model_type(self) -> str:
        """`model_type` of the file."""
        return self.outer.text("model_type", "")

    def width(self, key: str, *default: int) -> int:
        """A number of channels."""
        return self.integer(key, *default, high=MAX_WIDTH)

    def heads(self, key: str, *default: int) -> int:
        """A number of heads."""
        return self.integer(key, *default, high=MAX_HEADS)

    def experts(self, *keys: str) -> int:
        """The number of experts, under whichever of its names is present."""
        return self.integer(next((k for k in keys if k in self), keys[0]), high=MAX_EXPERTS)

    def chosen(self, experts: int) -> int:
        """Experts per token."""
        return self.integer("num_experts_per_tok", high=experts)

    def activation(self, default: str = "silu") -> Activation:
        """The activation of the feed-forward network."""
        key = "hidden_activation" if "hidden_activation" in self else "hidden_act"
        return ACTIVATIONS[self.text(key, default, choices=tuple(ACTIVATIONS))]

    def expect(self, key: str, value: object) -> None:
        """Refuse a field that is present with another value than the one described here."""
        if key in self and self.table[key] != value:
            raise self.fail(key, self.table[key], f"{value!r}: the only one this family is described with")

    def layer_types(self, default: list[str], choices: tuple[str, ...]) -> list[str]:
        """The kind of each layer: `layer_types`, else `default`."""
        types = self.array("layer_types", default, longest=MAX_LAYERS)
        if len(types) != self.layers:
            raise self.fail(
                "layer_types", Phrase(f"{len(types)} entries"), f"{self.layers}, one for each layer"
            )
        for i, kind in enumerate(types):
            if kind not in choices:
                raise self.fail(f"layer_types[{i}]", kind, f"one of {', '.join(choices)}")
        return types

    def tokens(self, key: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """Token ids: one, several or none."""
        if key not in self and not self.multimodal:
            return default
        source: Fields = self if key in self else self.outer
        value = source.table.get(key)
        ids = value if isinstance(value, list) else default if value is None else [value]
        for i in ids:
            if isinstance(i, bool) or not isinstance(i, int) or not -1 <= i < 2**24:
                raise source.fail(key, value, "token ids")
        return tuple(i for i in ids if i >= 0)

    def _storage(self) -> Storage:
        source: Fields = self if "dtype" in self or "torch_dtype" in self else self.outer
        key = "dtype" if "dtype" in source else "torch_dtype"
        plain = PLAIN[source.text(key, "bfloat16", choices=tuple(PLAIN))]
        holder: Fields = self if "quantization_config" in self else self.outer
        quantised = "quantization_config" in holder
        return read_storage(plain, holder.section("quantization_config") if quantised else None)

    def grouped_query(
        self,
        layer_type: str | None = None,
        *,
        rotary: bool = True,
        interleaved: bool = False,
        partial: float = 1.0,
        theta: float = 10000.0,
        **options: Any,
    ) -> GroupedQueryAttention:
        """Grouped-query attention in the common fields; `options` are those of the family.

        `layer_type` picks the rotary embedding where a model has several; without `rotary` it has none.
        `partial` (the share of channels rotated) and `theta` are what the file leaves to the family.
        """
        heads = self.heads("num_attention_heads")
        kv_heads = self.heads("num_key_value_heads", heads)
        if heads % kv_heads:
            raise self.fail("num_key_value_heads", kv_heads, f"a divisor of num_attention_heads ({heads})")
        if "head_dim" not in self and self.hidden % heads:
            raise self.fail("num_attention_heads", heads, f"a divisor of hidden_size ({self.hidden})")
        head_dim = self.width("head_dim", self.hidden // heads)
        rope = self.rope(head_dim, layer_type, interleaved, partial, theta) if rotary else None
        return GroupedQueryAttention(heads, kv_heads, head_dim, rope, **options)

    def rope(
        self,
        head_dim: int,
        layer_type: str | None = None,
        interleaved: bool = False,
        partial: float = 1.0,
        theta: float = 10000.0,
    ) -> Rope:
        """The rotary embedding: `rope_parameters`, or `rope_theta` and `rope_scaling` of older files.

        `rope_parameters` may hold one table for each layer type. An older file with windowed layers
        scales the full ones only and gives the others' theta as `rope_local_base_freq` (Gemma 3).
        """
        key = next((k for k in ("rope_parameters", "rope_scaling") if k in self), None)
        table = self.section(key) if key else Fields({}, self.where, self.name("rope_scaling"))
        if layer_type is not None and layer_type in table:
            table = table.section(layer_type)
        elif layer_type == "sliding_attention" and key != "rope_parameters":
            return Rope(theta, head_dim, interleaved)
        share_in: Fields = table if "partial_rotary_factor" in table else self
        share = share_in.number("partial_rotary_factor", partial, low=0.01, high=1.0)
        rotary_dim = self.width("rotary_dim", int(head_dim * share))
        if rotary_dim > head_dim:
            raise self.fail("rotary_dim", rotary_dim, f"at most head_dim ({head_dim})")
        if rotary_dim % 2 or not rotary_dim:
            raise self.fail("head_dim", head_dim, "an even number of rotated channels")
        theta_in: Fields = table if "rope_theta" in table else self
        theta = theta_in.number("rope_theta", theta, low=1.01, high=1e12)
        kind = table.text("rope_type" if "rope_type" in table else "type", "default", choices=_ROPE_KINDS)
        if kind in ("default", "mrope"):
            return Rope(theta, rotary_dim, interleaved)
        factor = table.number("factor", low=1.0, high=1e6)
        if kind == "linear":
            return Rope(theta, rotary_dim, interleaved, "linear", factor)
        original = table.integer("original_max_position_embeddings", self.context, high=2**30)
        if kind == "llama3":
            return Rope(
                theta,
                rotary_dim,
                interleaved,
                "llama3",
                factor,
                original,
                low_frequency_factor=table.number("low_freq_factor", low=1e-3, high=1e6),
                high_frequency_factor=table.number("high_freq_factor", low=1e-3, high=1e6),
            )
        return Rope(
            theta,
            rotary_dim,
            interleaved,
            "yarn",
            factor,
            original,
            beta_fast=table.number("beta_fast", 32.0, low=1e-3, high=1e6),
            beta_slow=table.number("beta_slow", 1.0, low=1e-3, high=1e6),
            truncate=table.boolean("truncate", True),
            attention_factor=_yarn_attention(table, factor),
        )


_ROPE_KINDS = ("default", "mrope", "linear", "llama3", "yarn")


def _yarn_attention(table: Fields, factor: float) -> float:
    if "attention_factor" in table:
        return table.number("attention_factor", low=1e-3, high=1e3)
    if "mscale" in table and "mscale_all_dim" in table:
        scale, of_all = (table.number(k, low=0, high=100) for k in ("mscale", "mscale_all_dim"))
        if scale and of_all:
            return yarn_mscale(factor, scale) / yarn_mscale(factor, of_all)
    return yarn_mscale(factor)
