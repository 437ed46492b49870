"""Energy per operation, on operands of a real model, with the gates checked against the blocks' twins as it goes.

| blocks | operation | counted in |
|---|---|---|
| dot unit, its accumulators, and shares of a column's and a row's registers | a MAC, by weight format | fJ per MAC |
| vector lane | add, mul, exp2, … | pJ per element |
| FP32 adder | accumulate | pJ |
| scratchpad bank with its memory macro | write, read | pJ per byte |

A unit is simulated with the mapped netlists of its column's recoder, its row's registers and its accumulator file
around it, cycle by cycle as the engine runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.rtl import dot_unit, fp32_add, vector_lane
from tapeout.chip.rtl.accumulator_file import AccumulatorFile
from tapeout.chip.rtl.activation_row import ActivationRow
from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.dot_unit import ACCUMULATE, LOOP, DotUnit
from tapeout.chip.rtl.fp32_add import Fp32Add
from tapeout.chip.rtl.scratchpad import ScratchpadBank
from tapeout.chip.rtl.vector_lane import LATENCIES, Tap, VectorLane, VectorOp
from tapeout.chip.rtl.weight_column import WeightColumn
from tapeout.errors import DoesNotHold
from tapeout.numerics.formats import MXFP4, MXINT8, Mx, nibbles
from tapeout.physical.synthesis.activity import Simulator, pack, unpack
from tapeout.physical.synthesis.energy import energy
from tapeout.physical.synthesis.flow import SynthesisResult, synthesise
from tapeout.physical.synthesis.macros import macro
from tapeout.physical.synthesis.operands import demo_operands, in_format

STREAMS = 128
TILES = 8  # outputs that take turns in a unit's accumulators
GRID = 4  # rows and columns that share a column's recoder and a row's registers


@dataclass(frozen=True)
class OperationEnergy:
    """`pj` is the estimate with wires, glitches and clock tree; `counted_pj` is without; `clock_pj`: the
    part of the latter that the flip-flops' clock pins take, there being no clock gates. `vectors` were checked."""

    block: str
    operation: str
    per: str
    pj: float
    low_pj: float
    high_pj: float
    counted_pj: float
    clock_pj: float
    vectors: int
    shares: dict[str, float]  # counted pJ by part

    def to_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def energies(block: Block, result: SynthesisResult, period_ns: float = 1.0) -> list[OperationEnergy]:
    """Energy of the operations of `block`, mapped as `result`; empty for a block that has no driver here.

    Raises DoesNotHold if the gates' answers differ from the twin's.
    """
    if isinstance(block, DotUnit):
        return [mac(block, result, name, period_ns) for name in block.formats]
    if isinstance(block, VectorLane):
        return [_vector(result, op, period_ns) for op in OPS]
    if isinstance(block, Fp32Add):
        return [_accumulate(block, result, period_ns)]
    if isinstance(block, ScratchpadBank):
        return _bank(block, result, period_ns)
    return []


def _bytes(words: NDArray[np.uint32]) -> NDArray[np.uint8]:
    return np.ascontiguousarray(words).view(np.uint8).reshape(len(words), -1)


def _made(
    name: str, operation: str, per: str, count: float, parts: dict[str, tuple[SynthesisResult, Simulator, float]],
    period_ns: float, vectors: int, extra_fj: float = 0.0,
) -> OperationEnergy:  # fmt: skip
    """Per operation from per cycle: `count` operations a cycle, each part with its share; `extra_fj` per operation."""
    total = np.zeros(3)
    shares, counted, clock = {}, 0.0, 0.0
    for part, (result, simulation, share) in parts.items():
        one = energy(result, simulation, period_ns)
        total += np.array(one.estimate()) * share / count
        shares[part] = one.counted_fj * share / count / 1000
        counted += shares[part]
        clock += one.clock_fj * share / count / 1000
    if extra_fj:
        shares["memory macro"] = extra_fj / 1000
    pj, low, high = (float(x) for x in (total + extra_fj) / 1000)
    return OperationEnergy(
        name, operation, per, pj, low, high, counted + extra_fj / 1000, clock, vectors, shares
    )


