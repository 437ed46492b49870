"""How many bits a number takes in each format, and which format each part of a model is kept in."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from weakref import WeakValueDictionary

from tapeout.errors import InputError
from tapeout.model.architecture import Model

# Bits per element, block scales included.
BITS: dict[str, float] = {
    "f32": 32.0,
    "i32": 32.0,
    "bf16": 16.0,
    "f16": 16.0,
    "mxfp4": 4.0 + 8 / 32,  # OCP MX v1.0: one E8M0 scale per 32
    "mxint8": 8.0 + 8 / 32,
    "mxfp8": 8.0 + 8 / 32,
    "fp8_block128": 8.0 + 32 / 128**2,  # DeepSeek-V3: one FP32 scale per 128 × 128 block
    "fp8": 8.0,  # one scale per tensor, channel or row: too few to count
    "fp8_tensor": 8.0,
    "fp8_channel": 8.0,
    "fp8_row": 8.0,
    "int8": 8.0,
    "nvfp4": 4.0 + 8 / 16,  # one E4M3 scale per 16
    "int4_group32": 4.0 + 16 / 32,  # one BF16 scale per 32
}


def bytes_of(format: str) -> float:
    """Bytes per element of `format`, scales included. Raises InputError for an unknown format."""
    if format not in BITS:
        raise InputError("formats", "format", format, f"one of {', '.join(BITS)}")
    return BITS[format] / 8


@dataclass(frozen=True)
class Formats:
    """The format of the weights of each role, of activations between operators, and of what is cached.

    Norm weights and biases are kept in `vector`.
    """

    embedding: str = "bf16"
    lm_head: str = "bf16"
    attention: str = "bf16"
    router: str = "bf16"
    experts: str = "bf16"
    shared_expert: str = "bf16"
    dense: str = "bf16"
    vector: str = "bf16"
    activation: str = "bf16"
    exchange: str = (
        "bf16"  # of what chips add up for each other or pass on; tokens go to experts as activations
    )
    cache: str = "bf16"
    latent_values: str = ""  # of a second copy of cached latents, in the order of values; without one, empty
    index_cache: str = "fp8"  # keys of a sparse-attention indexer
    state: str = "f32"  # state of linear attention

    def __post_init__(self) -> None:
        for f in fields(self):
            value = getattr(self, f.name)
            if value not in BITS and not (f.name == "latent_values" and value == ""):
                raise InputError("formats", f.name, value, f"one of {', '.join(BITS)}")

    @staticmethod
    def stored(model: Model, activation: str = "bf16", cache: str = "bf16") -> Formats:
        """The formats of the published checkpoint: for each role that of most of its parameters."""
        return replace(_stored(model), activation=activation, cache=cache)


_known: WeakValueDictionary[int, Model] = WeakValueDictionary()
_chosen: dict[int, Formats] = {}


def _stored(model: Model) -> Formats:
    """`Formats.stored`, looked up by the model's identity: to hash a model is to walk its tensors."""
    if _known.get(id(model)) is model:
        return _chosen[id(model)]
    counts: dict[str, dict[str, int]] = {}
    for t in model.tensors:
        by_format = counts.setdefault(t.role, {})
        by_format[t.format] = by_format.get(t.format, 0) + t.parameters
    chosen = {role: max(c, key=lambda f: c[f]) for role, c in counts.items()}
    chosen.setdefault("lm_head", chosen.get("embedding", "bf16"))
    names = {f.name for f in fields(Formats)}
    found = Formats(**{role: f for role, f in chosen.items() if role in names})
    _known[id(model)], _chosen[id(model)] = model, found
    return found
