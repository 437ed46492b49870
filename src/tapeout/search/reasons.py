"""Why the chip is better or worse than an accelerator: one change at a time, each with the best point anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tapeout.chip.spec import ChipSpec
from tapeout.model.architecture import Model
from tapeout.search.operation import Operation
from tapeout.search.points import Points
from tapeout.search.result import Step
from tapeout.search.rivals import Contender, Rival
from tapeout.search.scenario import Scenario

if TYPE_CHECKING:
    from tapeout.search.design import Options


def reasons(
    model: Model,
    spec: ChipSpec,
    scenario: Scenario,
    pts: Points,
    options: Options,
    against: Contender,
    start: Rival,
    end: Operation,
) -> tuple[Step, ...]:
    """The way from `against` to the chip; the factors multiply to the ratio of the ends."""
    return ()
