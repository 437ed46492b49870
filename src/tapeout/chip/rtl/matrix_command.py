"""The entrance of the matrix engine: a `matmul` is checked and becomes work for what fetches, computes and writes.

| cycle | work |
|---|---|
| 0 | the command is taken |
| 1 | groups; the way from the first row to the last, of activations and of results; what is not an operand |
| 2 | blocks of a row; the last rows' addresses |
| 3 | beats; ends of the rows |
| 4 | ends of the weights; ranges |
| 5 | a trap, or the work on offer |

Commands come from a sequencer that takes longer than this for each, so they are not pipelined.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.definition import Cause
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry
from tapeout.chip.isa.matrix.matmul import INSTRUCTION, STEPS
from tapeout.chip.rtl.bits import bits_for_index
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.sequencer import CAUSE_BITS
from tapeout.chip.rtl.sequencer_dispatch import COMMAND

CYCLES = 5  # from the cycle in which a command is taken to that in which its work is on offer
STEP_BITS = (STEPS - 1).bit_length()


def work_layout(g: Geometry) -> data.StructLayout:
    """Addresses and strides of the scratchpad in bytes; counts are less one, but `groups`."""
    at, row = (g.pad_bytes - 1).bit_length(), bits_for_index(g.rows)
    fields = {name: at for name in ("a", "ascale", "sa", "w", "wscale", "out", "so")}
    fields |= {"w_end": at + 1, "wscale_end": at + 1}  # the byte behind the last
    fields |= {"steps": STEP_BITS, "rows": row, "height": row, "groups": g.rows.bit_length()}
    fields |= {"tiles": bits_for_index(g.tiles), "bank": 1, "keep": 1, "drain": 1, "int8": 1}
    return data.StructLayout(fields)


class MatrixCommand(Block):
    """`command` → `work`, or `error` with its `cause`; nothing follows an error."""

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "work": Out(stream.Signature(work_layout(geometry))),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
            }
        )

    @property
    def module_name(self) -> str:
        g = self.geometry
        return f"matrix_command_{g.rows}x{g.columns}_{'_'.join(g.formats)}_{g.ways}_{g.tiles}_{g.pad_bytes}"

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        g = self.geometry
        bits = (g.pad_bytes - 1).bit_length()
        phase = Signal(range(CYCLES + 1))
        failed = Signal()
        c = Signal(COMMAND, reset_less=True)
        m.d.comb += self.command.ready.eq(phase == 0)
        with m.If(self.command.valid & (phase == 0)):
            m.d.sync += [c.eq(self.command.payload), phase.eq(1)]
        with m.Elif((phase != 0) & (phase != CYCLES)):
            m.d.sync += phase.eq(phase + 1)
        with m.Elif(self.work.valid & self.work.ready):
            m.d.sync += phase.eq(0)

        slots = {s.name: c.slots[i] for i, s in enumerate(INSTRUCTION.slots)}
        fields = {
            f.name: c.imm[f.low : f.low + f.bits] for f in INSTRUCTION.fields
        }  # those counted: less one
        steps, int8 = slots["steps"], fields["format"][0]
        rows, height = fields["rows"], fields["height"]

        def reg(value: Any, name: str) -> Any:
            value = Value.cast(value)
            r = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += r.eq(value)
            return r

        # 1. c stays as it is, so what is made of it one step after another may be read from then on
        groups = reg(
            sum((n * (height + 1) <= rows for n in range(1, g.rows)), Const(1, g.rows.bit_length())), "groups"
        )[: g.rows.bit_length()]
        lacks = [Const(0, 1) if n in g.formats else int8 == k for k, n in enumerate(("mxfp4", "mxint8"))]
        operand = reg(
            (rows >= g.rows) | (height > rows) | (fields["tiles"] >= g.tiles) | (steps == 0)
            | (steps > STEPS) | lacks[0] | lacks[1], "operand",
        )  # fmt: skip
        units = [g.beat_bytes(n) for n in ("mxfp4", "mxint8")]
        scale_units = [max(g.scale_bytes(n), BLOCK_BYTES) for n in ("mxfp4", "mxint8")]

        def remainder(name: str, of: list[int]) -> Value:
            """Whether an address is not a multiple of the format's unit."""
            low = [(slots[name][: (n - 1).bit_length()] != 0) if n > 1 else Const(0, 1) for n in of]
            return Mux(int8, low[1], low[0])

        alignment = reg(
            Cat(slots[n][: (BLOCK_BYTES - 1).bit_length()] for n in ("a", "ascale", "sa", "out", "so")).any()
            | remainder("w", units) | remainder("wscale", scale_units), "alignment",
        )  # fmt: skip
        row_bits = bits_for_index(g.rows)
        strides = {n: slots[n][: bits + 1].as_signed() for n in ("sa", "so")}
        several = rows.any()
        wide = {n: several & (slots[n][bits:] != 0) & (~slots[n][bits:] != 0) for n in strides}
        way = {n: reg(s * rows[:row_bits], f"way_{n}") for n, s in strides.items()}

        # 2
        blocks = reg(steps[:STEP_BITS] * groups + Mux(steps[STEP_BITS], groups << STEP_BITS, 0), "blocks")
        last = {
            n: reg(slots[n][:bits] + way[s], f"last_{n}") for n, s in (("a", "sa"), ("ascale", "sa"), ("out", "so"))
        }  # fmt: skip
        far = {n: slots[n][bits:].any() for n in ("a", "ascale", "w", "wscale", "out")}
        pitches = [g.pitch(n) for n in ("mxfp4", "mxint8")]
        results = reg((fields["tiles"] + 1) * Mux(int8, pitches[1], pitches[0]), "results")

        # 3
        tiles = fields["tiles"][: bits_for_index(g.tiles)] + 1
        beats = reg(blocks * tiles, "beats")
        extent = {"a": blocks * BLOCK_BYTES, "ascale": blocks, "out": results}
        ends = {
            n: reg(Mux(last[n] > slots[n][:bits].as_unsigned(), last[n], slots[n][:bits]) + extent[n], f"end_{n}")
            for n in last
        }  # fmt: skip
        below = {n: reg(v < 0, f"below_{n}") for n, v in last.items()}

        # 4
        shifts = [
            [(u - 1).bit_length() for u in us]
            for us in (units, [g.scale_bytes(n) for n in ("mxfp4", "mxint8")])
        ]
        w_end, wscale_end = (
            reg(slots[n][:bits] + Mux(int8, beats << s[1], beats << s[0]), f"end_{n}")
            for n, s in (("w", shifts[0]), ("wscale", shifts[1]))
        )
        outside = {n: far[n] | below[n] | (ends[n] > g.pad_bytes) for n in ends}
        drain = fields["drain"][0]
        rows_outside = reg(
            outside["a"] | outside["ascale"] | wide["sa"] | (drain & (outside["out"] | wide["so"])), "rows_outside"
        )  # fmt: skip

        # 5
        outside_range = (
            rows_outside | far["w"] | far["wscale"] | (w_end > g.pad_bytes) | (wscale_end > g.pad_bytes)
        )
        bad = operand | alignment | outside_range
        checked = phase == CYCLES
        with m.If(checked & bad):
            m.d.sync += failed.eq(1)
        work = self.work.payload
        m.d.comb += [
            self.error.eq(checked & bad & ~failed),
            self.cause.eq(Mux(operand, Cause.OPERAND, Mux(alignment, Cause.ALIGNMENT, Cause.RANGE))),
            self.work.valid.eq(checked & ~bad),
            *(getattr(work, n).eq(slots[n]) for n in ("a", "ascale", "sa", "w", "wscale", "out", "so")),
            *(getattr(work, n).eq(fields[n]) for n in ("rows", "height", "tiles", "bank", "keep", "drain")),
            work.w_end.eq(w_end), work.wscale_end.eq(wscale_end), work.groups.eq(groups),
            work.steps.eq(steps - 1), work.int8.eq(int8),
        ]  # fmt: skip
        return m
