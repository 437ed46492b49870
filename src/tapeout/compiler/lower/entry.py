"""One entry of the program: embedding, layers, head."""

from __future__ import annotations

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.host import LOGITS, MORE
from tapeout.compiler.ir import Area, Mem, Ref, Scalar
from tapeout.compiler.lower.choice import Choice, pieces
from tapeout.compiler.lower.context import Context, Each, Floats, Rows, each, quantise
from tapeout.compiler.lower.delta import linear
from tapeout.compiler.lower.experts import mixture
from tapeout.compiler.lower.feed_forward import dense
from tapeout.compiler.lower.grouped_query import grouped_query
from tapeout.compiler.lower.latent import latent
from tapeout.compiler.lower.norm import rms_norm
from tapeout.compiler.lower.pieces import in_pieces, normalised
from tapeout.compiler.lower.product import product, room
from tapeout.compiler.memory import Matrix
from tapeout.model.architecture import (
    Attention,
    Dense,
    GroupedQueryAttention,
    LatentAttention,
    MixtureOfExperts,
    Tensor,
)
from tapeout.numerics.formats import SCALE_BIAS

HELD = 3  # sequences whose positions and slots stay in registers
INDICES = 64  # of the table of small numbers: the most experts, or groups of them, that a token takes


def lower(c: Context) -> None:
    """Append the whole entry to the builder."""
    _start(c)
    x = _embed(c)
    rows = c.step.rows
    for i, layer in enumerate(c.model.layers):
        names = c.names(i)
        c.builder.of(i, "input_norm")
        q = normalised(c, x, rows, names["input_layernorm.weight"])
        into = x if in_pieces(c) and not layer.post_norms else None
        y = _mix(c, q, i, layer.attention, into)
        if layer.post_norms and y is not None:
            c.builder.of(i, "post_attention_norm")
            y = rms_norm(c, y, rows, names["post_attention_layernorm.weight"], y)
        if y is not None:
            c.builder.of(i, "residual")
            each(c, "vadd", x, x, rows, y)
        c.builder.of(i, "middle_norm")
        name = "pre_feedforward_layernorm" if layer.post_norms else "post_attention_layernorm"
        weight, part = names[f"{name}.weight"], layer.feed_forward
        if isinstance(part, Dense):
            y = dense(c, normalised(c, x, rows, weight), i, part, into=into)
        else:
            y = _mixture(c, x, weight, i, part, into)
        if layer.post_norms and y is not None:
            c.builder.of(i, "post_feed_forward_norm")
            y = rms_norm(c, y, rows, names["post_feedforward_layernorm.weight"], y)
        if y is not None:
            c.builder.of(i, "residual")
            each(c, "vadd", x, x, rows, y)
    _head(c, x)


def _mixture(
    c: Context, x: Floats, weight: Tensor, layer: int, part: MixtureOfExperts, into: Floats | None
) -> Floats | None:
    rows = c.step.rows
    if in_pieces(c) and not part.scale_input:
        return mixture(c, None, normalised(c, x, rows, weight), layer, part, into)
    h = rms_norm(c, x, rows, weight)
    return mixture(c, h, quantise(c, h, rows, "normalised codes"), layer, part, into)


def _mix(c: Context, x: Rows, layer: int, a: Attention, into: Floats | None) -> Floats | None:
    """Attention of the kind that the layer has; None if it has been added to `into`."""
    if isinstance(a, GroupedQueryAttention):
        return grouped_query(c, x, layer, a, into)
    if isinstance(a, LatentAttention):
        return latent(c, x, layer, a)
    return linear(c, x, layer, a)


def _start(c: Context) -> None:
    """Arguments, and constants that every layer uses."""
    b, step = c.builder, c.step
    b.of(None, "start")
    ones = c.memory.fill(SCALE_BIAS, 512)
    c.tables["ones"] = c.work("ones", 512, 512)
    b.load(c.tables["ones"], ones, 512)
    if c.model.mixture is not None:
        k = max(c.model.experts_per_token, c.model.mixture.topk_groups)
        at = c.memory.indices(INDICES)
        c.tables["indices"] = c.work("indices", 32 * k)
        b.load(c.tables["indices"], at, 32 * k)
    if step.sequences == 1:
        c.positions = [b.argument(1, 64)]
        c.slots = [b.scalar("mul", b.argument(2, 0), c.kept.slot_bytes)]
        _sources(c)
        return
    table = c.work("step table", 2 * 4 * round_up(step.sequences, 16))
    half = 4 * round_up(step.sequences, 16)
    b.load(table, Mem("positions"), 4 * step.sequences)
    b.load(table + half, Mem("slots"), 4 * step.sequences)

    def position(i: int) -> Scalar:
        return b.read(table + 4 * i, 64)

    def slot(i: int) -> Scalar:
        return b.scalar("mul", b.read(table + half + 4 * i, 0), c.kept.slot_bytes)

    c.positions, c.slots = Each(step.sequences, position), Each(step.sequences, slot)
    if step.sequences <= HELD:
        c.positions, c.slots = list(c.positions), list(c.slots)
    _sources(c)


