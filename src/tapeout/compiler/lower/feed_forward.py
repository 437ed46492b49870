"""One gated network, and what dense layers, shared experts and routed experts have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tapeout.compiler.ir import Ref
from tapeout.compiler.lower.context import Context, Floats, Rows, each, quantise
from tapeout.compiler.lower.gated import activated, gated, times_up
from tapeout.compiler.lower.pieces import Alternating, Assembled, added, first_of, in_pieces, made, pieces
from tapeout.compiler.lower.product import product, room
from tapeout.compiler.memory import Matrix
from tapeout.model.architecture import Dense, Tensor

Biases = Callable[[int], Ref | None]


def with_biases(tensors: list[Tensor]) -> tuple[list[Tensor], list[Tensor | None]]:
    """Matrices in order, and for each its bias (`module.bias`, or `name_bias` of a stack) or None."""
    matrices = [t for t in tensors if t.matrix]
    others = {t.name: t for t in tensors if not t.matrix}
    return matrices, [
        others.get(t.name.removesuffix("weight") + "bias", others.get(f"{t.name}_bias")) for t in matrices
    ]


@dataclass(frozen=True)
class Part:
    """Rows start:stop:step of a tensor: the gate's, the up projection's, or all of the down projection's."""

    tensor: Tensor
    bias: Tensor | None
    rows: tuple[int, int, int]

    @property
    def n(self) -> int:
        """Outputs."""
        return len(range(*self.rows))


def parts(tensors: list[Tensor], activation: str) -> tuple[Part, Part, Part]:
    """Gate, up and down. Stacks of the clamped SwiGLU alternate rows of gate and up; others that have both in one
    matrix have them in halves."""
    matrices, biases = with_biases(tensors)
    down = Part(matrices[-1], biases[-1], (0, matrices[-1].shape[-2], 1))
    if len(matrices) == 3:
        gate, up = (Part(m, b, (0, m.shape[-2], 1)) for m, b in zip(matrices[:2], biases[:2], strict=True))
        return gate, up, down
    both, bias, n = matrices[0], biases[0], matrices[0].shape[-2]
    if activation == "clamped_swiglu":
        return Part(both, bias, (0, n, 2)), Part(both, bias, (1, n, 2)), down
    return Part(both, bias, (0, n // 2, 1)), Part(both, bias, (n // 2, n, 1)), down


def network(
    c: Context, x: Rows, rows: int, gate: Matrix, up: Matrix, down: Matrix, biases: Biases,
    activation: str, limit: float | None, into: Floats | None = None,
) -> Floats | None:  # fmt: skip
    """down(act(gate(x))·up(x)), or None if it has been added to `into`. `biases`: of gate, up, down, asked for after
    the product."""
    if in_pieces(c):
        return _in_pieces(
            c, x, rows, (gate, up, down), [biases(i) for i in range(3)], activation, limit, into
        )
    g = c.floats("gate", rows, gate.n, room(c, gate.n))
    u = c.floats("up", rows, up.n, room(c, up.n))
    for i, (y, matrix) in enumerate(((g, gate), (u, up))):
        product(c, x, rows, matrix, y)
        bias = biases(i)
        if bias is not None:
            each(c, "vadd", y, y, rows, bias)
        if i == 0:
            a = activated(c, activation, g, rows, limit)
    times_up(c, activation, a, u, rows, limit)
    q = quantise(c, a, rows, "gated codes")
    y = c.floats("network output", rows, down.n, room(c, down.n))
    product(c, q, rows, down, y)
    bias = biases(2)
    if bias is not None:
        each(c, "vadd", y, y, rows, bias)
    return y


def _in_pieces(
    c: Context, x: Rows, rows: int, three: tuple[Matrix, Matrix, Matrix], biases: list[Ref | None],
    activation: str, limit: float | None, into: Floats | None,
) -> Floats | None:  # fmt: skip
    """The same, gate and up piece by piece: the next one's products go on beside the activation of one."""
    gate, up, down = three
    whole = Assembled(c, "gated codes", rows, gate.n)
    parts = list(zip(pieces(c, gate, rows), pieces(c, up, rows), strict=True))
    gates = Alternating(c, "gate", rows, [one for one, _ in parts])
    ups = Alternating(c, "up", rows, [other for _, other in parts])
    for one, other in parts:
        g, first = made(c, x, rows, one, gates.next(one.n)), first_of(one)
        if biases[0] is not None:
            each(c, "vadd", g, g, rows, biases[0] + 4 * first)
        u = made(c, x, rows, other, ups.next(other.n))
        if biases[1] is not None:
            each(c, "vadd", u, u, rows, biases[1] + 4 * first)
        whole.put(gated(c, activation, g, u, rows, limit), first)
    q = whole.rows()
    if into is not None:
        added(c, q, rows, down, biases[2], into)
        return None
    y = c.floats("network output", rows, down.n, room(c, down.n))
    product(c, q, rows, down, y)
    if biases[2] is not None:
        each(c, "vadd", y, y, rows, biases[2])
    return y


def dense(
    c: Context, x: Rows, layer: int, part: Dense, role: str = "dense", into: Floats | None = None
) -> Floats | None:
    """The network of these tensors of a layer; None if it has been added to `into`."""
    tensors = [t for t in c.model.layer_tensors(layer) if t.role == role]
    three = parts(tensors, part.activation)
    c.builder.of(layer, role)
    matrices = [c.memory.matrix(p.tensor, role, p.rows) for p in three]

    def bias(i: int) -> Ref | None:
        p = three[i]
        return None if p.bias is None else c.vector(p.bias, p.n, part=list(p.rows))

    gate, up, down = matrices
    return network(c, x, c.step.rows, gate, up, down, bias, part.activation, part.limit, into)
