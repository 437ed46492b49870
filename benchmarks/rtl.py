"""Area and delay of the blocks in a cell library, and cycles per second of the matrix engine in Verilator.

python benchmarks/rtl.py path/to/asap7.lib.gz [--blocks dot,fp32] [--no-simulation]
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from amaranth.hdl import Module
from amaranth.lib.wiring import In

from tapeout.chip.rtl.accumulator_file import AccumulatorFile
from tapeout.chip.rtl.activation_row import ActivationRow
from tapeout.chip.rtl.arbiter import Arbiter
from tapeout.chip.rtl.block import Block, place, verilog
from tapeout.chip.rtl.dot_unit import DotUnit
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.fp32_add import Fp32Add
from tapeout.chip.rtl.fp32_mul import Fp32Mul
from tapeout.chip.rtl.function_unit import FunctionUnit
from tapeout.chip.rtl.matrix_engine import Command, MatrixEngine
from tapeout.chip.rtl.quantiser import Quantiser
from tapeout.chip.rtl.reducer import Reducer
from tapeout.chip.rtl.scratchpad import Scratchpad
from tapeout.chip.rtl.secded import SecdedDecode, SecdedEncode
from tapeout.chip.rtl.skid import Skid
from tapeout.chip.rtl.topk import TopK
from tapeout.chip.rtl.vector_lane import VectorLane
from tapeout.chip.rtl.weight_column import WeightColumn
from tapeout.physical.synthesis.quick import synthesise
from tapeout.simulator.rtl import build
from tapeout.simulator.rtl.simulation import Simulation, pack, simulate

BOTH = ("mxfp4", "mxint8")


class UnitWithAccumulators(Block):
    """A dot unit, its accumulators, and the loop between them, which is a path of its own."""

    module_name = "unit_with_accumulators"

    def __init__(self) -> None:
        self.unit, self.file = DotUnit(BOTH, 2), AccumulatorFile(16, 2)
        self.sides = {"unit": self.unit, "file": self.file}
        inside = {("unit", "accumulator"), ("unit", "sums"), ("file", "operand"), ("file", "sums")}
        self.ours = [
            (side, name)
            for side, b in self.sides.items()
            for name in b.signature.members
            if (side, name) not in inside
        ]
        super().__init__(
            {f"{side}_{name}": self.sides[side].signature.members[name] for side, name in self.ours}
        )

    def placed(self) -> Iterable[Block]:
        return (self.unit, self.file)

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        placed = {side: place(m, side, block) for side, block in self.sides.items()}
        for side, name in self.ours:
            outer, inner = getattr(self, f"{side}_{name}"), getattr(placed[side], name)
            if self.sides[side].signature.members[name].flow == In:
                m.d.comb += inner.eq(outer)
            else:
                m.d.comb += outer.eq(inner)
        m.d.comb += [
            placed["unit"].accumulator.eq(placed["file"].operand),
            placed["file"].sums.eq(placed["unit"].sums),
        ]
        return m


ENGINE = MatrixEngine(4, 4, 8)
BLOCKS: dict[str, Block] = {
    "dot unit, MXFP4": DotUnit(("mxfp4",), 1),
    "dot unit, MXFP4 at double rate": DotUnit(("mxfp4",), 2),
    "dot unit, MXINT8": DotUnit(("mxint8",), 1),
    "dot unit, MXINT8 and double-rate MXFP4": DotUnit(BOTH, 2),
    "weight column": WeightColumn(BOTH, 2, 32),
    "activation row": ActivationRow(32),
    "accumulator file, 16 × 2": AccumulatorFile(16, 2),
    "dot unit, both, with 16 × 2 accumulators": UnitWithAccumulators(),
    "matrix engine 4 × 4, control only": ENGINE,
    "scratchpad 8 × 512 × 32 B, without SRAM": Scratchpad(8, 512, 32, (4, 1, 1, 1)),
    "FP32 add": Fp32Add(),
    "FP32 multiply": Fp32Mul(),
    "function unit": FunctionUnit(),
    "vector lane": VectorLane(),
    "quantiser, 8 lanes": Quantiser(8),
    "reducer, 8 lanes": Reducer(8),
    "top-k, 8": TopK(8),
    "SECDED encode": SecdedEncode(),
    "SECDED decode": SecdedDecode(),
    "FIFO 256 × 4": Fifo(256, 4),
    "skid 256": Skid(256),
    "arbiter 64 × 4": Arbiter(64, 4),
}


def simulation_speed(rows: int, columns: int, optimise: str) -> tuple[float, float, float]:
    """(seconds to build from nothing, seconds to start from the cache, cycles per second on a busy engine)."""
    engine = MatrixEngine(rows, columns, 8)
    folder, kept = tempfile.mkdtemp(), build.cache_folder
    try:
        build.cache_folder = lambda: Path(folder)
        start = time.perf_counter()
        simulate(engine, optimise=optimise)
        cold = time.perf_counter() - start
        text = verilog(engine, simulation=True)
        start = time.perf_counter()
        sim = simulate(text, optimise=optimise)
        warm = time.perf_counter() - start
        return cold, warm, _speed(sim, engine)
    finally:
        build.cache_folder = kept
        shutil.rmtree(folder)


def _speed(sim: Simulation, engine: MatrixEngine) -> float:
    rng = np.random.default_rng(0)
    commands, steps = 20, 200
    made = [Command(steps, 8, engine.rows, engine.rows, i % 2).pack(engine) for i in range(commands)]
    words = {n: -(-sim.ports[f"{n}__payload"][1] // 32) for n in ("activations", "weights")}
    inputs = {
        "command": pack(made, sim.ports["command__payload"][1]),
        "activations": rng.integers(
            0, 2**32, (commands * steps * engine.rows, words["activations"]), np.uint32
        ),
        "weights": rng.integers(0, 2**32, (commands * steps * 8, words["weights"]), np.uint32),
    }
    start = time.perf_counter()
    run = sim.run(inputs, {"results": commands * engine.rows * 8})
    return run.cycles / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("liberty", type=Path, nargs="?", help="a Liberty file, gzipped or not")
    parser.add_argument(
        "--blocks", default="", help="only blocks whose name contains one of these, comma-separated"
    )
    parser.add_argument("--no-simulation", action="store_true")
    args = parser.parse_args()
    wanted = [w for w in args.blocks.split(",") if w]
    if args.liberty:
        print(f"{'block':42} {'area µm²':>9} {'cells':>7} {'flops':>6} {'period ns':>9}")
        for name, block in BLOCKS.items():
            if wanted and not any(w in name for w in wanted):
                continue
            boxes = tuple(b.module_name for b in block.placed()) if block is ENGINE else ()
            r = synthesise(verilog(block), args.liberty, boxes=boxes)
            print(
                f"{name:42} {r.area_um2:9.1f} {r.cells:7d} {r.flip_flops:6d} {r.period_ns:9.3f}", flush=True
            )
    if not args.no_simulation:
        print(f"\n{'matrix engine':16} {'compiler':8} {'build s':>8} {'start s':>8} {'cycles/s':>9}")
        for n in (4, 8):
            cold, warm, speed = simulation_speed(n, n, "-O1")
            print(f"{n} × {n:<12} {'-O1':8} {cold:8.1f} {warm:8.2f} {speed:9.0f}", flush=True)


if __name__ == "__main__":
    main()