def _sources(c: Context) -> None:
    """Where states come from: the sequence's slot, or the zeros behind the last slot if it starts."""
    if not c.kept.state_bytes:
        return
    b, zeros = c.builder, c.slots_there * c.kept.slot_bytes

    def source(i: int) -> Scalar:
        slot = c.slots[i]
        away = b.scalar("sub", b.constant(zeros), slot)
        return b.scalar("add", slot, b.scalar("mul", b.scalar("equal", c.positions[i], 0), away))

    c.sources = Each(c.step.sequences, source)
    if c.step.sequences <= HELD:
        c.sources = list(c.sources)


def _embed(c: Context) -> Floats:
    b, rows, n = c.builder, c.step.rows, c.model.hidden
    b.of(None, "embedding")
    tensor = next(t for t in c.model.tensors if t.role == "embedding")
    bf16 = tensor.format == "bf16"
    row = round_up((2 if bf16 else 4) * n, 64)

    def make() -> Mem:
        at = c.memory.room("embedding", row * tensor.shape[0])
        c.memory.pack(at, "rows", [tensor], bf16=bf16, row=row)
        return at

    at = c.memory.once("embedding", make)
    tokens = c.work("tokens", 4 * rows)
    b.load(tokens, Mem("tokens"), 4 * rows)
    x = c.floats("x", rows, n)
    if bf16:
        raw = c.work("embedding rows", row * rows)
        b.gather(raw, at, row, tokens, rows, row, row, row * rows)
        b.vector("vconvert", x.at, raw, n, rows, row, x.stride, kind=0)
    else:
        x = Floats(c.work("x", row * rows), n, row)
        b.gather(x.at, at, row, tokens, rows, row, row, row * rows)
    if c.model.embedding_scale != 1.0:
        each(c, "vmul", x, x, rows, float(c.model.embedding_scale))
    return x


def _head(c: Context, x: Floats) -> None:
    """Logits of each sequence's last token, and the token that has the largest; of a prompt's last run only."""
    b, step = c.builder, c.step
    if step.sequences == 1:
        b.of(None, "end of prompt")
        b.stop(b.scalar("and", b.argument(4, 0), MORE))
    b.of(None, "final_norm")
    names = {t.role: t for t in c.model.layer_tensors(None)}
    rows = step.sequences
    if step.tokens > 1:
        assert c.count is not None
        offset = b.scalar("mul", b.scalar("sub", c.count, 1), x.stride)
        x = Floats(Ref(x.at.buffer, x.at.offset, offset), x.n, x.stride)
    h = rms_norm(c, x, rows, names["norm"])
    q = quantise(c, h, rows, "head codes")
    b.of(None, "lm_head")
    head: Tensor = names["embedding"] if c.model.tied_embeddings else names["lm_head"]
    matrix = c.memory.matrix(head, "lm_head")
    pitch = round_up(4 * c.model.vocabulary, 64)
    area = Area("logits")
    wanted = b.scalar("and", b.argument(4, 0), LOGITS)  # 0 or 1: so often they are stored
    outputs = matrix.commands[0][0].outputs
    per = pieces(c.model.vocabulary, outputs) // outputs
    choice = Choice(c, [command[0].first for command in matrix.commands[::per]])
    for first in range(0, len(matrix.commands), per):
        commands = matrix.commands[first : first + per]
        start, stop = commands[0][0].first, commands[-1][-1].first + commands[-1][-1].outputs
        piece = Matrix(matrix.base, stop - start, matrix.k, matrix.format, commands, matrix.bytes)
        y = c.floats("logits", rows, stop - start, room(c, stop - start))
        shifted = Floats(Ref(y.at.buffer, y.at.offset - 4 * start), y.n, y.stride)
        product(c, q, rows, piece, shifted)
        if c.model.logit_softcap is not None:
            cap = c.model.logit_softcap
            each(c, "vmul", y, y, rows, 2.0 / cap)
            each(c, "vsigmoid", y, y, rows)
            each(c, "vmul", y, y, rows, 2.0)
            each(c, "vsub", y, y, rows, 1.0)
            each(c, "vmul", y, y, rows, float(cap))
        b.store(
            y.at, Mem("logits", 4 * start), 4 * (stop - start), rows, pitch, wanted, 0, y.stride,
            (rows - 1) * y.stride + 4 * (stop - start), area,
        )  # fmt: skip
        choice.add(y)
    choice.store()


__all__ = ["LOGITS", "lower"]
