"""The memory that a program starts with: code, and the checkpoint packed by the program's recipe.

Kinds of `Pack` and their options:

- matrix: weights [out, in] or of every expert (`stride` bytes apart), rows start:stop:step of them, in `format`, as
  chunks of `tiles` tiles and `steps` blocks (`memory.chunks`).
- latent: matrices of `heads` heads, `stride` bytes apart, from a latent attention's [heads × (nope + value), rank]:
  with `part` "key" a head's first `nope` rows turned round, [rank, nope], with "value" the others, [value, rank];
  chunks as of a matrix.
- vector: `n` FP32 values (of each expert, `stride` bytes apart), elements start:stop:step of the tensor, one every
  `spread` bytes, `add` added and `times` multiplied in FP32, or `numerics.delta.rate` of them;
  zeros where there is no tensor.
- rows: an embedding, BF16 as it is or FP32, a row every `row` bytes.
- rotary: cos and sin of `positions` positions, a row every `row` bytes.
- indices: the numbers below `n` as uint32, one every 32 bytes.
- numbers: `values` as uint32, one after another.
- fill: `bytes` bytes of `value`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.layout import pack_weights
from tapeout.compiler.memory import chunks
from tapeout.compiler.program import Pack, Program, memory_of
from tapeout.compiler.weights import Loader, Source
from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import Tensor
from tapeout.model.rope import Rope
from tapeout.numerics import delta, fast, fp32
from tapeout.numerics.formats import BLOCK, FORMATS, Mx

U8 = NDArray[np.uint8]


@dataclass(frozen=True)
class _Named:
    name: str
    tensors: tuple[Tensor, ...]


def image(program: Program, checkpoint: Source) -> U8:
    """Memory for `program`, uint8 [program.memory_bytes], with the weights of `checkpoint`.

    Raises InputError if a tensor is not there or not as the program expects it, or the chip has too little memory.
    """
    check(program, checkpoint)
    chip, room = program.chip.name, memory_of(program.chip)
    if program.memory_bytes > room:
        raise InputError(
            program.model, "memory", Phrase(f"{program.memory_bytes / 2**30:.1f} GiB"),
            f"at most {room / 2**30:.0f}, what {chip} has: this program tells times only",
        )  # fmt: skip
    memory = np.zeros(program.memory_bytes, np.uint8)
    code = program.code.astype("<u8").view(np.uint8).reshape(-1)
    memory[program.base : program.base + len(code)] = code
    maker = _Maker(program, checkpoint)
    for pack in program.recipe:
        at = program.regions[pack.region].base + pack.offset
        getattr(maker, pack.kind)(memory[at:], pack)
    return memory


def check(program: Program, checkpoint: Source) -> None:
    """Raise InputError unless `checkpoint` has every tensor that the program takes, in its shape and type."""
    where = getattr(checkpoint, "where", "checkpoint")
    for tensor in program.tensors:
        for stored in tensor.stored():
            try:
                found = np.asarray(checkpoint.tensor(stored.name))
            except KeyError:
                raise InputError(
                    where, stored.name, Phrase("no such tensor"), f"it: the program is for {program.model}"
                ) from None
            if tuple(found.shape) != tuple(stored.shape):
                raise InputError(
                    where, stored.name, Phrase(f"shape {list(found.shape)}"),
                    f"{list(stored.shape)}: the program is for {program.model}",
                )  # fmt: skip


class _Maker:
    def __init__(self, program: Program, checkpoint: Source) -> None:
        self.program, self.geometry = program, program.geometry
        self.tensors = {t.name: t for t in program.tensors}
        self.loader = Loader(_Named(program.model, program.tensors), checkpoint)  # type: ignore[arg-type]

    def matrix(self, memory: U8, pack: Pack) -> None:
        """See the module."""
        o, tensor = pack.options, self.tensors[pack.tensors[0]]
        experts = tensor.shape[0] if len(tensor.shape) == 3 else 1
        whole = self.loader.weights([tensor], FORMATS[o["format"]])
        start, stop, by = o["rows"]
        for e in range(experts):
            self.put(memory[e * o["stride"] :], whole.mx(e)[start:stop:by], o)

    def latent(self, memory: U8, pack: Pack) -> None:
        """See the module."""
        o = pack.options
        values = self.loader.matrix(self.tensors[pack.tensors[0]])
        values = values.reshape(o["heads"], o["nope"] + o["value"], -1)
        part = values[:, : o["nope"]].swapaxes(1, 2) if o["part"] == "key" else values[:, o["nope"] :]
        whole = fast.prepare(np.ascontiguousarray(part), FORMATS[o["format"]])
        for h in range(o["heads"]):
            self.put(memory[h * o["stride"] :], whole.mx(h), o)

    def put(self, memory: U8, w: Mx, o: Any) -> None:
        """One matrix as chunks at the start of `memory`."""
        n, blocks = w.scales.shape
        for command in chunks(self.geometry, n, blocks * BLOCK, o["format"], o["tiles"], o["steps"]):
            for c in command:
                width = w.codes.shape[1] // blocks
                part = Mx(
                    w.format,
                    w.codes[c.first : c.first + c.outputs, c.block * width : (c.block + c.steps) * width],
                    w.scales[c.first : c.first + c.outputs, c.block : c.block + c.steps],
                )
                codes, scales = pack_weights(part, self.geometry, c.tiles)
                memory[c.offset : c.offset + len(codes)] = codes
                memory[c.offset + c.scales : c.offset + c.scales + len(scales)] = scales

    def vector(self, memory: U8, pack: Pack) -> None:
        """See the module."""
        o, n = pack.options, pack.options["n"]
        if not pack.tensors:
            return
        values = self.loader.vector(self.tensors[pack.tensors[0]])
        assert values is not None
        values = values.reshape(-1, values.shape[-1]) if o.get("experts") else values.reshape(1, -1)
        if o.get("rate"):
            values = delta.rate(values)
        if "part" in o:
            start, stop, by = o["part"]
            values = values[:, start:stop:by]
        if o.get("add"):
            values = fp32.add(values, np.float32(o["add"]))
        if o.get("times"):
            values = fp32.mul(values, np.float32(o["times"]))
        spread = o.get("spread", 4)
        for e, row in enumerate(values):
            at = memory[e * o.get("stride", 0) :]
            wide = np.zeros((n, spread // 4), "<f4")
            wide[: len(row), 0] = row
            at[: n * spread] = wide.reshape(-1).view(np.uint8)

    def rows(self, memory: U8, pack: Pack) -> None:
        """See the module."""
        tensor, row = self.tensors[pack.tensors[0]], pack.options["row"]
        bf16 = pack.options["bf16"]
        get = None if bf16 else self.loader.rows(tensor)
        stored = self.loader.source.tensor(next(iter(tensor.stored())).name) if bf16 else None
        width = tensor.shape[1] * (2 if bf16 else 4)
        out = memory[: tensor.shape[0] * row].reshape(tensor.shape[0], row)
        for at in range(0, tensor.shape[0], 4096):
            stop = min(at + 4096, tensor.shape[0])
            part = stored[at:stop] if stored is not None else get(np.arange(at, stop))  # type: ignore[misc]
            out[at:stop, :width] = np.ascontiguousarray(part).view(np.uint8).reshape(stop - at, width)

    def rotary(self, memory: U8, pack: Pack) -> None:
        """See the module."""
        o = pack.options
        rope = Rope(**o["rope"])
        angle = np.arange(o["positions"], dtype=np.float64)[:, None] * np.array(
            rope.frequencies(), np.float64
        )
        both = np.concatenate([np.cos(angle), np.sin(angle)], axis=1) * rope.attention_factor
        out = memory[: o["positions"] * o["row"]].reshape(o["positions"], o["row"])
        out[:, : 4 * both.shape[1]] = both.astype("<f4").view(np.uint8)

    def fill(self, memory: U8, pack: Pack) -> None:
        """See the module."""
        memory[: pack.options["bytes"]] = pack.options["value"]

    def indices(self, memory: U8, pack: Pack) -> None:
        """See the module."""
        n = pack.options["n"]
        wide = np.zeros((n, 8), "<u4")
        wide[:, 0] = np.arange(n)
        memory[: 32 * n] = wide.reshape(-1).view(np.uint8)

    def numbers(self, memory: U8, pack: Pack) -> None:
        """See the module."""
        values = np.array(pack.options["values"], "<u4")
        memory[: values.nbytes] = values.view(np.uint8)
