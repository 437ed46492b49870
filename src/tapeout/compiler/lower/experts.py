"""A mixture of experts: the chosen experts' networks, their sum in the order of choice, the shared experts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.ir import EXPERTS, Mem, Ref, Scalar
from tapeout.compiler.lower.context import Context, Floats, Rows, by_row, each, quantise
from tapeout.compiler.lower.feed_forward import Part, dense, parts
from tapeout.compiler.lower.gated import activated, times_up
from tapeout.compiler.lower.product import product, room
from tapeout.compiler.lower.routing import route, spread
from tapeout.compiler.memory import Matrix
from tapeout.model.architecture import Dense, MixtureOfExperts


@dataclass(frozen=True)
class Record:
    """What one expert has in memory, at `base` plus its number times `stride`: matrices at their offsets, and biases
    of gate, up and down one after another (`bias` bytes in all, 0 without)."""

    base: Mem
    stride: int
    gate: Matrix
    up: Matrix
    down: Matrix
    bias_at: int
    sizes: tuple[int, int, int]

    @property
    def bias(self) -> int:
        """Bytes of all biases."""
        return 4 * sum(self.sizes)


def record(c: Context, layer: int, part: MixtureOfExperts) -> Record:
    """The experts of a layer; their place in memory is taken the first time."""
    tensors = [t for t in c.model.layer_tensors(layer) if t.role == "experts"]
    three = parts(tensors, part.activation)

    def make() -> Any:
        m = c.memory
        sizes = []
        for p in three:
            commands = m.cut(p.n, p.tensor.shape[-1], m.format_of(p.tensor, "experts"))
            sizes.append(commands[-1][-1].offset + commands[-1][-1].bytes)
        biased = any(p.bias is not None for p in three)
        bias = 4 * sum(p.n for p in three) if biased else 0
        unit = max(c.g.beat_bytes("mxint8"), 64)
        stride = round_up(sum(sizes) + bias, unit)
        base = m.room("weights", stride * part.experts, unit)
        at, made = base, []
        for p, size in zip(three, sizes, strict=True):
            made.append(m.matrix(p.tensor, "experts", p.rows, at, stride))
            at = at + size
        bias_at = at.offset - base.offset
        if biased:
            for p in three:
                if p.bias is not None:
                    m.pack(at, "vector", [p.bias], n=p.n, part=list(p.rows), stride=stride, experts=True)
                at = at + 4 * p.n
        gate, up, down = (p.n if biased else 0 for p in three)
        return Record(base, stride, made[0], made[1], made[2], bias_at, (gate, up, down))

    found: Record = c.memory.once(("experts", layer), make)
    return found


def mixture(
    c: Context, h: Floats | None, x: Rows, layer: int, part: MixtureOfExperts, into: Floats | None = None
) -> Floats | None:
    """Normalised inputs (`x`; as FP32 rows `h`, where they are scaled for each expert) → the mixture's output, or None
    if it has been added to `into`."""
    rows = c.step.rows
    if rows == 1:
        y = _one_token(c, h, x, layer, part)
    else:
        from tapeout.compiler.lower.grouped_experts import by_expert

        index, weights = route(c, x, layer, part)
        made = by_expert(c, h, x, layer, part, index, weights, None if part.shared else into)
        if made is None:
            return None
        y = made
    if part.shared:
        network = Dense(part.shared_intermediate, part.activation)
        extra = dense(c, x, layer, network, "shared_expert")
        assert extra is not None
        if part.shared_gate:
            by_row(c, "vmul", extra, extra, rows, _shared_gate(c, x, layer))
        each(c, "vadd", y, y, rows, extra)
    return y


def _shared_gate(c: Context, x: Rows, layer: int) -> Floats:
    """What the shared experts' output is multiplied by: an element of each row."""
    routers = [t for t in c.model.layer_tensors(layer) if t.role == "router" and t.matrix]
    tensor = next(t for t in routers if "shared" in t.name)
    y = c.floats("shared gate", c.step.rows, 1, room(c, 1))
    product(c, x, c.step.rows, c.memory.matrix(tensor, "router"), y)
    each(c, "vsigmoid", y, y, c.step.rows)
    return y


