"""What is synthesised: blocks of the RTL over the parameters their area depends on.

Where a block places others that are measured on their own, those are left out of it (`boxes`), so that areas add
up. Sizes are those that take seconds; the fit carries them further, and its leave-one-out error says how well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.pad_port import PadPort

MATRIX_NS = 0.8  # register to register, without wires: 1 GHz with a margin for them
CONTROL_NS = 0.9  # of everything else
BOTH = ("mxfp4", "mxint8")
PAD = 128 * 1024


@dataclass(frozen=True)
class Configuration:
    """One block at one set of parameters. `build` elaborates it; `boxes`: modules left out of area and delay."""

    block: str
    parameters: Mapping[str, float]
    build: Callable[[], Block]
    boxes: tuple[str, ...] = ()
    target_ns: float = CONTROL_NS
    fields: str = field(init=False)  # the parameters as text, `name=value` joined by spaces

    def __post_init__(self) -> None:
        text = " ".join(f"{k}={v:g}" for k, v in self.parameters.items())
        object.__setattr__(self, "fields", text)


def configurations() -> tuple[Configuration, ...]:
    """Every configuration, in a fixed order."""
    return tuple(c for part in (_matrix, _vector, _scratchpad, _movement, _control) for c in part())


def _given(block: Block) -> Block:
    return block


COMPARED = (
    ("dot_unit", "mxfp4=1 mxint8=0 ways=1 lanes=32"), ("dot_unit", "mxfp4=0 mxint8=1 ways=1 lanes=32"),
    ("dot_unit", "mxfp4=1 mxint8=1 ways=2 lanes=32"), ("accumulator_file", "depth=16 ways=2"),
    ("activation_row", "lanes=32"), ("vector_lane", ""), ("quantiser", "lanes=8"), ("fifo", "width=64 depth=8"),
    ("scratchpad_bank", "depth=512 word_bytes=32"), ("sequencer", "port_bytes=32"), ("host", ""),
    ("dma_load", "port_bytes=32 word_bytes=32 outstanding=16"),
)  # fmt: skip
SLOWER = {"sky130": 10.0}  # delays of a library against ASAP7's, for what to aim at


def compared(library: str) -> tuple[Configuration, ...]:
    """The configurations that are synthesised in other libraries too, to see how areas scale."""
    factor = SLOWER.get(library, 1.0)
    return tuple(
        replace(c, target_ns=c.target_ns * factor)
        for c in configurations()
        if (c.block, c.fields) in COMPARED
    )


def _matrix() -> Iterator[Configuration]:
    from tapeout.chip.isa.geometry import Geometry
    from tapeout.chip.rtl.accumulator_file import AccumulatorFile
    from tapeout.chip.rtl.activation_row import ActivationRow
    from tapeout.chip.rtl.dot_unit import DotUnit
    from tapeout.chip.rtl.matrix import Matrix
    from tapeout.chip.rtl.matrix_engine import MatrixEngine
    from tapeout.chip.rtl.weight_column import WeightColumn
    from tapeout.chip.spec import Core, Scratchpad
    from tapeout.chip.spec import MatrixEngine as SpecEngine

    units = [(("mxfp4",), 1), (("mxfp4",), 2), (("mxint8",), 1), (BOTH, 1), (BOTH, 2)]
    for formats, ways in units:
        for lanes in (8, 16, 32, 64):
            modes = {f: float(f in formats) for f in BOTH}
            shape = {**modes, "ways": ways, "lanes": lanes}
            yield Configuration(
                "dot_unit",
                shape,
                partial(DotUnit, formats, ways, lanes),
                target_ns=MATRIX_NS,
            )
            if lanes in (16, 32):
                yield Configuration(
                    "weight_column",
                    shape,
                    partial(WeightColumn, formats, ways, lanes),
                    target_ns=MATRIX_NS,
                )
    for lanes in (8, 16, 32, 64):
        yield Configuration(
            "activation_row",
            {"lanes": lanes},
            partial(ActivationRow, lanes),
            target_ns=MATRIX_NS,
        )
    for depth, ways in ((8, 1), (16, 1), (16, 2), (32, 1), (32, 2), (64, 2)):
        yield Configuration(
            "accumulator_file",
            {"depth": depth, "ways": ways},
            partial(AccumulatorFile, depth, ways),
            target_ns=MATRIX_NS,
        )
    grids = [(2, 2, 8, 2), (4, 4, 8, 2), (4, 8, 8, 2), (8, 4, 8, 2), (4, 4, 16, 2), (4, 4, 8, 1), (8, 8, 16, 2),
             (8, 8, 8, 1), (16, 8, 16, 2)]  # fmt: skip
    for rows, columns, tiles, ways in grids:
        engine = MatrixEngine(rows, columns, tiles, BOTH, ways)
        yield Configuration(
            "matrix_engine",
            {"rows": rows, "columns": columns, "tiles": tiles, "ways": ways},
            partial(_given, engine),
            tuple(b.module_name for b in engine.placed()),
            MATRIX_NS,
        )

    for rows, columns, banks, word in ((4, 4, 8, 32), (4, 4, 8, 64), (8, 8, 16, 32), (4, 8, 16, 32), (8, 8, 8, 64),
                                       (16, 8, 16, 32), (4, 4, 4, 128)):  # fmt: skip
        core = Core(SpecEngine(rows, columns), 8, Scratchpad(256, banks, word))
        front = Matrix(Geometry.of(core))
        yield Configuration(
            "matrix_front",
            {"rows": rows, "columns": columns, "word_bytes": word},
            partial(_given, front),
            (front.engine.module_name,),
            MATRIX_NS,
        )


def _vector() -> Iterator[Configuration]:
    from tapeout.chip.rtl.function_unit import FunctionUnit
    from tapeout.chip.rtl.greatest import Greatest
    from tapeout.chip.rtl.quantiser import Quantiser
    from tapeout.chip.rtl.reducer import Reducer
    from tapeout.chip.rtl.topk import TopK
    from tapeout.chip.rtl.vector_engine import VectorEngine
    from tapeout.chip.rtl.vector_lane import VectorLane
    from tapeout.chip.rtl.vector_unit import VectorUnit
    from tapeout.chip.spec import Core, Scratchpad
    from tapeout.chip.spec import MatrixEngine as SpecEngine

    yield Configuration("function_unit", {}, FunctionUnit)
    yield Configuration("vector_lane", {}, VectorLane)
    for lanes in (2, 4, 8, 16):
        unit = VectorUnit(lanes)
        yield Configuration("vector_unit", {"lanes": lanes}, partial(_given, unit), ("vector_lane",))
    for lanes in (2, 4, 8, 16, 32):
        yield Configuration("quantiser", {"lanes": lanes}, partial(Quantiser, lanes))
    for lanes in (4, 8, 16, 32):
        yield Configuration("reducer", {"lanes": lanes}, partial(Reducer, lanes))
        yield Configuration("greatest", {"lanes": lanes}, partial(Greatest, lanes))
    for most in (2, 4, 8, 16, 64):
        yield Configuration("topk", {"k": most}, partial(TopK, most))
    for lanes, word in ((4, 16), (4, 32), (8, 32), (8, 64), (8, 128), (16, 64), (16, 128)):
        core = Core(SpecEngine(4, 4), lanes, Scratchpad(256, 8, word))
        engine = VectorEngine(core)
        apart = (engine.unit, engine.codes.quantiser, engine.reducer, engine.greatest, engine.topk)
        yield Configuration(
            "vector_front",
            {"lanes": lanes, "word_bytes": word},
            partial(_given, engine),
            tuple(b.module_name for b in apart),
        )


def _scratchpad() -> Iterator[Configuration]:
    from tapeout.chip.rtl.scratchpad import Scratchpad, ScratchpadBank
    from tapeout.chip.rtl.secded import SecdedDecode, SecdedEncode

    yield Configuration("secded_encode", {}, SecdedEncode)
    yield Configuration("secded_decode", {}, SecdedDecode)
    for depth, word in ((512, 8), (512, 16), (512, 32), (512, 64), (2048, 32), (4096, 64)):
        yield Configuration(
            "scratchpad_bank",
            {"depth": depth, "word_bytes": word},
            partial(ScratchpadBank, depth, word),
        )
    both, reads, writes = PadPort(), PadPort(writes=False), PadPort(reads=False)
    wide = PadPort(words=4, writes=False)
    of_core = (
        both,
        both,
        both,
        wide,
        PadPort(writes=False, queue=2),
        reads,
        reads,
        writes,
        reads,
        reads,
        writes,
    )
    narrow = (both, both, both, *(reads,) * 6, writes, writes)  # words as wide as a beat of weights
    shapes: tuple[tuple[int, int, tuple[PadPort, ...]], ...] = (
        (4, 16, (both,) * 4), (8, 16, (both,) * 4), (16, 16, (both,) * 4), (8, 32, (both,) * 2), (8, 32, (both,) * 4),
        (8, 32, (wide, both, both, both)), (8, 16, (both,) * 6), (8, 16, (both, both, reads, reads, writes, writes)),
        (16, 16, (wide, reads, reads, writes)), (8, 32, of_core), (16, 16, of_core), (8, 64, (both, reads, writes)),
        (4, 128, narrow),
    )  # fmt: skip
    for banks, word, ports in shapes:
        pad = Scratchpad(banks, 512, word, ports)
        yield Configuration(
            "scratchpad", pad_parameters(banks, word, ports), partial(_given, pad), (pad.bank.module_name,)
        )


def pad_parameters(banks: int, word_bytes: int, ports: Sequence[PadPort]) -> dict[str, float]:
    """What the area of a scratchpad's crossbar and queues depends on. `queued`: words of all answer queues."""
    return {
        "banks": banks,
        "word_bytes": word_bytes,
        "readers": sum(p.reads for p in ports),
        "writers": sum(p.writes for p in ports),
        "queued": sum(p.words * p.queue for p in ports if p.reads),
    }


