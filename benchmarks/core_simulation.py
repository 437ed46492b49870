"""The whole core in Verilator: seconds to build it from nothing, to start it again, and cycles per second of the demo.

python benchmarks/core_simulation.py [--sizes 4,8] [--tokens 6]

The core is that of `tiny`, with as many rows and columns as said; it decodes tokens of the demo model with memory 100
cycles away. One thread. The seconds of a cycle are those of the simulation alone, host and memory image apart.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from numpy.typing import NDArray

from tapeout import compiler
from tapeout.chip import load as chip
from tapeout.chip.rtl.core import Core
from tapeout.chip.spec import ChipSpec
from tapeout.compiler.host import Session
from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.rtl import build
from tapeout.simulator.rtl.core import CoreSimulation, Outcome


def sized(size: int) -> ChipSpec:
    """`tiny` with that many rows and columns."""
    tiny = chip("tiny")
    matrix = replace(tiny.core.matrix, rows=size, columns=size)
    return replace(tiny, core=replace(tiny.core, matrix=matrix))


def measure(size: int, tokens: int) -> tuple[float, float, float, float]:
    """(seconds from nothing, seconds from the cache, cycles per token, cycles per second)."""
    spec = sized(size)
    program = compiler.compile(load("demo"), spec, prefill=[])
    memory = compiler.image(program, Checkpoint.open(demo.FOLDER))
    kept = build.cache_folder
    with tempfile.TemporaryDirectory() as folder:
        build.cache_folder = lambda: Path(folder)
        try:
            starts = []
            for _ in range(2):
                begun = time.perf_counter()
                simulation = CoreSimulation(Core(spec.core), memory, latency=100)
                starts.append(time.perf_counter() - begun)
        finally:
            build.cache_folder = kept
        spent, cycles = 0.0, 0

        def run(words: Sequence[int], base: int, arguments: Sequence[int], memory: NDArray) -> Outcome:
            nonlocal spent, cycles
            begun = time.perf_counter()
            outcome = simulation.run(words, base, arguments)
            spent += time.perf_counter() - begun
            cycles += outcome.cycles
            return outcome

        session = Session(program, memory, run)
        for token in range(tokens):
            session.step([100 + token])
    return starts[0], starts[1], cycles / tokens, cycles / spent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sizes", default="4,8", help="rows and columns, comma-separated")
    parser.add_argument("--tokens", type=int, default=6)
    args = parser.parse_args()
    print(f"{'units':8} {'build s':>8} {'start s':>8} {'cycles/token':>13} {'cycles/s':>9} {'tokens/s':>9}")
    for size in map(int, args.sizes.split(",")):
        cold, warm, per_token, speed = measure(size, args.tokens)
        print(
            f"{size} × {size:<4} {cold:8.1f} {warm:8.2f} {per_token:13,.0f} {speed:9,.0f} {speed / per_token:9.1f}"
        )


if __name__ == "__main__":
    main()