def scaled(c: Context, h: Floats | None, weights: Floats, j: int) -> Rows:
    """Inputs of each token's j-th expert where the routing weight multiplies them: MXINT8 rows."""
    assert h is not None
    rows = c.step.rows
    w, y = spread(c, weights, j), c.floats("scaled inputs", rows, h.n)
    by_row(c, "vmul", y, h, rows, w)
    return quantise(c, y, rows, "scaled codes")


def _one_token(c: Context, h: Floats | None, x: Rows, layer: int, part: MixtureOfExperts) -> Floats:
    """Experts one after another; the choice is read, and their weights are loaded, as soon as it is made."""
    b, k, r = c.builder, part.experts_per_token, record(c, layer, part)
    offsets: list[Scalar] = []

    def read(index: Ref) -> None:
        offsets.extend(b.scalar("mul", b.read(index + 4 * i, 0), r.stride) for i in range(k))

    _, weights = route(c, x, layer, part, read)
    each_row = c.floats("spread weights", k, 1)  # one a row: what multiplies a row starts at 32 bytes
    if not part.scale_input:
        b.vector("vtake", each_row.at, weights.at, 1, k, 0, 32, c.tables["indices"], 32)
    b.of(layer, "experts")
    y = c.floats("expert outputs", k, c.model.hidden, room(c, c.model.hidden))
    inputs = [scaled(c, h, weights, j) for j in range(k)] if part.scale_input else [x] * k
    _together(c, inputs, r, part, offsets, y, None if part.scale_input else each_row)
    return Floats(y.at, c.model.hidden, y.stride)


def _together(
    c: Context, inputs: list[Rows], r: Record, part: MixtureOfExperts, offsets: list[Scalar], out: Floats,
    weights: Floats | None,
) -> None:  # fmt: skip
    """The networks of all chosen experts, a row for each, of each its input, and in the first row the sum of all (by
    `weights`, one a row, if given); `offsets`: their records' places from the first.

    First the products of all with the token, then all products down: the matrix engine does not wait for the
    activation of one expert before it starts with the next.
    """

    def bias(i: int, offset: Scalar, y: Floats) -> None:
        # each by itself, just before its use: what stays long in a ring holds up all that comes behind it
        if not r.bias:
            return
        size = 4 * r.sizes[i]
        buffer = c.builder.buffer("expert bias", size, EXPERTS)
        at = Mem(r.base.region, r.base.offset + r.bias_at + 4 * sum(r.sizes[:i]), offset)
        c.builder.load(buffer.at(), at, size, prefetch=True)
        each(c, "vadd", y, y, 1, buffer.at())

    def part_of(i: int, name: str, x: Rows, matrix: Matrix, offset: Scalar) -> Floats:
        y = c.floats(name, 1, matrix.n, room(c, matrix.n))
        product(c, x, 1, matrix, y, offset)
        bias(i, offset, y)
        return y

    codes = []
    for x, offset in zip(inputs, offsets, strict=True):
        gate = part_of(0, "gate", x, r.gate, offset)
        y = activated(c, part.activation, gate, 1, part.limit)  # while up's weights arrive
        times_up(c, part.activation, y, part_of(1, "up", x, r.up, offset), 1, part.limit)
        codes.append(quantise(c, y, 1, "gated codes"))
    for j, offset in enumerate(offsets):
        product(c, codes[j], 1, r.down, out.row(j), offset)
        bias(2, offset, out.row(j))
        if weights is not None:
            by_row(c, "vmul", out.row(j), out.row(j), 1, weights.row(j))
        if j:
            each(c, "vadd", out, out, 1, out.row(j))


__all__ = ["Part", "Record", "mixture", "record", "scaled"]
