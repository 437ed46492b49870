"""The chosen chip in the cycle simulator: its decode step and its prefill, beside the estimate that chose it."""

from __future__ import annotations

from dataclasses import dataclass

from tapeout.chip.spec import ChipSpec
from tapeout.errors import TapeoutError
from tapeout.estimate.chip_work import ChipWork
from tapeout.estimate.core_share import Compared, compare
from tapeout.model.architecture import Model
from tapeout.search.operation import Operation
from tapeout.search.scenario import Scenario
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Step
from tapeout.workload.parallelism import Parallelism

CHUNK = 1024  # tokens of a prompt: a whole one is so many chunks, and takes the host so many times as long


@dataclass(frozen=True)
class Confirmation:
    """`step`: decode or prefill, of what `work` says. `compared`: estimate and simulation; None where the cycle
    simulator cannot run it, and then `missing` says why."""

    step: str
    work: str
    compared: Compared | None
    missing: str = ""


def confirm(
    model: Model, chip: ChipSpec, scenario: Scenario, formats: Formats, o: Operation
) -> tuple[Confirmation, ...]:
    """One decode step at the operating point, and a chunk in the middle of the mean prompt on every rank."""
    split = Parallelism(o.tp, o.ep, o.pp, o.attention_dp)
    decode = ChipWork.of(
        model, Step.decode(float(o.batch), scenario.decode_context), split, formats, skew=scenario.zipf
    )
    chunk = max(min(float(CHUNK), scenario.fresh_tokens), 1.0)
    before = round(scenario.cached_tokens + (scenario.fresh_tokens - chunk) / 2)
    prompt = ChipWork.of(
        model, Step.prefill(float(o.attention_dp), chunk, float(before)), split, formats, skew=scenario.zipf
    )
    sequences = f"{o.batch:,} sequences after {scenario.decode_context:,.0f} tokens"
    tokens = f"{chunk:,.0f} tokens of a prompt after {before:,} others"
    if o.attention_dp > 1:
        tokens += " on each rank"
    return (
        _one("decode", sequences, chip, decode),
        _one("prefill", tokens, chip, prompt),
    )


def _one(step: str, what: str, chip: ChipSpec, work: ChipWork) -> Confirmation:
    try:
        return Confirmation(step, what, compare(chip, work))
    except TapeoutError as e:
        return Confirmation(step, what, None, str(e))
