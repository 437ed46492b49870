"""A mixture of experts: router, choice, the chosen experts' networks, their sum in the order of choice."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.ir import EXPERTS, Mem, Ref, Scalar
from tapeout.compiler.lower.context import Context, Floats, Rows, by_row, each, quantise, reduce
from tapeout.compiler.lower.feed_forward import Part, dense, parts
from tapeout.compiler.lower.gated import activated, times_up
from tapeout.compiler.lower.product import product, room
from tapeout.compiler.memory import Matrix
from tapeout.errors import InputError, Phrase
from tapeout.model.architecture import Dense, MixtureOfExperts

TINY = 1e-20  # keeps a sum of scores from being zero


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


def choose(c: Context, logits: Floats, rows: int, part: MixtureOfExperts, layer: int) -> tuple[Ref, Floats]:
    """Indices of the chosen experts (rows of uint32, 32-byte aligned) and their weights [rows, k]."""
    k, b = part.experts_per_token, c.builder
    stride = round_up(4 * k, 32)
    index = c.work("chosen", rows * stride)
    weights = c.floats("weights", rows, k)

    def top(x: Floats) -> None:
        b.vector("vtopk", index, x.at, part.experts, rows, x.stride, stride, k=k)

    def take(x: Floats) -> None:
        b.vector("vtake", weights.at, x.at, k, rows, x.stride, weights.stride, index, stride)

    if part.scoring == "topk_softmax":
        top(logits)
        take(logits)
        softmax(c, weights, rows)
    elif part.scoring == "sigmoid":
        if part.topk_groups < part.groups:
            raise InputError(
                c.model.name, f"layer {layer}", Phrase("routing within groups"), "routing over all experts"
            )
        each(c, "vsigmoid", logits, logits, rows)
        correction = next(
            (t for t in c.model.layer_tensors(layer) if t.name.endswith("e_score_correction_bias")), None
        )
        key = logits
        if correction is not None:
            key = c.floats("keys", rows, part.experts)
            each(c, "vadd", key, logits, rows, c.vector(correction, part.experts))
        top(key)
        take(logits)
        if part.renormalise:
            s = reduce(c, "vtotal", weights, rows, "weight total")
            each(c, "vadd", s, s, rows, TINY)
            each(c, "vreciprocal", s, s, rows)
            by_row(c, "vmul", weights, weights, rows, s)
    else:
        softmax(c, logits, rows)
        top(logits)
        take(logits)
        if part.scoring == "softmax_topk_renormalised":
            s = reduce(c, "vtotal", weights, rows, "weight total")
            each(c, "vreciprocal", s, s, rows)
            by_row(c, "vmul", weights, weights, rows, s)
    if part.routed_scale != 1.0:
        each(c, "vmul", weights, weights, rows, float(part.routed_scale))
    return index, weights


def softmax(c: Context, x: Floats, rows: int) -> None:
    """`numerics.vector.softmax`, in place."""
    each(c, "vmul", x, x, rows, 1.4426950408889634)
    by_row(c, "vsub", x, x, rows, reduce(c, "vgreatest", x, rows, "greatest"))
    each(c, "vexp2", x, x, rows)
    s = reduce(c, "vtotal", x, rows, "softmax total")
    each(c, "vreciprocal", s, s, rows)
    by_row(c, "vmul", x, x, rows, s)


def route(c: Context, x: Rows, layer: int, part: MixtureOfExperts) -> tuple[Ref, Floats]:
    """Router logits and the choice."""
    rows = c.step.rows
    routers = [t for t in c.model.layer_tensors(layer) if t.role == "router"]
    router = next(t for t in routers if t.matrix and t.shape[0] == part.experts and "shared" not in t.name)
    bias = next((t for t in routers if t.name == router.name.removesuffix("weight") + "bias"), None)
    c.builder.of(layer, "router")
    logits = c.floats("router logits", rows, part.experts, room(c, part.experts))
    product(c, x, rows, c.memory.matrix(router, "router"), logits)
    if bias is not None:
        each(c, "vadd", logits, logits, rows, c.vector(bias, part.experts))
    return choose(c, logits, rows, part, layer)


def mixture(c: Context, h: Floats, layer: int, part: MixtureOfExperts) -> Floats:
    """Normalised inputs (FP32 rows) → the mixture's output."""
    if part.scale_input or part.shared_gate:
        raise InputError(
            c.model.name,
            f"layer {layer}",
            Phrase("experts with scaled inputs or a shared gate"),
            "plain experts",
        )
    x = quantise(c, h, c.step.rows, "normalised codes")
    index, weights = route(c, x, layer, part)
    if c.step.rows == 1:
        y = _one_token(c, x, layer, part, index, weights)
    else:
        from tapeout.compiler.lower.grouped_experts import by_expert

        y = by_expert(c, x, layer, part, index, weights)
    if part.shared:
        network = Dense(part.shared_intermediate, part.activation)
        each(c, "vadd", y, y, c.step.rows, dense(c, x, layer, network, "shared_expert"))
    return y


def _one_token(
    c: Context, x: Rows, layer: int, part: MixtureOfExperts, index: Ref, weights: Floats
) -> Floats:
    """Experts one after another; their weights are loaded as soon as the choice is read."""
    b, k, r = c.builder, part.experts_per_token, record(c, layer, part)
    spread = c.floats("spread weights", k, 1)  # one a row: what multiplies a row starts at 32 bytes
    b.vector("vtake", spread.at, weights.at, 1, k, 0, 32, c.tables["indices"], 32)
    b.of(layer, "experts")
    offsets = [b.scalar("mul", b.read(index + 4 * i, 0), r.stride) for i in range(k)]
    y = c.floats("expert outputs", k, c.model.hidden, room(c, c.model.hidden))
    _together(c, x, r, part, offsets, y)
    each_row = Floats(spread.at, 1, 32)
    by_row(c, "vmul", y, y, k, each_row)
    for i in range(1, k):
        each(c, "vadd", y, y, 1, y.row(i))
    return Floats(y.at, c.model.hidden, y.stride)


def _together(
    c: Context, x: Rows, r: Record, part: MixtureOfExperts, offsets: list[Scalar], out: Floats
) -> None:  # fmt: skip
    """The networks of all chosen experts, a row for each; `offsets`: their records' places from the first.

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

    def part_of(i: int, name: str, matrix: Matrix, offset: Scalar) -> Floats:
        y = c.floats(name, 1, matrix.n, room(c, matrix.n))
        product(c, x, 1, matrix, y, offset)
        bias(i, offset, y)
        return y

    codes = []
    for offset in offsets:
        gate = part_of(0, "gate", r.gate, offset)
        y = activated(c, part.activation, gate, 1, part.limit)  # while up's weights arrive
        times_up(c, part.activation, y, part_of(1, "up", r.up, offset), 1, part.limit)
        codes.append(quantise(c, y, 1, "gated codes"))
    for j, offset in enumerate(offsets):
        product(c, codes[j], 1, r.down, out.row(j), offset)
        bias(2, offset, out.row(j))


__all__ = ["Part", "Record", "mixture", "record", "route"]
