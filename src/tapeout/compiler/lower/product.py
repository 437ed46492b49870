"""Products with weights: chunks of weights stream through the scratchpad, rows of activations meet them."""

from __future__ import annotations

from collections.abc import Iterator

from tapeout.compiler.ir import EXPERTS, WEIGHTS, WORK, Mem, Ref, Scalar
from tapeout.compiler.lower.context import Context, Floats, Rows
from tapeout.compiler.memory import Chunk, Matrix

LOAD_BYTES = 4608  # of a load of several commands, at most; a command's weights alone may be more


def groups(matrix: Matrix, most: int) -> Iterator[list[tuple[Chunk, ...]]]:
    """Commands that are loaded together."""
    group: list[tuple[Chunk, ...]] = []
    size = 0
    for command in matrix.commands:
        bytes = sum(x.bytes for x in command)
        if group and (size + bytes > most or len(command) > 1):
            yield group
            group, size = [], 0
        group.append(command)
        size += bytes
    yield group


def product(
    c: Context, x: Rows, rows: int, matrix: Matrix, out: Floats, plus: Scalar | None = None, prefetch: bool = True
) -> None:  # fmt: skip
    """out = x · weightsᵀ for `rows` rows. `plus`: a scalar added to the weights' address (an expert's)."""
    kind = (WEIGHTS if plus is None else EXPERTS) if prefetch else WORK
    for group in groups(matrix, LOAD_BYTES):
        if len(group[0]) > 1 and rows <= c.g.rows:
            _in_parts(c, x, rows, matrix, group[0], out, plus, kind)
            continue
        at = _loaded(c, matrix.base, group, plus, kind)
        for first in range(0, rows, c.g.rows):
            here = min(c.g.rows, rows - first)
            for command in group:
                bank = c.builder.bank()
                for part in command:
                    _command(
                        c, x.row(first), here, matrix, part, at[part.offset], out.row(first), bank,
                        part is command[-1],
                    )  # fmt: skip


def _loaded(
    c: Context, base: Mem, group: list[tuple[Chunk, ...]], plus: Scalar | None, kind: str
) -> dict[int, Ref]:
    """Where the chunks are, by their offsets. Those of a command in parts come one by one: its first product does not
    wait for all of them, and the next command's take the room of each that is done with."""
    if len(group[0]) > 1:
        return {p.offset: _weights(c, base + p.offset, plus, p.bytes, kind) for p in group[0]}
    start = group[0][0].offset
    w = _weights(c, base + start, plus, group[-1][-1].offset + group[-1][-1].bytes - start, kind)
    return {command[0].offset: w + (command[0].offset - start) for command in group}


def _weights(c: Context, base: Mem, plus: Scalar | None, size: int, kind: str) -> Ref:
    buffer = c.builder.buffer("weights", size, kind, align=c.g.beat_bytes("mxint8"))
    c.builder.load(buffer.at(), Mem(base.region, base.offset, plus), size, prefetch=kind != WORK)
    return buffer.at()


def _in_parts(
    c: Context, x: Rows, rows: int, matrix: Matrix, command: tuple[Chunk, ...], out: Floats,
    plus: Scalar | None, kind: str,
) -> None:  # fmt: skip
    """One command whose weights come part by part along the contraction."""
    bank = c.builder.bank()
    for part in command:
        at = _weights(c, matrix.base + part.offset, plus, part.bytes, kind)
        _command(c, x, rows, matrix, part, at, out, bank, part is command[-1])


def _command(
    c: Context, x: Rows, rows: int, matrix: Matrix, part: Chunk, w: Ref, out: Floats, bank: int, last: bool
) -> None:
    c.builder.matmul(
        x.at + part.block * 32, x.scales + part.block, x.stride if rows > 1 else 0, w, w + part.scales,
        out.at + 4 * part.first if last else None, out.stride if rows > 1 else 0, part.steps, rows, part.tiles,
        matrix.format, bank, keep=part.block > 0,
    )  # fmt: skip


def room(c: Context, n: int, format: str = "mxfp4") -> int:
    """Elements that a product with n outputs may write."""
    unit = max(c.g.outputs(format), c.g.outputs("mxint8"))
    return -(-n // unit) * unit
