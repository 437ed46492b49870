"""The core: sequencer, engines and scratchpad between a memory port and a host interface.

An engine has `command`, `done`, `error` and `cause`, and says in `pad_ports` which ports of the scratchpad it has
(without saying: one, `pad`). To join an engine to the core, add it to `engine_blocks`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib.wiring import Out

from tapeout.chip import spec
from tapeout.chip.isa.definition import Cause, Engine
from tapeout.chip.isa.geometry import BLOCK_BYTES, Geometry
from tapeout.chip.isa.registry import instructions
from tapeout.chip.rtl.block import Block, awake, place
from tapeout.chip.rtl.counters import Counters
from tapeout.chip.rtl.dma_load import DmaLoad
from tapeout.chip.rtl.dma_store import DmaStore
from tapeout.chip.rtl.guards import Guards, guards_of
from tapeout.chip.rtl.host import PLACE_BITS, Host
from tapeout.chip.rtl.matrix import Matrix
from tapeout.chip.rtl.memory_port import MemoryPort, axi
from tapeout.chip.rtl.pad_port import PadPort
from tapeout.chip.rtl.parity import PATH_BITS, number
from tapeout.chip.rtl.scratchpad import Scratchpad
from tapeout.chip.rtl.sequencer import CAUSE_BITS, Sequencer
from tapeout.chip.rtl.sequencer_dispatch import ENGINES
from tapeout.chip.rtl.vector_engine import VectorEngine

ENGINES_MADE = (Engine.LOAD, Engine.MATRIX, Engine.VECTOR, Engine.STORE)
# Cycles; what an engine does without a word on either side takes less: a result, a row, an index.
AT_REST = 256
ABSENT: frozenset[str] = frozenset()  # what no engine has


def names_of(engines: tuple[Engine, ...]) -> frozenset[str]:
    """The instructions that a core with these engines executes; others trap as unknown opcodes."""
    there = (Engine.SEQUENCER, *engines)
    return frozenset(n for n, one in instructions().items() if one.engine in there and n not in ABSENT)


def engine_blocks(core: spec.Core) -> dict[Engine, Callable[[], Block]]:
    """How each engine that there is in RTL is made."""
    pad = core.scratchpad
    dma = (core.port_bytes, pad.kibibytes * 1024, pad.word_bytes, core.outstanding)
    return {
        Engine.LOAD: lambda: DmaLoad(*dma),
        Engine.MATRIX: lambda: Matrix(Geometry.of(core), core.matrix.lanes),
        Engine.VECTOR: lambda: VectorEngine(core),
        Engine.STORE: lambda: DmaStore(*dma),
    }


def pad_ports(block: Block) -> tuple[PadPort, ...]:
    """The ports of the scratchpad that a block has."""
    return getattr(block, "pad_ports", (PadPort(),))


class Core(Block):
    """One core of `core` (a `spec.Core`). Ports: AXI4 to memory (`axi_*`), AXI4-Lite from the host (`s_*`), `irq`.

    Raises ValueError for what the blocks cannot be built for, in words.
    """

    def __init__(self, core: spec.Core, engines: tuple[Engine, ...] = ENGINES_MADE) -> None:
        self.core, self.engines = core, tuple(sorted(engines))
        pad = core.scratchpad
        size, word, port = pad.kibibytes * 1024, pad.word_bytes, core.port_bytes
        depth = size // (pad.banks * word)
        self.names = names_of(self.engines) - (
            frozenset({"transpose"}) if word < BLOCK_BYTES else frozenset()
        )
        self.sequencer = Sequencer(port, size, word, self.names)
        made = engine_blocks(core)
        self.blocks = {e: made[e]() for e in self.engines}
        self.port, self.host, self.counters = MemoryPort(port), Host(), Counters()
        # who has which port: (placed name, the port), in the order of the scratchpad's ports
        named = {"sequencer": self.sequencer} | {e.name.lower(): b for e, b in self.blocks.items()}
        self.ports = [(name, p) for name, block in named.items() for p in pad_ports(block)]
        self.pad = Scratchpad(pad.banks, depth, word, [p for _, p in self.ports])
        subordinate = {n: m for n, m in self.host.signature.members.items() if n.startswith("s_")}
        super().__init__(axi(port) | subordinate | {"irq": Out(1)})

    @property
    def module_name(self) -> str:
        return "core"

    def placed(self) -> Iterable[Block]:
        engines = {e.name.lower(): b for e, b in self.blocks.items()}
        streams = {
            "line": self.sequencer.line, "loaded": self.port.loaded, "stored": self.port.write,
            **{f"command of {name}": b.command for name, b in engines.items()},
        }  # fmt: skip
        return (
            self.sequencer, *self.blocks.values(), self.port, self.host, self.counters, self.pad,
            *guards_of(streams.values(), [p for _, p in self.ports], self.core.scratchpad.word_bytes),
        )  # fmt: skip

    @staticmethod
    def _engine(m: Module, name: str, block: Block) -> Any:
        """An engine at rest has no word on offer on either side, and what was under way inside has come to its end."""
        moves = Signal(name=f"{name}_moves")
        engine = place(m, name, block, awake(m, moves, AT_REST))
        told = [getattr(engine, n) for n in ("acknowledged", "refused") if n in block.signature.members]
        offers = [
            getattr(engine, n).valid for n, member in block.signature.members.items() if not member.is_port
        ]
        m.d.comb += moves.eq(Cat(*told, *offers).any())
        return engine

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        sequencer = place(m, "sequencer", self.sequencer)
        engines = {e: self._engine(m, e.name.lower(), b) for e, b in self.blocks.items()}
        load, store = engines[Engine.LOAD], engines[Engine.STORE]
        port, host, pad = place(m, "port", self.port), place(m, "host", self.host), place(m, "pad", self.pad)
        counters = place(m, "counters", self.counters)
        for name, member in self.signature.members.items():
            outer = getattr(self, name)
            if name.startswith(("axi_", "s_")) or name == "irq":
                inner = getattr(port if name.startswith("axi_") else host, name)
                m.d.comb += outer.eq(inner) if member.flow == Out else inner.eq(outer)

        def connect(source: Any, sink: Any) -> None:
            m.d.comb += [
                sink.valid.eq(source.valid), sink.payload.eq(source.payload), source.ready.eq(sink.ready)
            ]  # fmt: skip

        guard = Guards(m, host.inject)
        connect(sequencer.line_request, port.fetch)
        connect(port.fetched, sequencer.line)
        guard.stream("line", port.fetched, sequencer.line)
        connect(load.read, port.load)
        connect(port.loaded, load.answer)
        guard.stream("loaded", port.loaded, load.answer)
        connect(store.write, port.write)
        guard.stream("stored", store.write, port.write)
        m.d.comb += [store.acknowledged.eq(port.acknowledged), store.refused.eq(port.refused)]
        placed = {"sequencer": sequencer} | {e.name.lower(): b for e, b in engines.items()}
        for k, (name, kind) in enumerate(self.ports):
            request = getattr(placed[name], f"{kind.name}_request")
            connect(request, getattr(pad, f"request{k}"))
            if kind.writes:
                m.d.comb += getattr(pad, f"sent_parity{k}").eq(guard.sent("pad_write", request))
            if kind.reads:
                answer = getattr(placed[name], f"{kind.name}_answer")
                connect(getattr(pad, f"answer{k}"), answer)
                guard.answer(f"{name}_answer", answer, getattr(pad, f"answer_parity{k}"))
        connect(sequencer.interrupt, host.interrupt)
        m.d.comb += [
            sequencer.start.eq(host.start), sequencer.base.eq(host.base), sequencer.arguments.eq(host.arguments),
            host.running.eq(sequencer.running), host.halted.eq(sequencer.halted),
            host.trapped.eq(sequencer.trapped), host.cause.eq(sequencer.cause), host.at.eq(sequencer.at),
            pad.inject.eq(host.inject[:2]),
        ]  # fmt: skip

        done, errors = [], []
        for k, engine in enumerate(ENGINES):
            block = engines.get(engine)
            if block is None:
                done.append(Const(0, 1))
                continue
            connect(getattr(sequencer, f"command{k}"), block.command)
            guard.stream(f"{engine.name.lower()}_command", getattr(sequencer, f"command{k}"), block.command)
            done.append(block.done)
            errors.append((block.error, block.cause))
        error, cause = Signal(), Signal(CAUSE_BITS)
        for one, why in reversed(errors):
            with m.If(one):
                m.d.comb += [error.eq(1), cause.eq(why)]
        # a wrong word: told to the host with its place, and a trap two cycles after it was found
        guard.errors += [("scratchpad", pad.two_wrong), ("pad_write", pad.mismatch)]
        fault, of_parity = Signal(PATH_BITS), Signal()
        for path, wrong in reversed(guard.errors):
            with m.If(wrong):
                m.d.sync += fault.eq(number(path))
        found = Cat(wrong for _, wrong in guard.errors).any()
        in_pad = pad.two_wrong | pad.mismatch
        fault_at = Signal(PLACE_BITS, reset_less=True)
        offset = (self.core.scratchpad.word_bytes - 1).bit_length()
        with m.If(~found):
            m.d.sync += fault.eq(0)
        m.d.sync += [
            of_parity.eq(Cat(wrong for path, wrong in guard.errors if path != "scratchpad").any()),
            fault_at.eq(Mux(in_pad, Cat(Const(0, offset), pad.at), 0)),
        ]
        m.d.comb += [
            host.fault.eq(fault), host.fault_at.eq(fault_at), host.clearing.eq(pad.clearing)
        ]  # fmt: skip
        with m.If(fault.any()):
            m.d.comb += [error.eq(1), cause.eq(Cause.PARITY)]
        m.d.comb += [
            sequencer.done.eq(Cat(done)), sequencer.engine_error.eq(error), sequencer.engine_cause.eq(cause)
        ]  # fmt: skip

        blocked = {f"{e.name.lower()}_blocked": sequencer.blocked[k] for k, e in enumerate(ENGINES)}
        events: dict[str, Any] = blocked | {
            "cycles": sequencer.running,
            "instructions": sequencer.retired,
            "load_beats": load.answer.valid & load.answer.ready,
            "store_beats": store.write.valid & store.write.ready,
            "fetch_beats": sequencer.line.valid & sequencer.line.ready,
            "parity": of_parity,
        }
        if matrix := engines.get(Engine.MATRIX):
            names = ("active", "wants_weights", "wants_activations")
            events |= {f"matrix_{n}": getattr(matrix, n) for n in names}
        m.d.comb += [
            counters.clear.eq(host.start),
            counters.events.eq(Cat(events.get(n, Const(0, 1)) for n in self.counters.names)),
            host.counters.eq(
                Cat(counters.counts, pad.corrected, Const(0, 32), pad.uncorrectable, Const(0, 32))
            ),
        ]
        return m
