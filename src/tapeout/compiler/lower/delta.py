"""Linear attention by the gated delta rule, as `numerics.delta` orders it, in the vector engine.

Key heads go one after another, each with the value heads that share it: their projections, the convolution, the
normalisation; then the states of as many of them as the scratchpad has room for come from memory, go through the new
tokens one by one, and go back. Of one token, the states of the next are on their way while these are worked on. A state
lies in memory in pieces of columns (`cached.state_layout`), which are independent of each other.

A sequence that starts reads a state of zeros behind the last slot, so that nothing has to be cleared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd

from tapeout.chip.isa.geometry import BLOCK_BYTES
from tapeout.compiler.ir import Area, Mem, Ref, Scalar
from tapeout.compiler.lower.cached import piece
from tapeout.compiler.lower.context import Context, Floats, Rows, by_row, each, reduce
from tapeout.compiler.lower.norm import rms_norm
from tapeout.compiler.lower.product import product, room
from tapeout.errors import InputError
from tapeout.model.architecture import LinearAttention, Tensor
from tapeout.numerics import delta as definition
from tapeout.numerics import vector
from tapeout.numerics.formats import BLOCK

SHARE = 16  # states that are worked on at a time take at most this part of the scratchpad
UNIT = 1024  # channels whose scales fill a block of 32 bytes: where a part of a row of codes can start


def linear(c: Context, x: Rows, layer: int, a: LinearAttention) -> Floats:
    """Normalised inputs → the attention's output, FP32 rows."""
    _possible(c, layer, a)
    names, rows, b = c.names(layer), c.step.rows, c.builder
    work = _Layer(c, layer, a, x)
    ahead = c.step.tokens == 1
    groups = [_Group(work, g) for g in range(a.key_heads)]
    if ahead:
        groups[0].begin()
    work.gates()
    attended = c.rows("attended codes", rows, a.value_heads * a.value_dim)
    wide = work.share * a.value_dim
    unit = min(UNIT // gcd(UNIT, wide), a.key_heads)  # key heads whose values are quantised together
    for first in range(0, a.key_heads, unit):
        part = groups[first : first + unit]
        y = c.floats("attended", rows, len(part) * wide)
        for i, group in enumerate(part):
            if not ahead:
                group.begin()
            elif group.g + 1 < a.key_heads:
                groups[group.g + 1].begin()
            own = y.part(i * wide, wide)
            group.run(own)
            group.finish(own)
        b.of(layer, "gate")
        at = first * wide
        b.vector(
            "vquantise", attended.at + at, y.at, y.n, rows, y.stride, attended.stride, attended.scales + at // BLOCK,
            attended.stride, format=1,
        )  # fmt: skip
    b.of(layer, "attention_output")
    result = c.floats("attention output", rows, c.model.hidden, room(c, c.model.hidden))
    product(c, attended, rows, c.memory.matrix(names["linear_attn.out_proj.weight"], "attention"), result)
    return result


def _possible(c: Context, layer: int, a: LinearAttention) -> None:
    for name, value in (("linear_key_head_dim", a.key_dim), ("linear_value_head_dim", a.value_dim)):
        if value % 8:
            raise InputError(
                c.model.name, f"layer {layer}: {name}", value, "a multiple of 8 for a compiled program"
            )


@dataclass
class _Layer:
    """What the key heads of a layer share. `decays`, `betas`: [rows, value heads]."""

    c: Context
    layer: int
    a: LinearAttention
    x: Rows

    def __post_init__(self) -> None:
        a = self.a
        self.names = self.c.names(self.layer)
        self.share = a.value_heads // a.key_heads
        self.width = 2 * a.key_dim + self.share * a.value_dim  # channels of the convolution of a key head
        self.columns = piece(a, self.c.g.pad_bytes)
        self.table = self.c.apart(max(a.key_dim, a.value_heads))

    def tensor(self, name: str) -> Tensor:
        """One of the layer's."""
        return self.names[f"linear_attn.{name}"]

    def project(self, name: str, first: int, n: int, out: Floats) -> None:
        """Outputs first to first + n of a projection."""
        matrix = self.c.memory.matrix(self.tensor(f"{name}.weight"), "attention", (first, first + n, 1))
        product(self.c, self.x, self.c.step.rows, matrix, out)

    def gates(self) -> None:
        """Decays and rates of all heads."""
        c, a, rows = self.c, self.a, self.c.step.rows
        c.builder.of(self.layer, "gates")
        n = a.value_heads
        self.decays, self.betas = (c.floats(name, rows, n, room(c, n)) for name in ("decays", "rates"))
        self.project("in_proj_a", 0, n, self.decays)
        self.project("in_proj_b", 0, n, self.betas)
        each(c, "vsigmoid", self.betas, self.betas, rows)
        each(c, "vadd", self.decays, self.decays, rows, c.vector(self.tensor("dt_bias"), n))
        softplus(c, self.decays, rows)
        each(c, "vmul", self.decays, self.decays, rows, c.vector(self.tensor("A_log"), n, rate=True))
        each(c, "vexp2", self.decays, self.decays, rows)


def softplus(c: Context, x: Floats, rows: int) -> None:
    """`numerics.delta.softplus`, in place."""
    t, z, s = (c.floats("softplus", rows, x.n) for _ in range(3))
    each(c, "vmul", t, x, rows, -1.0)
    each(c, "vmaximum", t, x, rows, t)
    each(c, "vmul", t, t, rows, float(-vector.LOG2E))
    each(c, "vexp2", t, t, rows)
    each(c, "vadd", z, t, rows, 2.0)
    each(c, "vreciprocal", z, z, rows)
    each(c, "vmul", z, t, rows, z)
    each(c, "vmul", s, z, rows, z)
    each(c, "vmul", t, s, rows, float(definition.SERIES[-1]))
    for constant in definition.SERIES[-2:0:-1]:
        each(c, "vadd", t, t, rows, float(constant))
        each(c, "vmul", t, t, rows, s)
    each(c, "vadd", t, t, rows, float(definition.SERIES[0]))
    each(c, "vmul", t, z, rows, t)
    each(c, "vmaximum", x, x, rows, 0.0)
    each(c, "vadd", x, x, rows, t)


class _Group:
    """A key head and the value heads that share it."""

    def __init__(self, work: _Layer, g: int) -> None:
        self.w, self.g, self.c, self.a = work, g, work.c, work.a
        a, c = work.a, work.c
        self.area = Area(f"state {g} of layer {work.layer}")
        self.bytes = 4 * a.key_dim * work.columns
        pieces = [(j, p) for j in range(work.share) for p in range(0, a.value_dim, work.columns)]
        most = max(c.g.pad_bytes // SHARE // self.bytes, 1)
        parts = [pieces[i : i + most] for i in range(0, len(pieces), most)]
        self.jobs = [(i, part) for i in range(c.step.sequences) for part in parts]

    def begin(self) -> None:
        """Loads that need nothing of the tokens: the last inputs of the convolution, the first states."""
        c, a, w = self.c, self.a, self.w
        c.builder.of(w.layer, "state")
        before = a.convolution - 1
        own = 1 if c.step.sequences > 1 else c.step.tokens
        self.block = before + own  # rows of a sequence
        stride = 4 * (2 * a.key_dim + room(c, w.share * a.value_dim))
        self.inputs = Floats(
            c.work("convolution inputs", self.block * c.step.sequences * stride), w.width, stride
        )
        if before:
            for i in range(c.step.sequences):
                at = self.inputs.row(i * self.block).at
                c.builder.load(at, self._before(c.sources[i]), 4 * w.width, before, 4 * w.width, 1, 0, stride,
                               (before - 1) * stride + 4 * w.width, self.area)  # fmt: skip
        self.ready = self._load(0)

    def _before(self, slot: Scalar) -> Mem:
        at = self.c.states[self.w.layer][0].at
        return Mem("cache", at + self.g * 4 * self.w.width * (self.a.convolution - 1), slot)

    def _state(self, job: int, slots: Sequence[Scalar]) -> tuple[Mem, int]:
        """Where the pieces of a job lie, one after another, and their bytes."""
        i, part = self.jobs[job]
        j, p = part[0]
        per = self.a.value_dim // self.w.columns
        number = (self.g * self.w.share + j) * per + p // self.w.columns
        at = self.c.states[self.w.layer][-1].at + number * self.bytes
        return Mem("cache", at, slots[i]), len(part) * self.bytes

    def _load(self, job: int) -> Ref:
        at, size = self._state(job, self.c.sources)
        pad = self.c.work("state", size)
        self.c.builder.load(pad, at, size, area=self.area)
        return pad

    def run(self, y: Floats) -> None:
        """Everything up to the outputs of the delta rule, to `y`."""
        mixed = self._convolve()
        self._normalise(mixed)
        c = self.c
        c.builder.of(self.w.layer, "delta_rule")
        for job, (i, part) in enumerate(self.jobs):
            pad = self.ready
            if job + 1 < len(self.jobs):
                self.ready = self._load(job + 1)
            if c.step.tokens == 1:
                self._token(part, pad, mixed.row(i), self.w.decays.row(i), self.w.betas.row(i), y.row(i))
            else:
                self._tokens(part, pad, mixed, y)
            at, size = self._state(job, c.slots)
            c.builder.store(pad, at, size, area=self.area)

    def _convolve(self) -> Floats:
        """Projections of the key head's channels, the convolution over them, silu."""
        c, a, w, rows = self.c, self.a, self.w, self.c.step.rows
        b, width, x = c.builder, a.convolution, self.inputs
        b.of(w.layer, "qkv")
        several = c.step.sequences > 1
        step = x.stride * self.block if several else x.stride  # from a token to the next
        keys, values = a.key_heads * a.key_dim, w.share * a.value_dim
        for at, first, n in (
            (0, self.g * a.key_dim, a.key_dim),
            (a.key_dim, keys + self.g * a.key_dim, a.key_dim),
            (2 * a.key_dim, 2 * keys + self.g * values, values),
        ):
            w.project("in_proj_qkv", first, n, Floats(x.row(width - 1).at + 4 * at, n, step))
        b.of(w.layer, "convolution")
        taps = self._taps()
        y, t = c.floats("convolved", rows, w.width), c.floats("tap", rows, w.width)
        for j in range(width):
            here = Floats(x.row(j).at, w.width, step)
            each(c, "vmul", t if j else y, here, rows, taps + 4 * w.width * j)
            if j:
                each(c, "vadd", y, y, rows, t)
        each(c, "vsigmoid", t, y, rows)
        each(c, "vmul", y, y, rows, t)
        if width > 1:
            self._keep()
        return y

    def _keep(self) -> None:
        """The last inputs of the convolution go to memory for the next step."""
        c, before, size = self.c, self.a.convolution - 1, 4 * self.w.width
        stride = self.inputs.stride
        for i in range(c.step.sequences):
            at = self.inputs.row(i * self.block + 1).at
            if c.count is not None:  # of a prompt: behind its last token
                at = Ref(at.buffer, 0, c.builder.scalar("mul", c.count, stride))
            c.builder.store(at, self._before(c.slots[i]), size, before, size, 1, 0, stride,
                            (before - 1) * stride + size, self.area)  # fmt: skip

    def _taps(self) -> Ref:
        """Weights of the convolution: for each tap a row of the key head's channels."""
        c, a, w = self.c, self.a, self.w
        width, keys, values = a.convolution, a.key_heads * a.key_dim, w.share * a.value_dim
        tensor = w.tensor("conv1d.weight")

        def make() -> Mem:
            at = c.memory.room("vectors", 4 * w.width * width)
            for j in range(width):
                place = at + 4 * w.width * j
                for first, n in (
                    (self.g * a.key_dim, a.key_dim),
                    (keys + self.g * a.key_dim, a.key_dim),
                    (2 * keys + self.g * values, values),
                ):
                    part = [first * width + j, (first + n) * width, width]
                    c.memory.pack(place, "vector", [tensor], n=n, part=part)
                    place = place + 4 * n
            return at

        at = c.memory.once(("taps", w.layer, self.g), make)
        return c.constants(at, 4 * w.width * width, "taps")

    def _normalise(self, mixed: Floats) -> None:
        c, a, rows = self.c, self.a, self.c.step.rows
        c.builder.of(self.w.layer, "qk_norm")
        for at in (0, a.key_dim):
            x = mixed.part(at, a.key_dim)
            t = c.floats("norm", rows, a.key_dim)
            each(c, "vmul", t, x, rows, x)
            s = reduce(c, "vtotal", t, rows, "norm statistics")
            each(c, "vadd", s, s, rows, float(definition.EPSILON))
            each(c, "vrsqrt", s, s, rows)
            by_row(c, "vmul", x, x, rows, s)
            if not at:
                each(c, "vmul", x, x, rows, a.key_dim**-0.5)

    def _tokens(self, part: list[tuple[int, int]], pad: Ref, mixed: Floats, y: Floats) -> None:
        """Every token of a prompt, as many as there are."""
        c, b = self.c, self.c.builder
        assert c.count is not None
        rows = (mixed, self.w.decays, self.w.betas, y)
        at = {stride: b.constant(0) for stride in {r.stride for r in rows}}
        with b.loop(c.count):
            here = [Floats(Ref(r.at.buffer, r.at.offset, at[r.stride]), r.n, r.stride) for r in rows]
            self._token(part, pad, *here)
            for stride, offset in at.items():
                b.scalar("add", offset, stride, to=offset)

    def _token(
        self, part: list[tuple[int, int]], pad: Ref, mixed: Floats, decays: Floats, betas: Floats, y: Floats
    ) -> None:  # fmt: skip
        """One token through the pieces of states from `pad` on."""
        c, b, a, w = self.c, self.c.builder, self.a, self.w
        rows, n, size = a.key_dim, w.columns, a.key_dim * w.columns
        query, key = self._spread(mixed.at, rows), self._spread(mixed.at + 4 * rows, rows)
        heads = sorted({j for j, _ in part})
        first = self.g * w.share + heads[0]
        decay, beta = (self._spread(x.at, len(heads), first) for x in (decays, betas))
        t, change = c.floats("state products", rows, n), c.floats("change", 1, n)
        for number, (j, p) in enumerate(part):
            state, own = pad + number * self.bytes, 32 * (j - heads[0])
            column = j * a.value_dim + p
            b.vector("vmul", state, state, size, b=decay + own, per_row=True)
            b.vector("vmul", t.at, state, n, rows, 4 * n, 4 * n, key, 32, per_row=True)
            memory = self._total(t.at, t.at)
            b.vector("vsub", change.at, mixed.at + 4 * (2 * rows + column), n, b=memory)
            b.vector("vmul", change.at, change.at, n, b=beta + own, per_row=True)
            b.vector("vmul", t.at, change.at, n, rows, 0, 4 * n, key, 32, per_row=True)
            b.vector("vadd", state, state, size, b=t.at)
            b.vector("vmul", t.at, state, n, rows, 4 * n, 4 * n, query, 32, per_row=True)
            self._total(t.at, y.at + 4 * column)

    def _spread(self, at: Ref, n: int, first: int = 0) -> Ref:
        """n elements from element `first` of a row on, one every 32 bytes, as what goes with rows is read."""
        out = self.c.work("spread", BLOCK_BYTES * n)
        table = self.w.table + BLOCK_BYTES * first
        self.c.builder.vector("vtake", out, at, 1, n, 0, BLOCK_BYTES, table, BLOCK_BYTES)
        return out

    def _total(self, x: Ref, out: Ref) -> Ref:
        """`numerics.delta.rows_total` of key_dim rows of a piece at x, which it overwrites, to `out`."""
        n, rows = self.w.columns, self.a.key_dim
        while rows > 1:
            half = 1 << (rows - 1).bit_length() - 1
            more = rows - half
            to = out if half == 1 else x
            self.c.builder.vector("vadd", to, x, more * n, b=x + 4 * half * n)
            rows = half
        return out

    def finish(self, y: Floats) -> None:
        """The norm of each head, times silu of its gate, in place."""
        c, a, w, rows = self.c, self.a, self.w, self.c.step.rows
        wide = w.share * a.value_dim
        c.builder.of(w.layer, "gate")
        z, t = c.floats("gate", rows, wide, room(c, wide)), c.floats("gate sigmoid", rows, wide)
        w.project("in_proj_z", self.g * wide, wide, z)
        each(c, "vsigmoid", t, z, rows)
        each(c, "vmul", z, z, rows, t)
        weight = c.vector(w.tensor("norm.weight"), a.value_dim)
        for j in range(w.share):
            head = y.part(j * a.value_dim, a.value_dim)
            rms_norm(c, head, rows, None, head)
            each(c, "vmul", head, head, rows, weight)
        each(c, "vmul", y, y, rows, z)


__all__ = ["linear", "softplus"]
