"""What `tapeout build --check` does and says: lint, blocks, proofs, vectors, random programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.chip.rtl.block import Block, Verilog
from tapeout.chip.spec import ChipSpec
from tapeout.errors import DoesNotHold
from tapeout.files import write_atomic

Say = Callable[[str], None]


def check_build(
    spec: ChipSpec, blocks: Mapping[str, Block], tops: Mapping[str, Verilog], folder: Path, programs: int, seed: int,
    result: dict[str, Any], say: Say,
) -> list[str]:  # fmt: skip
    """Everything that fails, a line each, the quick checks first. `result` gets what was found; `verification/` in
    `folder` too."""
    failures = _lint(tops, say)
    failures += _blocks(blocks["core"], seed, result, say)
    failures += _proofs(spec, tops, result, say)
    failures += _vectors(blocks["core"], spec, seed, result, say)
    failures += _programs(blocks["core"], spec, folder / "verification", programs, seed, result, say)
    told = {k: result[k] for k in ("blocks", "proofs", "vectors", "coverage") if k in result}
    write_atomic(
        folder / "verification" / "check.json", json.dumps({"failures": failures, **told}, indent=1) + "\n"
    )
    return failures


def _lint(tops: Mapping[str, Verilog], say: Say) -> list[str]:
    from tapeout.simulator.rtl.lint import lint

    failures = []
    for name, top in tops.items():
        say(f"lint: {name}")
        failures += [f"lint of {name}: {line}" for line in lint(top)]
    return failures


def _blocks(core: Any, seed: int, result: dict[str, Any], say: Say) -> list[str]:
    from tapeout.simulator.rtl.block_checks import checks

    failures = []
    result["blocks"] = {}
    for name, check in checks(core).items():
        try:
            result["blocks"][name] = check(np.random.default_rng(seed))
            say(f"block: {name}: {result['blocks'][name]:,} results equal")
        except DoesNotHold as e:
            failures.append(f"block {name}: {e}")
    return failures


def _proofs(spec: ChipSpec, tops: Mapping[str, Verilog], result: dict[str, Any], say: Say) -> list[str]:
    from tapeout.physical.handoff.evidence import proved

    modules = re.findall(r"^module (\w+)", tops["core"].text, re.M)
    found = proved(spec, modules, say)
    result["proofs"] = sum(p["holds"] for p in found)
    return [f"proof {p['proof']}: {p['failed_claims']} claims do not hold" for p in found if not p["holds"]]


def _vectors(core: Any, spec: ChipSpec, seed: int, result: dict[str, Any], say: Say) -> list[str]:
    from tapeout.chip.isa.geometry import Geometry
    from tapeout.chip.rtl.core_package import PROGRAM, VECTORS, vector
    from tapeout.simulator.rtl.core import CoreSimulation

    failures = []
    result["vectors"] = {}
    say("the core in Verilator: built once, then cached")
    for name in VECTORS:
        want = vector(name, Geometry.of(spec.core))
        memory = want.before.copy()
        simulation = CoreSimulation(core, memory, latency=20, spread=20, stall=0.3, seed=seed)
        try:
            got = simulation.run(want.program, PROGRAM)
        except DoesNotHold as e:
            failures.append(f"vector {name}: {e}")
            continue
        wrong = int((memory != want.after).sum())
        if got.cause is not None or got.codes != want.codes or wrong:
            failures.append(
                f"vector {name}: cause {got.cause}, codes {got.codes}, {wrong} bytes of memory differ"
            )
        result["vectors"][name] = {"cycles": got.cycles, **got.counters}
        say(f"vector: {name}: {got.cycles:,} cycles")
    return failures


def _programs(
    core: Any, spec: ChipSpec, folder: Path, programs: int, seed: int, result: dict[str, Any], say: Say
) -> list[str]:
    from tapeout.simulator.rtl.random_programs import campaign

    if not programs:
        return []
    report = campaign(core, spec.name, programs, seed, folder, say)
    result["coverage"] = {
        kind: {k: part[k] for k in ("covered", "of", "holes")} for kind, part in report["coverage"].items()
    }
    return list(report["failed"])
