"""The matrix engine on the scratchpad: `matmul` commands in, sums in the scratchpad out.

    command ── matrix_command ──┬── matrix_activations ── codes, scales of rows ──┐
                                ├── matrix_weights (codes) ──┐                     │
                                ├── matrix_weights (scales) ─┴── beats ── matrix_engine ── matrix_results
                                ├── steps, rows, tiles … ─────────────────────────┘            │
                                └── where results go ──────────────────────────────────────────┘

Each part has its own queue of commands, so the operands of a command are fetched while the one before is multiplied
and the sums of the one before that are written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry
from tapeout.chip.rtl.block import Block, place
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.matrix_activations import MatrixActivations, fetch_layout
from tapeout.chip.rtl.matrix_command import MatrixCommand
from tapeout.chip.rtl.matrix_engine import MatrixEngine
from tapeout.chip.rtl.matrix_results import MatrixResults, port_of, write_layout
from tapeout.chip.rtl.matrix_weights import MatrixWeights
from tapeout.chip.rtl.pad_port import PadPort
from tapeout.chip.rtl.sequencer import CAUSE_BITS
from tapeout.chip.rtl.sequencer_dispatch import COMMAND

COMMANDS = 2  # that wait for the engine
FORMATS = ("mxfp4", "mxint8")


def ports_of(g: Geometry) -> tuple[PadPort, ...]:
    """Weights go first: the engine takes a beat of them every cycle. The others need the scratchpad seldom."""
    line = max(g.beat_bytes(n) for n in g.formats)
    scales = max(g.scale_bytes(n) for n in g.formats)
    return (
        PadPort("weights", max(line // g.word_bytes, 1), writes=False, urgent=True),
        PadPort("scales", max(scales // g.word_bytes, 1), writes=False, queue=2),
        PadPort("codes", writes=False),
        PadPort("row_scales", writes=False),
        port_of(g),
    )


class Matrix(Block):
    """`command` (matmul) → `done`, or `error` with `cause`; ports of the scratchpad as in `pad_ports`. `active`,
    `wants_weights`, `wants_activations`: those of `MatrixEngine`."""

    def __init__(self, geometry: Geometry, lanes: int = BLOCK_BYTES) -> None:
        g = self.geometry = geometry
        if lanes != BLOCK_BYTES:
            raise ValueError(
                f"dot-product units of {lanes} lanes: the scratchpad's layout has blocks of {BLOCK_BYTES}"
            )
        self.pad_ports = ports_of(g)
        self.engine = MatrixEngine(g.rows, g.columns, g.tiles, g.formats, g.ways, lanes)
        self.entrance = MatrixCommand(g)
        self.activations = MatrixActivations(g)
        weights, scales = self.pad_ports[:2]
        present = [n if n in g.formats else g.formats[0] for n in FORMATS]
        beats, beat_scales = (tuple(f(n) for n in present) for f in (g.beat_bytes, g.scale_bytes))
        self.weights = MatrixWeights((beats[0], beats[1]), weights, g.pad_bytes, g.word_bytes)
        self.scales = MatrixWeights((beat_scales[0], beat_scales[1]), scales, g.pad_bytes, g.word_bytes)
        self.writer = MatrixResults(g, self.engine.results.payload.shape())
        self.commands = Fifo(self.engine.command_layout.size, COMMANDS)
        words = g.pad_bytes // g.word_bytes
        members: dict[str, Any] = {}
        for port in self.pad_ports:
            members[f"{port.name}_request"] = Out(stream.Signature(port.request(words, g.word_bytes)))
            if port.reads:
                members[f"{port.name}_answer"] = In(stream.Signature(8 * g.word_bytes * port.words))
        super().__init__(
            {
                "command": In(stream.Signature(COMMAND)),
                "done": Out(1),
                "error": Out(1),
                "cause": Out(CAUSE_BITS),
                "active": Out(1),
                "wants_weights": Out(1),
                "wants_activations": Out(1),
            }
            | members
        )

    @property
    def module_name(self) -> str:
        g = self.geometry
        return f"matrix_{self.engine.module_name[14:]}_{g.pad_bytes}x{g.word_bytes}"

    def placed(self) -> Iterable[Block]:
        return (
            self.engine, self.entrance, self.activations, self.weights, self.scales, self.writer, self.commands
        )  # fmt: skip

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        entrance, engine = place(m, "entrance", self.entrance), place(m, "engine", self.engine)
        activations, writer = place(m, "activations", self.activations), place(m, "writer", self.writer)
        weights, scales = place(m, "weights", self.weights), place(m, "scales", self.scales)
        commands = place(m, "commands", self.commands)

        def connect(source: Any, sink: Any) -> None:
            m.d.comb += [
                sink.valid.eq(source.valid), sink.payload.eq(source.payload), source.ready.eq(sink.ready)
            ]  # fmt: skip

        connect(self.command, entrance.command)
        # work goes to all parts at once, when each has room
        work = entrance.work.payload
        parts = [activations.work, weights.command, scales.command, commands.i, writer.work]
        for part in parts:
            m.d.comb += part.valid.eq(
                entrance.work.valid & Cat(p.ready for p in parts if p is not part).all()
            )
        m.d.comb += entrance.work.ready.eq(Cat(p.ready for p in parts).all())
        command = Signal(self.engine.command_layout)
        for fields, sink in (
            (list(fetch_layout(self.geometry).members), activations.work.payload),
            (list(write_layout(self.geometry).members), writer.work.payload),
            (list(self.engine.step_layout.members), command.step),
        ):
            m.d.comb += [getattr(sink, n).eq(getattr(work, n)) for n in fields]
        m.d.comb += [command.steps.eq(work.steps), commands.i.payload.eq(command)]
        for sink, at, end in (
            (weights.command.payload, work.w, work.w_end), (scales.command.payload, work.wscale, work.wscale_end)
        ):  # fmt: skip
            m.d.comb += [sink.at.eq(at), sink.end.eq(end), sink.kind.eq(work.int8)]

        # operands
        connect(commands.o, engine.command)
        connect(activations.blocks, engine.activations)
        m.d.comb += [weights.start.eq(activations.started), scales.start.eq(activations.started)]
        m.d.comb += [
            engine.weights.valid.eq(weights.unit.valid & scales.unit.valid),
            weights.unit.ready.eq(engine.weights.ready & scales.unit.valid),
            scales.unit.ready.eq(engine.weights.ready & weights.unit.valid),
        ]
        self._beat(m, engine.weights.payload, weights.unit.payload, scales.unit.payload)
        # results
        connect(engine.results, writer.results)
        m.d.comb += [
            writer.issued.eq(engine.last_issued),
            self.done.eq(writer.done), self.error.eq(entrance.error), self.cause.eq(entrance.cause),
            self.active.eq(engine.active), self.wants_weights.eq(engine.wants_weights),
            self.wants_activations.eq(engine.wants_activations),
        ]  # fmt: skip
        # the scratchpad
        inner = {
            "weights": (weights.request, weights.answer), "scales": (scales.request, scales.answer),
            "codes": (activations.codes_request, activations.codes_answer),
            "row_scales": (activations.scales_request, activations.scales_answer),
        }  # fmt: skip
        for name, (request, answer) in inner.items():
            connect(request, getattr(self, f"{name}_request"))
            connect(getattr(self, f"{name}_answer"), answer)
        connect(writer.request, self.results_request)
        return m

    def _beat(self, m: Module, beat: Any, codes: Any, scales: Any) -> None:
        """A beat as it lies in the scratchpad (`Geometry.beat_bytes`, `scale_bytes`) to the engine's columns."""
        g, ways = self.geometry, self.geometry.ways
        for c in range(g.columns):
            own = [codes.bytes[8 * per * c :][: 8 * per] for per in (BLOCK_BYTES * ways // 2, BLOCK_BYTES)]
            spread = [scales.bytes[8 * n * c :][: 8 * n] for n in (ways, 1)]
            if len(g.formats) == 1:
                k = FORMATS.index(g.formats[0])
                m.d.comb += [beat.codes[c].eq(own[k]), beat.scales[c].eq(spread[k])]
            else:
                m.d.comb += [
                    beat.codes[c].eq(Mux(codes.kind, own[1], own[0]) if ways == 1 else own[0]),
                    beat.scales[c].eq(Mux(codes.kind, spread[1], spread[0])),
                ]
