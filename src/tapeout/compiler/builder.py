"""Makes IR: a method for each kind of instruction, which knows the bytes that the instruction reads and writes."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from tapeout.chip.isa.definition import REGISTER_MASK
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry, round_up
from tapeout.chip.isa.state import signed
from tapeout.compiler.ir import (
    WORK,
    Area,
    Buffer,
    Calculate,
    Item,
    Loop,
    Mem,
    Op,
    Ref,
    Scalar,
    Span,
    Stop,
    Value,
    named,
)
from tapeout.compiler.program import Operator
from tapeout.numerics.formats import BLOCK

FORMATS = {"mxfp4": 0, "mxint8": 1}
FUNCTIONS = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "and": lambda a, b: a & b,
    "shl": lambda a, b: a << (b & 63), "shr": lambda a, b: a >> (b & 63),
    "min": lambda a, b: min(signed(a), signed(b)), "max": lambda a, b: max(signed(a), signed(b)),
    "less": lambda a, b: int(signed(a) < signed(b)), "equal": lambda a, b: int(a == b),
}  # fmt: skip


def float_bits(x: float) -> int:
    """An FP32 constant as the immediate has it."""
    return int(struct.unpack("<I", struct.pack("<f", x))[0])


def nominal(value: Value | None) -> int:
    """A number for the cycle count; addresses count as 0."""
    if isinstance(value, Scalar):
        return value.nominal
    return value if isinstance(value, int) else 0


class Builder:
    """Appends to `items`; `origin` is what they are for."""

    def __init__(self, geometry: Geometry) -> None:
        self.g, self.items = geometry, list[Item]()
        self.origin = Operator(None, "start")
        self._bank = 0

    def of(self, layer: int | None, name: str) -> None:
        """What follows is made for this operator."""
        self.origin = Operator(layer, name)

    def buffer(self, name: str, size: int, kind: str = WORK, align: int = 64) -> Buffer:
        """A new buffer of at least `size` bytes."""
        return Buffer(name, round_up(max(size, 1), BLOCK_BYTES), kind, align)

    def bank(self) -> int:
        """The bank of accumulators for the next product: they alternate."""
        self._bank ^= 1
        return self._bank

    # scalars

    def scalar(
        self, op: str, a: Scalar | int, b: Scalar | int | Ref | Mem = 0, to: Scalar | None = None
    ) -> Scalar:
        """a OP b as a new scalar (or assigned to `to`)."""
        first, second = a, b
        left = self.constant(a) if isinstance(a, int) else a
        b_scalar = b if isinstance(b, Scalar) else None
        rd = to or Scalar()
        value = FUNCTIONS[op](nominal(first), nominal(second))
        rd.nominal = value if to is None else rd.nominal
        constant: Value = 0 if isinstance(b, Scalar) else b
        self.items.append(Calculate(named(op), rd, left, b_scalar, constant, (), self.origin))
        return rd

    def constant(self, value: int | Ref | Mem) -> Scalar:
        """A scalar with a value known now."""
        rd = Scalar(value if isinstance(value, int) else 0)
        self.items.append(Calculate(named("add"), rd, None, None, value, (), self.origin))
        return rd

    def argument(self, index: int, nominal: int) -> Scalar:
        """One of the host's arguments."""
        rd = Scalar(nominal)
        self.items.append(Calculate(named("argument"), rd, None, None, 0, (), self.origin, index))
        return rd

    def read(self, at: Ref, nominal: int) -> Scalar:
        """The 32-bit word at a place of the scratchpad."""
        rd = Scalar(nominal)
        self.items.append(
            Calculate(named("read"), rd, None, at.plus, Ref(at.buffer, at.offset), _span(at, 4), self.origin)
        )
        return rd

    @contextmanager
    def loop(self, count: Scalar) -> Iterator[None]:
        """What is appended within is executed `count` times."""
        outer, self.items = self.items, []
        yield
        body, self.items = self.items, outer
        self.items.append(Loop(count, body, self.origin))

    def stop(self, more: Scalar) -> None:
        """The entry ends here unless `more` is 0."""
        self.items.append(Stop(more, self.origin))

    # transfers

    def load(
        self, pad: Ref, memory: Mem, bytes: Value, n0: Value = 1, s0: Value = 0, n1: Value = 1, s1: Value = 0,
        pitch: Value = 0, extent: int = 0, area: Area | None = None, prefetch: bool = False,
    ) -> None:  # fmt: skip
        """`load`; `extent`: bytes of the scratchpad that it writes at most (0: those of one run)."""
        self._transfer("load", pad, extent or nominal(bytes), area, True, prefetch, dict(
            pad=pad, memory=memory, bytes=bytes, n0=n0, s0=s0, n1=n1, s1=s1, pitch=pitch))  # fmt: skip

    def gather(
        self, pad: Ref, memory: Mem, bytes: Value, table: Ref, n0: Value, s0: int, pitch: int, extent: int,
        area: Area | None = None,
    ) -> None:  # fmt: skip
        """`gather`; the table holds at most extent / pitch indices."""
        more = _span(table, 4 * max(extent // max(pitch, 1), 1))
        self._transfer("gather", pad, extent, area, True, False, dict(
            pad=pad, memory=memory, bytes=bytes, n0=n0, s0=s0, table=table, pitch=pitch), more)  # fmt: skip

    def transpose(
        self, pad: Ref, memory: Mem, bytes: int, n0: Value, s0: int, split: int, s1: int, pitch: int, extent: int,
        area: Area | None,
    ) -> None:  # fmt: skip
        """`transpose`."""
        self._transfer("transpose", pad, extent, area, True, False, dict(
            pad=pad, memory=memory, bytes=bytes, n0=n0, s0=s0, split=split, s1=s1, pitch=pitch))  # fmt: skip

    def store(
        self, pad: Ref, memory: Mem, bytes: Value, n0: Value = 1, s0: Value = 0, n1: Value = 1, s1: Value = 0,
        pitch: Value = 0, extent: int = 0, area: Area | None = None,
    ) -> None:  # fmt: skip
        """`store`; `extent`: bytes of the scratchpad that it reads at most."""
        self._transfer("store", pad, extent or nominal(bytes), area, False, False, dict(
            pad=pad, memory=memory, bytes=bytes, n0=n0, s0=s0, n1=n1, s1=s1, pitch=pitch))  # fmt: skip

    def scatter(
        self,
        pad: Ref,
        memory: Mem,
        bytes: int,
        table: Ref,
        n0: Value,
        s0: int,
        pitch: int,
        extent: int,
        area: Area,
    ) -> None:
        """`scatter`; the table holds at most extent / pitch indices."""
        more = _span(table, 4 * max(extent // max(pitch, 1), 1))
        self._transfer("scatter", pad, extent, area, False, False, dict(
            pad=pad, memory=memory, bytes=bytes, n0=n0, s0=s0, table=table, pitch=pitch), more)  # fmt: skip

    def _transfer(
        self, name: str, pad: Ref, extent: int, area: Area | None, loads: bool, prefetch: bool,
        operands: dict[str, Value], more: tuple[Span, ...] = (),
    ) -> None:  # fmt: skip
        here = _span(pad, extent)
        there: tuple[Span, ...] = () if area is None else ((area, 0, 1),)
        reads, writes = ((*there, *more), here) if loads else ((*here, *more), there)
        self.items.append(Op(named(name), operands, {}, reads, writes, self.origin, prefetch))

    # products

    def matmul(
        self, a: Ref, ascale: Ref, sa: int, w: Ref, wscale: Ref, out: Ref | None, so: int, steps: Value, rows: int,
        tiles: int, format: str, bank: int, keep: bool = False, most: int = 0,
    ) -> None:  # fmt: skip
        """`matmul` of `rows` rows, not split; `out` None: the sums stay. `most`: the greatest `steps`."""
        g, k = self.g, most or nominal(steps)
        beats = k * tiles
        reads = [
            *_span(a, (rows - 1) * sa + k * BLOCK), *_span(ascale, (rows - 1) * sa + k),
            *_span(w, beats * g.beat_bytes(format)), *_span(wscale, beats * g.scale_bytes(format)),
        ]  # fmt: skip
        writes = () if out is None else _span(out, (rows - 1) * so + tiles * g.pitch(format))
        operands: dict[str, Value] = dict(
            a=a, ascale=ascale, sa=sa, w=w, wscale=wscale, out=out or 0, so=so, steps=steps
        )
        fields = dict(
            rows=rows, height=rows, tiles=tiles, bank=bank, keep=int(keep), drain=int(out is not None),
            format=FORMATS[format],
        )  # fmt: skip
        self.items.append(Op(named("matmul"), operands, fields, tuple(reads), writes, self.origin))

    # vectors

    def vector(
        self, name: str, out: Ref, a: Ref, n: Value, rows: Value = 1, sa: int = 0, so: int = 0,
        b: Ref | float | None = None, sb: int = 0, per_row: bool = False, most: int = 0, most_rows: int = 0,
        low: Value = 0, high: Value = 0, condition: int | None = None, **fields: int,
    ) -> None:  # fmt: skip
        """A vector instruction. `b`: a vector, with `per_row` one element a row, or a constant. `most`, `most_rows`:
        the greatest n and rows where they are scalars. For `vquantise` b is where the scales go."""
        size, lines = most or nominal(n), most_rows or nominal(rows)
        if rows == 1:  # no strides: r0 does
            sa = so = sb = 0
        operands: dict[str, Value] = dict(a=a, out=out, n=n, rows=rows, sa=sa, so=so)

        def rows_of(at: Ref, stride: int, bytes: int) -> tuple[Span, ...]:
            return _span(at, (lines - 1) * stride + bytes)

        wide = {"in": 4 * size, "out": 4 * size, "b": 4 * size}
        if name in ("vtotal", "vgreatest"):
            wide["out"] = 8
        elif name == "vtopk":
            wide["out"] = 4 * fields["k"]
        elif name == "vquantise":
            wide["out"], wide["b"] = round_up(size, BLOCK), -(-size // BLOCK)
        elif name == "vdequantise":
            wide["in"], wide["b"] = round_up(size, BLOCK), -(-size // BLOCK)
        elif name == "vconvert":
            wide["in"] = (2, 4, 1)[fields["kind"]] * size
            wide["out"] = (4, 2, 4)[fields["kind"]] * size
        elif name == "vrope":
            wide["b"] = 8 * fields["half"]
        elif name == "vtake":
            wide["in"] = 0
        reads, writes = list(rows_of(a, sa, wide["in"])), list(rows_of(out, so, wide["out"]))
        if name == "vtake":
            reads = [(a.buffer, 0, a.buffer.size)]
        if name == "vselect":
            reads += writes
        if isinstance(b, Ref):
            operands |= dict(b=b, sb=sb)
            if name == "vquantise":
                writes += rows_of(b, sb, wide["b"])
            else:
                reads += rows_of(b, sb, 4 if per_row else wide["b"])
        if "from" in {f.name for f in named(name).fields}:
            fields["from"] = 2 if not isinstance(b, Ref) else int(per_row)
        if condition is not None:
            fields["if"] = condition
        if isinstance(b, float):
            fields["imm"] = float_bits(b)
        if name == "vwindow":
            operands |= dict(low=low, high=high)
        self.items.append(Op(named(name), operands, fields, tuple(reads), tuple(writes), self.origin))


def _span(at: Ref, bytes: int) -> tuple[Span, ...]:
    """The bytes at a place; all of the buffer where a scalar is in the address."""
    if at.plus is not None:
        return ((at.buffer, 0, at.buffer.size),)
    if at.offset + bytes > at.buffer.size:
        raise AssertionError(
            f"{at.buffer.name}: bytes {at.offset} to {at.offset + bytes} of {at.buffer.size}"
        )
    return ((at.buffer, at.offset, bytes),) if bytes > 0 else ()


__all__ = ["FORMATS", "REGISTER_MASK", "Builder", "float_bits", "nominal"]
