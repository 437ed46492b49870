"""Random programs on RTL in Verilator and on the executable ISA: every byte of memory, every register, every interrupt.

Memory answers with a latency, a spread and stalls that follow from the seed, and so does the interleaving of
engines in the executable ISA. Results are kept by seed, so a campaign that is interrupted goes on where it was; a
failure is shrunk to a small program and kept as assembly.

    python -m tapeout.simulator.rtl.random_programs tiny --programs 300 --seed 1 --out programs
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tapeout.chip.isa.assembler import assemble, binary
from tapeout.chip.isa.definition import Trap
from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.isa.machine import Executed, Machine
from tapeout.chip.rtl.core import Core
from tapeout.chip.verification.programs.cover import Coverage, page
from tapeout.chip.verification.programs.generate import Generator
from tapeout.chip.verification.programs.layout import CODE, memory
from tapeout.chip.verification.programs.lower import Lowering
from tapeout.chip.verification.programs.shrink import shrink, size
from tapeout.chip.verification.programs.tree import Tree
from tapeout.errors import DoesNotHold
from tapeout.files import parse_json, write_atomic
from tapeout.simulator.rtl import build
from tapeout.simulator.rtl.core import CoreSimulation
from tapeout.simulator.rtl.core import sources as _sources

LIMIT = 400_000  # cycles of a program
SIZE = 24  # nodes of a tree, outermost


@dataclass
class Timing:
    """Of memory, and of the order in which the executable ISA takes engines."""

    latency: int
    spread: int
    stall: float

    @staticmethod
    def of(seed: int) -> Timing:
        """Short and long latencies, with and without disorder and back-pressure, in all combinations."""
        return Timing(4 + seed * 7 % 90, (0, 0, 15, 60)[seed % 4], (0.0, 0.3, 0.6)[seed // 4 % 3])


@dataclass
class Ran:
    """A program on both. `wrong`: what differs, in words; empty if nothing."""

    wrong: str
    cycles: int = 0
    coverage: dict[str, dict[str, int]] = field(default_factory=dict)
    text: str = ""


def tree_of(core: Core, seed: int, nodes: int = SIZE) -> Tree:
    """The program of a seed."""
    return Generator(Geometry.of(core.core), np.random.default_rng([seed, 1]), core.names, nodes).tree()


def run(core: Core, tree: Tree, seed: int) -> Ran:
    """One program, both ways."""
    g = Geometry.of(core.core)
    lowered = Lowering(tree, g)
    program = assemble(lowered.text)
    coverage = Coverage(g, core.names)
    mine, theirs = memory(seed), memory(seed)
    code = np.frombuffer(binary(program), np.uint8)
    theirs[CODE : CODE + len(code)] = code
    trace: list[Executed] = []
    with np.errstate(all="ignore"):
        state = Machine(g, theirs, CODE, tree.arguments, seed, trace).run()
    coverage.executed(trace)
    coverage.lowered(lowered.hazards, lowered.features)
    sim = CoreSimulation(core, mine, seed=seed + 1, **asdict(Timing.of(seed)))
    try:
        got = sim.run(program, CODE, tree.arguments, LIMIT)
    except DoesNotHold as e:
        return Ran(str(e), LIMIT, coverage.counts(), lowered.text)
    coverage.measured(got.counters, -(-len(code) // g.port_bytes), lowered.features["queue full"] > 0)
    wrong = ""
    if got.cause is not None:
        wrong = f"trap {got.cause} at {got.at}"
    elif got.fault:
        wrong = f"fault {got.fault} at {got.fault_at:#x}"
    elif got.codes != [*state.interrupts, state.halted]:
        wrong = f"interrupts {got.codes}, not {[*state.interrupts, state.halted]}"
    else:
        differ = np.flatnonzero(mine != theirs)
        if len(differ):
            wrong = f"{len(differ)} bytes of memory differ, from {differ[0]:#x}"
    return Ran(wrong, got.cycles, coverage.counts(), lowered.text)


def failing(core: Core, tree: Tree, seed: int) -> tuple[Tree, Ran]:
    """The smallest tree found that fails as well, and how."""

    def fails(candidate: Tree) -> bool:
        try:
            return bool(run(core, candidate, seed).wrong)
        except (Trap, DoesNotHold):  # of the definition: not the failure that is looked for
            return False

    small = shrink(tree, fails)
    return small, run(core, small, seed)


def campaign(
    core: Core, title: str, programs: int, seed: int, folder: Path, say: Callable[[str], None]
) -> dict[str, Any]:
    """Programs of seeds `seed` to `seed + programs - 1`; writes `programs.json` (by seed), `coverage.json` and
    `coverage.md` into `folder`, and a `failure-SEED.s` for each that fails. Returns what `coverage.json` holds:
    `failed` has a line for each that did.
    """
    folder.mkdir(parents=True, exist_ok=True)
    key = design_key(core)
    kept = folder / "programs.json"
    done: dict[str, Any] = {}
    if kept.exists():
        before = parse_json(kept.read_text(), kept)
        done = before["by_seed"] if before.get("design") == key else {}
    coverage = Coverage(Geometry.of(core.core), core.names)
    failed = []
    for i, s in enumerate(range(seed, seed + programs)):
        if str(s) not in done:
            tree = tree_of(core, s)
            ran = run(core, tree, s)
            if ran.wrong:
                say(f"program {s}: {ran.wrong}; shrinking it")
                small, again = failing(core, tree, s)
                where = folder / f"failure-{s}.s"
                write_atomic(where, f"# seed {s}, {size(small)} nodes: {again.wrong}\n{again.text}")
                say(f"program {s}: {again.wrong}: {where}")
            done[str(s)] = {"wrong": ran.wrong, "cycles": ran.cycles, "coverage": ran.coverage}
            if i % 20 == 19 or i == programs - 1 or ran.wrong:
                write_atomic(kept, json.dumps({"design": key, "by_seed": done}) + "\n")
                say(f"program {i + 1} of {programs}")
        one = done[str(s)]
        coverage.merge(one["coverage"])
        if one["wrong"]:
            failed.append(f"program {s}: {one['wrong']}")
    report = {
        "chip": title, "programs": programs, "first_seed": seed, "failed": failed,
        "cycles": sum(done[str(s)]["cycles"] for s in range(seed, seed + programs)), "coverage": coverage.report(),
    }  # fmt: skip
    write_atomic(folder / "coverage.json", json.dumps(report, indent=1) + "\n")
    write_atomic(
        folder / "coverage.md",
        page(report["coverage"], f"{title}: what {programs} random programs exercised"),
    )
    keep(key, report)
    return report


def keep(design: str, report: dict[str, Any]) -> None:
    """Beside the compiled simulators, the campaign over most programs of a design: what a handoff reports."""
    before = recorded(design)
    if before is None or before["programs"] <= report["programs"]:
        write_atomic(_record(design), json.dumps(report, indent=1) + "\n")


def recorded(design: str) -> dict[str, Any] | None:
    """What `keep` kept, if anything."""
    path = _record(design)
    return parse_json(path.read_text(), path) if path.exists() else None


def design_key(core: Core) -> str:
    """Names a core with all that its RTL and the programs of a seed follow from."""
    return build.digest(_sources(), repr(core.core), repr(core.engines))


def _record(design: str) -> Path:
    return build.cache_folder().parent / "programs" / f"{design}.json"


def main() -> None:
    """Command line; see the module's docstring."""
    import argparse
    import sys

    from tapeout.chip import load
    from tapeout.errors import TapeoutError

    parser = argparse.ArgumentParser(description="random programs on RTL and on the executable ISA")
    parser.add_argument("chip", help="a preset's name or a chip.toml")
    parser.add_argument("--programs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("programs"))
    given = parser.parse_args()
    try:
        spec = load(given.chip)
        report = campaign(
            Core(spec.core), spec.name, given.programs, given.seed, given.out,
            lambda text: print(text, file=sys.stderr, flush=True),
        )  # fmt: skip
    except TapeoutError as e:
        print(e, file=sys.stderr)
        raise SystemExit(1 if isinstance(e, DoesNotHold) else 2) from None
    for kind, part in report["coverage"].items():
        print(f"{kind}: {part['covered']} of {part['of']}")
    for line in report["failed"]:
        print(line, file=sys.stderr)
    raise SystemExit(1 if report["failed"] else 0)


if __name__ == "__main__":
    main()
