"""What a sequence keeps in memory, layer by layer."""

from __future__ import annotations

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.program import CacheTensor
from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import GroupedQueryAttention, LatentAttention, Model
from tapeout.numerics.formats import BLOCK

Kept = tuple[CacheTensor, CacheTensor]


def kept(model: Model, capacity: int) -> tuple[list[Kept], int]:
    """Keys and values of every layer in a sequence's slot of `capacity` positions, and the slot's bytes."""
    found, at = list[Kept](), 0
    for i, layer in enumerate(model.layers):
        a = layer.attention
        if isinstance(a, GroupedQueryAttention):
            keys, values, at = slot_layout(a.kv_heads, a.head_dim, a.head_dim, capacity, at)
        elif isinstance(a, LatentAttention):
            # the latent is there twice, as a key and as a value: each is read as it lies, at the port's full width
            keys, values, at = slot_layout(1, a.kv_rank + a.rope_dim, a.kv_rank, capacity, at)
        else:
            raise not_compiled(model, i)
        found.append((keys, values))
    return found, round_up(at, 4096)


def not_compiled(model: Model, layer: int) -> InputError:
    """That a layer's attention is of a kind that is not compiled."""
    kind = model.layers[layer].attention.kind
    return InputError(model.name, f"layer {layer}", Phrase(kind), "grouped-query or latent attention")


def slot_layout(
    heads: int, dim: int, value_dim: int, capacity: int, at: int
) -> tuple[CacheTensor, CacheTensor, int]:
    """Keys and values of one layer from byte `at` of a slot, and the byte after them.

    Keys lie block by block, so that the positions of a block are one run; values position by position, because
    `transpose` reads rows; scales of both a run for each block.
    """
    kb, vb = -(-dim // BLOCK), -(-value_dim // BLOCK)
    key_codes = at
    key_scales = key_codes + heads * kb * capacity * BLOCK
    value_codes = round_up(key_scales + heads * kb * capacity, 64)
    value_scales = value_codes + heads * vb * capacity * BLOCK
    end = round_up(value_scales + heads * vb * capacity, 64)
    keys = CacheTensor(
        heads,
        kb,
        key_codes,
        key_scales,
        (kb * capacity * BLOCK, capacity * BLOCK, BLOCK),
        (kb * capacity, capacity, 1),
    )
    row = heads * vb * BLOCK
    values = CacheTensor(
        heads, vb, value_codes, value_scales, (vb * BLOCK, BLOCK, row), (vb * capacity, capacity, 1)
    )
    return keys, values, end
