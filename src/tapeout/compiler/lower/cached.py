"""What a sequence keeps in memory, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.program import CacheTensor, StateTensor
from tapeout.model.architecture import GroupedQueryAttention, LatentAttention, LinearAttention, Model
from tapeout.numerics.formats import BLOCK

STATE_SHARE = 16  # a piece of a state is at most this part of the scratchpad


@dataclass(frozen=True)
class Kept:
    """Of every layer keys and values, or states, in a sequence's slot of `slot_bytes`; states come first, in
    `state_bytes`. The other of the two is empty."""

    cache: tuple[tuple[CacheTensor, ...], ...]
    states: tuple[tuple[StateTensor, ...], ...]
    slot_bytes: int
    state_bytes: int


def kept(model: Model, capacity: int, pad_bytes: int) -> Kept:
    """What a sequence of `capacity` positions keeps, on a core with so much scratchpad."""
    at, states = 0, list[tuple[StateTensor, ...]]()
    for layer in model.layers:
        own: tuple[StateTensor, ...] = ()
        if isinstance(layer.attention, LinearAttention):
            own, at = state_layout(layer.attention, pad_bytes, at)
        states.append(own)
    state_bytes, cache = at, list[tuple[CacheTensor, ...]]()
    for layer in model.layers:
        a, found = layer.attention, tuple[CacheTensor, ...]()
        if isinstance(a, GroupedQueryAttention):
            keys, values, at = slot_layout(a.kv_heads, a.head_dim, a.head_dim, capacity, at)
            found = keys, values
        elif isinstance(a, LatentAttention):
            # the latent is there twice, as a key and as a value: each is read as it lies, at the port's full width
            keys, values, at = slot_layout(1, a.kv_rank + a.rope_dim, a.kv_rank, capacity, at)
            found = keys, values
        cache.append(found)
    return Kept(tuple(cache), tuple(states), round_up(at, 4096), state_bytes)


def piece(a: LinearAttention, pad_bytes: int) -> int:
    """Columns of a piece of a state: halves of a head's, as long as it is too large and they stay whole blocks."""
    columns = a.value_dim
    while 4 * a.key_dim * columns > pad_bytes // STATE_SHARE and columns % 16 == 0:
        columns //= 2
    return columns


def state_layout(a: LinearAttention, pad_bytes: int, at: int) -> tuple[tuple[StateTensor, ...], int]:
    """Queries', keys' and values' last inputs of the convolution (of a key head's channels one row after another),
    the states (piece after piece of columns); and the byte after them."""
    before, values = a.convolution - 1, a.value_heads // a.key_heads * a.value_dim
    width, columns = 2 * a.key_dim + values, piece(a, pad_bytes)
    group = 4 * width * before
    inputs = [
        StateTensor(at + 4 * offset, before, a.key_heads, n, 4 * width, group)
        for offset, n in ((0, a.key_dim), (a.key_dim, a.key_dim), (2 * a.key_dim, values))
    ]
    at = round_up(at + a.key_heads * group, 64)
    pieces = a.value_heads * a.value_dim // columns
    state = StateTensor(at, a.key_dim, pieces, columns, 4 * columns, 4 * a.key_dim * columns)
    return (*inputs, state), round_up(at + pieces * state.piece_stride, 64)


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
