"""Routing: the router's logits, the choice of experts, their weights."""

from __future__ import annotations

from collections.abc import Callable

from tapeout.chip.isa.geometry import round_up
from tapeout.compiler.ir import Ref
from tapeout.compiler.lower.context import Context, Floats, Rows, by_row, each, reduce
from tapeout.compiler.lower.product import product, room
from tapeout.model.architecture import MixtureOfExperts

TINY = 1e-20  # keeps a sum of scores from being zero
EQUAL = 2  # `vcompare`'s condition
NOTHING = 0xFF800000  # −∞
Chosen = Callable[[Ref], None]


def route(
    c: Context, x: Rows, layer: int, part: MixtureOfExperts, chosen: Chosen = lambda index: None
) -> tuple[Ref, Floats]:  # fmt: skip
    """Router logits and the choice; `chosen` as in `choose`."""
    rows = c.step.rows
    routers = [t for t in c.model.layer_tensors(layer) if t.role == "router"]
    router = next(t for t in routers if t.matrix and t.shape[0] == part.experts and "shared" not in t.name)
    bias = next((t for t in routers if t.name == router.name.removesuffix("weight") + "bias"), None)
    c.builder.of(layer, "router")
    logits = c.floats("router logits", rows, part.experts, room(c, part.experts))
    product(c, x, rows, c.memory.matrix(router, "router"), logits)
    if bias is not None:
        each(c, "vadd", logits, logits, rows, c.vector(bias, part.experts))
    return choose(c, logits, rows, part, layer, chosen)


def choose(
    c: Context, logits: Floats, rows: int, part: MixtureOfExperts, layer: int, chosen: Chosen
) -> tuple[Ref, Floats]:  # fmt: skip
    """Indices of the chosen experts (rows of uint32, 32-byte aligned) and their weights [rows, k]. `chosen` is called
    when the indices are there, before what remains to be done for the weights."""
    k, b = part.experts_per_token, c.builder
    stride = round_up(4 * k, 32)
    index = c.work("chosen", rows * stride)
    weights = c.floats("weights", rows, k)

    def top(x: Floats) -> None:
        b.vector("vtopk", index, x.at, part.experts, rows, x.stride, stride, k=k)
        chosen(index)

    def take(x: Floats) -> None:
        b.vector("vtake", weights.at, x.at, k, rows, x.stride, weights.stride, index, stride)

    if part.scoring == "topk_softmax":
        top(logits)
        take(logits)
        softmax(c, weights, rows)
    elif part.scoring == "sigmoid":
        each(c, "vsigmoid", logits, logits, rows)
        correction = next(
            (t for t in c.model.layer_tensors(layer) if t.name.endswith("e_score_correction_bias")), None
        )
        key = logits
        if correction is not None:
            key = c.floats("keys", rows, part.experts)
            each(c, "vadd", key, logits, rows, c.vector(correction, part.experts))
        if part.topk_groups < part.groups:
            key = within_groups(c, part, key, rows)
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


def within_groups(c: Context, part: MixtureOfExperts, key: Floats, rows: int) -> Floats:
    """Scores with −∞ for every expert outside the groups whose two best scores sum highest."""
    b, n, per = c.builder, part.groups, part.experts // part.groups
    two = min(2, per)
    apart = _apart(c, key, rows, n, per)  # rows [token][group]
    best = c.work("best of groups", 32 * rows * n)
    b.vector("vtopk", best, apart.at, per, rows * n, apart.stride, 32, k=two)
    scores = c.floats("best scores", rows * n, two)
    b.vector("vtake", scores.at, apart.at, two, rows * n, apart.stride, scores.stride, best, 32)
    total = reduce(c, "vtotal", scores, rows * n, "group scores")  # of two elements: their sum
    row = c.floats("group scores", rows, n)
    every = c.numbers(range(0, n * total.stride // 4, total.stride // 4))
    b.vector("vtake", row.at, total.at, n, rows, n * total.stride, row.stride, every, 0)
    chosen = c.floats("chosen groups", rows, part.topk_groups)
    b.vector("vtopk", chosen.at, row.at, n, rows, row.stride, chosen.stride, k=part.topk_groups)
    # groups' numbers are compared as FP32, whose order on small bit patterns is that of the integers
    group = Floats(c.numbers([e // per for e in range(part.experts)]), part.experts, 0)
    kept, mask = c.floats("kept scores", rows, part.experts), c.floats("mask", rows, part.experts)
    b.vector(
        "vwindow", kept.at, key.at, key.n, rows, key.stride, kept.stride, low=0, high=0, imm=NOTHING, per=1
    )
    for j in range(part.topk_groups):
        by_row(c, "vcompare", mask, group, rows, spread(c, chosen, j), condition=EQUAL)
        b.vector("vselect", kept.at, key.at, key.n, rows, key.stride, kept.stride, mask.at, mask.stride)
    return kept


def _apart(c: Context, key: Floats, rows: int, groups: int, per: int) -> Floats:
    """Each group's scores as a row of their own, [token][group]."""
    if per % 8 == 0 and (rows == 1 or key.stride == 4 * key.n):
        return Floats(key.at, per, 4 * per)
    wide = round_up(per, 8)
    y = c.floats("scores of groups", rows, groups * wide)
    table = c.numbers([min(g * per + i, key.n - 1) for g in range(groups) for i in range(wide)])
    c.builder.vector("vtake", y.at, key.at, groups * wide, rows, key.stride, y.stride, table, 0)
    return Floats(y.at, per, 4 * wide)


def spread(c: Context, x: Floats, j: int) -> Floats:
    """Element j of each row as a row of its own: what goes with a whole row starts at 32 bytes."""
    y = c.floats("spread", c.step.rows, 1)
    c.builder.vector("vtake", y.at, x.at, 1, c.step.rows, x.stride, y.stride, c.tables["indices"] + 32 * j, 0)
    return y


def softmax(c: Context, x: Floats, rows: int) -> None:
    """`numerics.vector.softmax`, in place."""
    each(c, "vmul", x, x, rows, 1.4426950408889634)
    by_row(c, "vsub", x, x, rows, reduce(c, "vgreatest", x, rows, "greatest"))
    each(c, "vexp2", x, x, rows)
    s = reduce(c, "vtotal", x, rows, "softmax total")
    each(c, "vreciprocal", s, s, rows)
    by_row(c, "vmul", x, x, rows, s)


__all__ = ["choose", "route", "spread", "within_groups"]