def _movement() -> Iterator[Configuration]:
    from tapeout.chip.rtl.dma_load import DmaLoad
    from tapeout.chip.rtl.dma_store import DmaStore
    from tapeout.chip.rtl.fifo import Fifo
    from tapeout.chip.rtl.memory_port import MemoryPort
    from tapeout.chip.rtl.transpose_array import TransposeArray

    for width, depth in ((16, 4), (32, 4), (32, 16), (64, 8), (64, 32), (128, 8), (256, 6)):
        yield Configuration(
            "fifo",
            {"width": width, "depth": depth},
            partial(Fifo, width, depth),
        )
    sizes = [(16, 16, 16), (32, 32, 8), (32, 32, 16), (32, 32, 64), (32, 64, 16), (64, 64, 16), (64, 32, 128),
             (128, 64, 32)]  # fmt: skip
    for port, word, flight in sizes:
        shape = {"port_bytes": port, "word_bytes": word, "outstanding": flight}
        load = DmaLoad(port, PAD, word, flight)
        transposer = (load.array.module_name,) if load.array else ()
        yield Configuration("dma_load", shape, partial(_given, load), transposer)
        yield Configuration("dma_store", shape, partial(DmaStore, port, PAD, word, flight))
    for word in (32, 64):  # 128 takes a quarter of an hour: 23,525 um2, twice that of 64 within 2 %
        array = TransposeArray(word, (PAD // word - 1).bit_length())
        yield Configuration("transpose_array", {"word_bytes": word}, partial(_given, array))
    for port in (16, 32, 64, 128):
        yield Configuration("memory_port", {"port_bytes": port}, partial(MemoryPort, port))


def _control() -> Iterator[Configuration]:
    from tapeout.chip.rtl.counters import Counters
    from tapeout.chip.rtl.host import Host
    from tapeout.chip.rtl.sequencer import Sequencer

    for port in (32, 64, 128):
        yield Configuration(
            "sequencer",
            {"port_bytes": port},
            partial(Sequencer, port, PAD, 32),
        )
    yield Configuration("host", {}, Host)
    yield Configuration("counters", {}, Counters)
