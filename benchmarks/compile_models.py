"""Compile shipped models for a core of a chip, without weights, and simulate a decode step of each.

`python benchmarks/compile_models.py [--chip edge] [--layers 4] [MODEL …]`: a line of JSON for each model as it is done.
`--layers`: only the first so many layers (all by default). Models larger than the chip's memory are compiled for their
time alone. Seconds are those of the processor, so other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace

from tapeout import compiler
from tapeout.chip import load as chip
from tapeout.chip.spec import ChipSpec
from tapeout.errors import DoesNotHold, InputError
from tapeout.model import load
from tapeout.model.catalog import names
from tapeout.simulator.cycle.step import step


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("models", nargs="*", metavar="MODEL")
    arguments.add_argument("--chip", default="edge")
    arguments.add_argument("--layers", type=int, help="the first of each model", default=10**6)
    arguments.add_argument("--context", type=int, default=8192)
    arguments.add_argument("--position", type=int, default=1000)
    options = arguments.parse_args()
    spec = chip(options.chip)
    for name in options.models or names():
        print(json.dumps({"model": name, "chip": spec.name} | _measured(name, spec, options)), flush=True)


def _measured(name: str, spec: ChipSpec, options: argparse.Namespace) -> dict[str, object]:
    model = load(name)
    model = replace(model, layers=model.layers[: options.layers])
    indexed = [k for layer in model.layers if (k := getattr(layer.attention, "index_topk", 0))]
    context = min([options.context, model.context, *indexed])
    begun = time.process_time()
    try:
        program = compiler.compile(model, spec, context=context, prefill=[], beyond_memory=True)
    except (InputError, DoesNotHold) as e:
        return {"layers": len(model.layers), "error": str(e)}
    compiled = time.process_time() - begun
    begun = time.process_time()
    timeline = step(program, min(options.position, context - 1))
    simulated = time.process_time() - begun
    return {
        "layers": len(model.layers), "compile_seconds": round(compiled, 2), "instructions": len(program.code),
        "cycles": timeline.cycles, "memory_share": round(timeline.memory_share, 4),
        "matrix_share": round(timeline.matrix_share, 4),
        "tokens_per_second": round(spec.clock_ghz * 1e9 / timeline.cycles, 3), "simulate_seconds": round(simulated, 2),
    }  # fmt: skip


if __name__ == "__main__":
    main()
