"""What stands behind the RTL of a package: proofs of its blocks, and what its vectors execute.

Proofs are run once for each text of the transition system and kept in `$XDG_CACHE_HOME/tapeout/proofs`, without dates
or durations: the same RTL gives the same report.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from tapeout.chip.isa.geometry import Geometry
from tapeout.chip.rtl.accumulator_file import AccumulatorFile
from tapeout.chip.rtl.activation_row import ActivationRow
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.matrix_engine import MatrixEngine
from tapeout.chip.rtl.parity import ParityCheck, ParitySend
from tapeout.chip.rtl.scratchpad import Scratchpad
from tapeout.chip.rtl.sequencer_dispatch import SequencerDispatch
from tapeout.chip.rtl.weight_column import WeightColumn
from tapeout.chip.spec import ChipSpec
from tapeout.chip.verification import formal
from tapeout.chip.verification.formal import Proof
from tapeout.chip.verification.proofs.dispatch import DispatchProof
from tapeout.chip.verification.proofs.matrix_engine import ScoreboardProof
from tapeout.chip.verification.proofs.parity import ParityCheckProof, ParitySendProof
from tapeout.chip.verification.proofs.queue import FifoProof
from tapeout.chip.verification.proofs.scratchpad import ScratchpadProof
from tapeout.chip.verification.proofs.secded import SecdedErrorsProof, SecdedLinearProof
from tapeout.chip.verification.proofs.storage import AccumulatorProof, ActivationRowProof
from tapeout.chip.verification.proofs.weights import WeightColumnProof
from tapeout.files import parse_json, write_atomic
from tapeout.physical.handoff.vectors import Vector, wanted
from tapeout.simulator.rtl.build import cache_folder

DEEPEST = 8  # queues beyond are the same block with a longer counter; proofs of theirs take minutes


def proofs(spec: ChipSpec, modules: Sequence[str]) -> dict[str, Callable[[], Proof]]:
    """The proofs about blocks that this core has. Widths are small where no decision depends on the data."""
    g = Geometry.of(spec.core)
    depths = sorted({int(m[1]) for name in modules if (m := re.fullmatch(r"fifo_\d+x(\d+)", name))})
    formats, ways = spec.core.matrix.formats, g.ways
    found: dict[str, Callable[[], Proof]] = {
        f"queue of {n}: order, handshake, level": lambda n=n: FifoProof(Fifo(3, n))  # type: ignore[misc]
        for n in depths
        if n <= DEEPEST
    }
    found |= {
        "scoreboard of the sequencer: tokens": lambda: DispatchProof(SequencerDispatch()),
        "SECDED: the code is linear": SecdedLinearProof,
        "SECDED: every single and double error": SecdedErrorsProof,
        "parity between blocks: made as its word was taken": lambda: ParitySendProof(ParitySend(70)),
        "parity between blocks: told if and only if it differs": lambda: ParityCheckProof(
            ParityCheck(70, late=True)
        ),
        "scratchpad: grants, fairness, room for answers": lambda: ScratchpadProof(
            Scratchpad(4, 2, 8, (4, 1, 2, 1))
        ),
        "matrix engine: hazards, banks, drains": lambda: ScoreboardProof(
            MatrixEngine(2, 1, 2, ("mxfp4",), 1, 2)
        ),
        "accumulators": lambda: AccumulatorProof(AccumulatorFile(4, 2)),
        "activations": lambda: ActivationRowProof(ActivationRow(2)),
        f"weights as digits: {' and '.join(formats)}": lambda: WeightColumnProof(
            WeightColumn(formats, ways, 2)
        ),
    }
    return found


def proved(spec: ChipSpec, modules: Sequence[str], say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Each proof with its result, by a bounded check from reset and by induction; from the cache where it is there."""
    solver, _ = formal.tools()
    results = []
    for name, make in proofs(spec, modules).items():
        proof = make()
        source = formal.source(proof)
        key = hashlib.sha256(f"{solver}\n{proof.depth} {proof.k}\n{source}".encode()).hexdigest()
        kept = cache_folder().parent / "proofs" / f"{key[:32]}.json"
        if kept.exists():
            results.append({"proof": name, **parse_json(kept.read_text(), kept)})
            continue
        say(f"proof: {name}")
        text = formal.smt2(proof)
        from_reset = formal.check(text, proof.module_name, max(proof.depth, proof.k + 1), False)
        step = formal.check(text, proof.module_name, proof.k, True)
        entry = {
            "block": proof.block.module_name, "solver": solver, "cycles_from_reset": from_reset.steps,
            "induction_over": step.steps, "holds": from_reset.holds and step.holds,
            "failed_claims": len({*from_reset.failed, *step.failed}),
            "sha256": hashlib.sha256(source.encode()).hexdigest(),
        }  # fmt: skip
        write_atomic(kept, json.dumps(entry, indent=1) + "\n")
        results.append({"proof": name, **entry})
    return results


def coverage(found: Sequence[Vector], names: frozenset[str]) -> dict[str, Any]:
    """Instructions and choices of their fields that the vectors execute, and those that none does."""
    shown: dict[tuple[str, str], list[str]] = {}
    for v in found:
        for one in v.shows:
            shown.setdefault(one, []).append(v.name)
    all_of = sorted(wanted(names))
    return {
        "instructions": len(names),
        "choices": len(all_of),
        "executed": sum(one in shown for one in all_of),
        "not_executed": [" ".join(one).strip() for one in all_of if one not in shown],
        "by_choice": {" ".join(one).strip(): sorted(shown.get(one, [])) for one in all_of},
    }
