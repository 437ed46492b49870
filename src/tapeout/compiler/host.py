"""What the host does around a program: tokens in, doorbell, logits out.

Arguments of a run: 0 the entry's number, 1 the position of the first new token, 2 its sequence's slot, 3 the number of
new tokens, 4 flags (`LOGITS`: they are wanted; `MORE`: the prompt goes on with another run, so this one ends before
the head and has no results). Region `tokens` holds the new tokens (uint32); for an entry of
several sequences regions `positions` and `slots` hold a uint32 for each. Results: region `chosen`, for each sequence
of the entry a uint32 every 32 bytes: the token with the largest logit, of equals the lowest; with `LOGITS` region
`logits` too, float32 [vocabulary] in rows of `row_bytes(program)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.program import Entry, Program
from tapeout.errors import InputError, Phrase
from tapeout.numerics.formats import BLOCK, MXINT8, Mx

LOGITS, MORE = 1, 2
U8 = NDArray[np.uint8]
# run(words, base, arguments, memory): execute the words, placed at byte `base` of `memory`, until they halt; raise if
# they do not. What it returns is the backend's own (cycles, traces); `Session.outcomes` keeps it.
Run = Callable[[Sequence[int], int, Sequence[int], U8], Any]


def row_bytes(program: Program) -> int:
    """Bytes from one row of logits to the next."""
    return round_up(4 * program.vocabulary, 64)


class Session:
    """A program at work on `memory` (its image; kept by reference) with a backend `run`.

    Slot s holds a sequence of `lengths[s]` tokens. `outcomes`: what `run` returned, latest last.
    """

    def __init__(self, program: Program, memory: U8, run: Run) -> None:
        if len(memory) < program.memory_bytes:
            raise InputError(
                "memory", "", Phrase(f"{len(memory)} bytes"), f"at least {program.memory_bytes}: use image()"
            )
        self.program, self.memory, self.run = program, memory, run
        self.words = program.words()
        self.lengths = [0] * program.slots
        self._chosen = [-1] * program.slots
        self.outcomes: list[Any] = []

    def step(self, tokens: ArrayLike, slot: int = 0, logits: bool = True) -> NDArray[np.float32]:
        """Give the sequence in `slot` new tokens, in chunks; float32 [vocabulary] after the last of them (empty
        without `logits`: then they do not leave the chip). Raises InputError for a token or a length that the program
        does not take."""
        new = self._checked(tokens, slot)
        at = 0
        while at < len(new):
            here = min([len(new) - at, *(cut - self.lengths[slot] % cut for cut in self.program.cuts)])
            entry = self._entry(here)
            n = min(self.program.entries[entry].tokens, here)
            last = at + n == len(new)
            self._write("tokens", new[at : at + n], self.program.entries[entry].tokens)
            flags = (LOGITS if logits else 0) if last else MORE
            self._ring([entry, self.lengths[slot], slot, n, flags])
            self.lengths[slot] += n
            at += n
        self._chosen[slot] = self._choice(0)
        return self.logits(1)[0] if logits else np.zeros(0, np.float32)

    def decode(self, tokens: Mapping[int, int], logits: bool = True) -> dict[int, NDArray[np.float32]]:
        """One new token for each of several slots, together where the program has an entry for so many; their
        logits by slot (empty ones without `logits`)."""
        results: dict[int, NDArray[np.float32]] = {}
        left = list(tokens)
        for slot in left:
            self._checked([tokens[slot]], slot)
        while left:
            fits = [
                (e.sequences, i)
                for i, e in enumerate(self.program.entries)
                if e.sequences > 1 and len(left) >= (e.sequences if any(self.program.states) else 2)
            ]
            if len(left) == 1 or not fits:
                slot = left.pop(0)
                results[slot] = self.step([tokens[slot]], slot, logits)
                continue
            # rows that fill an entry up repeat one that is there: the same bytes twice, but a state would move twice
            enough = [f for f in fits if f[0] >= len(left)]
            rows, entry = min(enough) if enough else max(fits)
            part, left = left[:rows], left[rows:]
            padded = part + [part[-1]] * (rows - len(part))  # a row done twice writes the same bytes twice
            self._write("tokens", np.array([tokens[s] for s in padded]), rows)
            self._write("positions", np.array([self.lengths[s] for s in padded]), rows)
            self._write("slots", np.array(padded), rows)
            self._ring([entry, 0, 0, rows, LOGITS if logits else 0])
            found = self.logits(rows) if logits else np.zeros((rows, 0), np.float32)
            for row, slot in enumerate(part):
                results[slot], self._chosen[slot] = found[row], self._choice(row)
                self.lengths[slot] += 1
        return results

    def truncate(self, slot: int, length: int) -> None:
        """Forget every position of a slot from `length` on. Raises InputError where a state has no way back."""
        if any(self.program.states) and 0 < length < self.lengths[slot]:
            raise InputError(
                "sequence", "", Phrase(f"{self.lengths[slot]} tokens back to {length}"),
                "all or none of them: the state of linear attention has no way back",
            )  # fmt: skip
        self.lengths[slot] = min(self.lengths[slot], length)

    def logits(self, rows: int) -> NDArray[np.float32]:
        """The logits of the last run, float32 [rows, vocabulary] (a copy)."""
        base, pitch = self.program.regions["logits"].base, row_bytes(self.program)
        raw = self.memory[base : base + rows * pitch].reshape(rows, pitch)
        return raw[:, : 4 * self.program.vocabulary].copy().view(np.float32)

    def chosen(self, slot: int = 0) -> int:
        """The token that the chip chose after the last one that `slot` was given: the largest logit, of equals the
        lowest token (-1 before the first step)."""
        return self._chosen[slot]

    def _choice(self, row: int) -> int:
        at = self.program.regions["chosen"].base + 32 * row
        return int(self.memory[at : at + 4].copy().view("<u4")[0])

    def cache(self, layer: int, slot: int = 0) -> tuple[Mx, Mx]:
        """Keys and values that the chip has cached: [kv_heads, length, d], as the functional simulator keeps them."""
        p, n = self.program, self.lengths[slot]
        base = p.regions["cache"].base + slot * p.slot_bytes
        found = []
        for t in p.cache[layer]:
            codes = _strided(self.memory, base + t.codes, (t.heads, t.blocks, n), t.code_strides, BLOCK)
            scales = _strided(self.memory, base + t.scales, (t.heads, t.blocks, n), t.scale_strides, 1)[
                ..., 0
            ]
            codes, scales = codes.swapaxes(1, 2).reshape(t.heads, n, -1), scales.swapaxes(1, 2)
            found.append(Mx(MXINT8, np.ascontiguousarray(codes).view(np.int8), np.ascontiguousarray(scales)))
        return found[0], found[1]

    def states(self, layer: int, slot: int = 0) -> list[NDArray[np.float32]]:
        """What a layer of linear attention keeps: the last inputs of its convolution (queries, keys, values) and its
        state, each [rows, columns]."""
        p, found = self.program, []
        base = p.regions["cache"].base + slot * p.slot_bytes
        for t in p.states[layer]:
            strides = (t.row_stride, t.piece_stride, 0)
            raw = _strided(self.memory, base + t.at, (t.rows, t.pieces, 1), strides, 4 * t.columns)
            found.append(np.ascontiguousarray(raw).view("<f4").reshape(t.rows, -1))
        return found

    def _checked(self, tokens: ArrayLike, slot: int) -> NDArray[np.int64]:
        new, p = np.asarray(tokens, np.int64).reshape(-1), self.program
        if not 0 <= slot < p.slots:
            raise InputError("slot", "", slot, f"a slot from 0 to {p.slots - 1}")
        if not new.size:
            raise InputError("prompt", "", Phrase("no tokens"), "at least one")
        if new.min() < 0 or new.max() >= p.vocabulary:
            bad = new[(new < 0) | (new >= p.vocabulary)][0]
            raise InputError("prompt", "token", int(bad), f"a token from 0 to {p.vocabulary - 1}")
        if self.lengths[slot] + new.size > p.context:
            raise InputError(
                "prompt", "", Phrase(f"{self.lengths[slot] + new.size} tokens"), f"at most {p.context}"
            )
        return new

    def _entry(self, n: int) -> int:
        """The entry that is cheapest for each of the next tokens of n."""
        single = [(i, e) for i, e in enumerate(self.program.entries) if e.sequences == 1]

        def cost(item: tuple[int, Entry]) -> float:
            return item[1].cycles / min(item[1].tokens, n)

        return min(single, key=cost)[0]

    def _write(self, region: str, values: NDArray[np.int64], rows: int) -> None:
        base = self.program.regions[region].base
        padded = np.zeros(rows, "<u4")
        padded[: len(values)] = values
        self.memory[base : base + 4 * rows] = padded.view(np.uint8)

    def _ring(self, arguments: list[int]) -> None:
        self.outcomes.append(self.run(self.words, self.program.base, arguments, self.memory))


def _strided(
    memory: U8, at: int, shape: tuple[int, int, int], strides: tuple[int, int, int], bytes: int
) -> U8:
    """`bytes` bytes at `at` + h·strides[0] + g·strides[1] + p·strides[2] → [h, g, p, bytes]."""
    place = sum(np.arange(n).reshape([-1 if i == j else 1 for j in range(4)]) * s
                for i, (n, s) in enumerate(zip((*shape, bytes), (*strides, 1), strict=True)))  # fmt: skip
    return memory[at + np.asarray(place)]