def _blocks_of(x: Mx) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.uint8]]:
    """Integers [rows, blocks, 32], codes as the column takes them (a byte per lane), scales [rows, blocks]."""
    rows, k = x.shape
    integers = x.integers().reshape(rows, k // 32, 32)
    codes = nibbles(x.codes) if x.format is MXFP4 else x.codes.view(np.uint8)
    return integers, codes.reshape(rows, k // 32, 32).astype(np.uint8), x.scales.reshape(rows, k // 32)


def mac(
    unit: DotUnit, result: SynthesisResult, form: str, period_ns: float, commands: int = 4
) -> OperationEnergy:
    """A unit of a GRID × GRID engine in its steady state: a weight word every cycle, TILES outputs in turn."""
    kit, lanes = result.kit, unit.lanes
    made: dict[str, SynthesisResult] = {
        "unit": result,
        "accumulators": synthesise(AccumulatorFile(2 * TILES, unit.ways), kit),
        "column": synthesise(WeightColumn(unit.formats, unit.ways, lanes), kit),
        "row": synthesise(ActivationRow(lanes), kit),
    }
    sims = {n: Simulator(r.flat, STREAMS) for n, r in made.items()}
    cell, file, column, row = (sims[n] for n in ("unit", "accumulators", "column", "row"))
    ways = unit.ways if form == "mxfp4" else 1
    want = "attention" if form == "mxint8" else "expert"
    product = [p for p in demo_operands().products if want in p.name]
    int8 = int(form == "mxint8")
    fraction = (MXINT8 if int8 else MXFP4).fraction
    checked, latency = 0, 2 + ACCUMULATE + LOOP - 1
    accumulators = np.zeros((TILES, unit.ways, STREAMS), np.uint32)
    expected: dict[int, NDArray[np.uint32]] = {}
    stream = np.arange(STREAMS)
    blocks = product[0].activations.shape[1] // 32
    words = commands * blocks * TILES
    for s in sims.values():
        if "rst" in s.flat.inputs:
            s.set_all("rst", 0)
    prepared = {}
    for t in range(-TILES, words + latency + 1):
        command, inside = divmod(t, blocks * TILES)
        block, tile = divmod(inside, TILES)
        here = 0 <= t < words
        if here:
            if command not in prepared:
                one = product[command % len(product)]
                prepared = {command: (_blocks_of(one.activations), _blocks_of(in_format(one.weights, form)))}
            (a, _, a_scale), (w, w_codes, w_scale) = prepared[command]
            token = (stream * 2 + command) % len(a)
            outputs = [(stream // 64 * TILES * 2 + tile + TILES * v) % len(w) for v in range(ways)]
            code = [w_codes[o, block] for o in outputs]
            raw = code[0] if int8 else np.concatenate([c[:, 0::2] | c[:, 1::2] << 4 for c in code], axis=1)
            column.set("codes", pack(raw, 8 * raw.shape[1]))
            column.set("scales_in", pack(np.stack([w_scale[o, block] for o in outputs], axis=1), 8 * ways))
            was = accumulators[tile] * np.uint32(block > 0)
            new = was.copy()
            for v, o in enumerate(outputs):
                new[v] = dot_unit.twin(
                    a[token, block].astype(np.int8),
                    a_scale[token, block],
                    w[o, block],
                    w_scale[o, block],
                    fraction,
                    was[v],
                )
            accumulators[tile] = new
            expected[t] = new[:ways].copy()
        if "int8" in column.flat.inputs:
            column.set_all("int8", int8)
        # a row's slot is loaded while the other is in use, and shown from the cycle its digits arrive
        ahead = t + TILES
        load = 0 <= ahead < words and ahead % TILES == 0
        row.set_all("load", int(load))
        if load:
            there, of = divmod(ahead // TILES, blocks)
            one_a, _, one_scale = _blocks_of(product[there % len(product)].activations)
            token = (stream * 2 + there) % len(one_a)
            row.set_all("load_slot", ahead // TILES % 2)
            row.set("codes", pack(one_a[token, of].astype(np.int8).view(np.uint8), 8 * lanes))
            row.set("scale_in", pack(one_scale[token, of][:, None], 8))
        row.set_all("select", int(1 <= t <= words and (t - 1) % TILES == 0))
        row.set_all("slot", (t - 1) // TILES % 2)
        if "int8" in cell.flat.inputs:
            cell.set_all("int8", int8)
        read, write = t - 1 - ACCUMULATE, t - latency  # read a cycle before it is added to
        file.set_all("index", read % TILES)
        file.set_all("zero", int(read % (blocks * TILES) < TILES))
        file.set_all("forward", 0)  # TILES is more than the adder's loop
        file.set_all("write_index", write % TILES)
        file.set_all("write", (2**unit.ways - 1) * int(0 <= write < words))
        file.set_all("drain_index", TILES + t % TILES)
        for s in (column, row, file):
            s.settle()
        cell.set("digits_in", column.get("digits"))
        cell.set("scales_in", column.get("scales"))
        for port in ("activations", "triples", "scale"):
            cell.set(port, row.get(port))
        cell.set("accumulator", file.get("operand"))
        cell.settle()
        if 0 <= write < words:
            got = unpack(cell.get("sums")).view(np.uint32).reshape(STREAMS, unit.ways).T[:ways]
            if not np.array_equal(got, expected[write]):
                raise DoesNotHold(f"{result.top}: gates differ from the twin at word {write} ({form})")
            checked += got.size
        file.set("sums", cell.get("sums"))
        file.settle()
        for s in sims.values():
            s.clock(count=latency < t < words)  # the steady state: every stage at work
    shares = {"unit": 1.0, "accumulators": 1.0, "column": 1 / GRID, "row": 1 / GRID}
    parts = {n: (made[n], sims[n], shares[n]) for n in made}
    return _made(result.top, f"{form} MAC", "per MAC", lanes * ways, parts, period_ns, checked)


OPS = {
    VectorOp.ADD: "add", VectorOp.MUL: "mul", VectorOp.MAXIMUM: "maximum", VectorOp.EXP2: "exp2",
    VectorOp.SIGMOID: "sigmoid", VectorOp.RECIPROCAL: "reciprocal", VectorOp.RSQRT: "rsqrt",
}  # fmt: skip
TAPS = {VectorOp.ADD: Tap.ADD, VectorOp.MUL: Tap.MUL, VectorOp.MAXIMUM: Tap.QUICK}


def _stream(
    simulation: Simulator, operands: list[NDArray[np.uint32]], ports: list[str], out: str, latency: int,
    twin: Callable[[list[NDArray[np.uint32]]], NDArray[np.uint32]], cycles: int = 96,
) -> int:  # fmt: skip
    """Operands in every cycle, answers `latency` later; how many were compared. Raises DoesNotHold if they differ."""
    given: list[list[NDArray[np.uint32]]] = []
    for t in range(cycles):
        now = [x[t * STREAMS : (t + 1) * STREAMS] for x in operands]
        given.append(now)
        for port, value in zip(ports, now, strict=True):
            simulation.set(port, pack(_bytes(value), 32))
        simulation.settle()
        if t >= latency:
            got = unpack(simulation.get(out)).view(np.uint32).reshape(STREAMS)
            want = twin(given[t - latency])
            if not np.array_equal(got, want):
                raise DoesNotHold(f"{simulation.flat.top}: gates differ from the twin in cycle {t}")
        simulation.clock(count=t > latency)
    return (cycles - latency) * STREAMS


def _vector(result: SynthesisResult, op: VectorOp, period_ns: float) -> OperationEnergy:
    simulation = Simulator(result.flat, STREAMS)
    tap = TAPS.get(op, Tap.FUNCTION)
    for port, value in (("rst", 0), ("enable", 1), ("op", int(op)), ("tap", 1 << tap)):
        if port in simulation.flat.inputs:
            simulation.set_all(port, value)
    a, b = demo_operands().values[OPS[op]]
    checked = _stream(
        simulation, [a, b, np.zeros_like(a)], ["a", "b", "c"], "y", LATENCIES[tap],
        lambda g: vector_lane.twin(op, g[0], g[1], g[2]),
    )  # fmt: skip
    return _made(
        result.top,
        f"FP32 {OPS[op]}",
        "per element",
        1,
        {"lane": (result, simulation, 1.0)},
        period_ns,
        checked,
    )


def _accumulate(block: Fp32Add, result: SynthesisResult, period_ns: float) -> OperationEnergy:
    simulation = Simulator(result.flat, STREAMS)
    if "rst" in simulation.flat.inputs:
        simulation.set_all("rst", 0)
    a, b = demo_operands().values["add"]
    latency = fp32_add.LATENCY - (0 if block.registered else 1)
    checked = _stream(simulation, [a, b], ["a", "b"], "y", latency, lambda g: fp32_add.twin(g[0], g[1]))
    return _made(
        result.top, "FP32 accumulate", "per sum", 1, {"adder": (result, simulation, 1.0)}, period_ns, checked
    )


def _bank(block: ScratchpadBank, result: SynthesisResult, period_ns: float) -> list[OperationEnergy]:
    """Words of the demo's activations written, then read: each with its check bits and the macro's own energy."""
    words = demo_operands().products[0].activations.codes.view(np.uint8)
    data = np.resize(words, (64, STREAMS, block.word_bytes))
    simulation = Simulator(result.flat, STREAMS)
    for port in ("rst", "inject", "enable", "read", "write", "parity"):
        simulation.set_all(port, 0)
    for t in range(block.depth + 4):  # after reset the bank clears itself, a row a cycle
        simulation.set_all("rst", int(t < 2))
        simulation.set("word", pack(np.zeros_like(data[0]), 8 * block.word_bytes))
        simulation.settle()
        simulation.clock(count=False)
    (_, _, ports), *_ = result.flat.macros
    per_byte = macro(ports, result.kit).byte_pj * 1000 * len(ports["q"]) / (8 * block.word_bytes)
    done, checked = [], 0
    for reading in (False, True):
        simulation.toggles[:], simulation.cycles, simulation.first = 0, 0, True
        for t in range(len(data) + 3):
            here = t < len(data)
            simulation.set_all("enable", int(here))
            simulation.set_all("read", int(here and reading))
            simulation.set_all("row", t % len(data) % block.depth)
            simulation.set_all("write", 0 if reading or not here else 2**block.granules - 1)
            simulation.set("word", pack(data[t % len(data)], 8 * block.word_bytes))
            simulation.settle()
            if reading and t >= 3:
                if not np.array_equal(unpack(simulation.get("fixed")), data[t - 3]):
                    raise DoesNotHold(f"{result.top}: what is read is not what was written, word {t - 3}")
                checked += STREAMS
            simulation.clock(count=4 <= t < len(data))
        parts = {"check bits and registers": (result, simulation, 1.0)}
        done.append(
            _made(result.top, "read" if reading else "write", "per byte", block.word_bytes, parts, period_ns,
                  checked, per_byte)
        )  # fmt: skip
    return done
