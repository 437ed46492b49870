"""What a design run returns: typed, documented, nothing printed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tapeout.chip.spec import ChipSpec
from tapeout.model.architecture import Model
from tapeout.search.confirm import Confirmation
from tapeout.search.explore import Exploration
from tapeout.search.operation import Operation
from tapeout.search.owning import Owning
from tapeout.search.rivals import Rival
from tapeout.search.scenario import Objective, Scenario
from tapeout.workload.formats import Formats


@dataclass(frozen=True)
class Range:
    """A figure with every input at its value, and where it lies for nine in ten draws of the uncertain inputs;
    `median` of the draws where they were made."""

    value: float
    low: float
    high: float
    median: float | None = None


@dataclass(frozen=True)
class Influence:
    """What one uncertain input does to tokens per joule: the figure at its low and at its high end."""

    quantity: str
    low_input: float
    high_input: float
    unit: str
    source: str
    at_low: float
    at_high: float


@dataclass(frozen=True)
class Silicon:
    """The chip as silicon. Areas in mm² of one die, watts of the package, dollars of one good package."""

    die_mm2: Range
    die_width_mm: float
    die_height_mm: float
    area: Mapping[str, float]
    design_watts: Range
    design_power: Mapping[str, float]
    unit_dollars: Range
    cost: Mapping[str, float]
    die_yield: float
    limits: Mapping[str, tuple[float, float, str]]  # name → needs, has, unit


@dataclass(frozen=True)
class Case:
    """One batch and context: each chip by name at its best split there, with no latency target; None: does not
    fit."""

    context: int
    batch: int
    operations: Mapping[str, Operation | None]


@dataclass(frozen=True)
class Step:
    """One step of the way from an accelerator to the chip: what changes, and the figures after it."""

    change: str
    why: str
    tokens_per_joule: float
    factor: float  # over the step before
    operation: str
    family: str  # what kind of reason: accelerator, software, memory, architecture, formats, compute, node


@dataclass(frozen=True)
class DesignResult:
    """The chosen chip, how it was found, and how it compares.

    `operation`: the chip at its best within the targets; `ranges`: of tokens_per_s, tokens_per_joule,
    tokens_per_dollar, watts, tpot_ms and ttft_ms there; `rivals`: accelerators at the same work and targets;
    `confirmations`: a decode step and a prefill there, estimated and in the cycle simulator;
    `reasons`: the steps from `reasons_from` (a rival) to the chip, whose factors multiply to the whole
    advantage.
    """

    model: Model
    scenario: Scenario
    objective: Objective
    max_watts: float
    seed: int
    owning: Owning
    chip: ChipSpec
    formats: Formats
    operation: Operation
    curve: tuple[Operation, ...]
    silicon: Silicon
    ranges: Mapping[str, Range]
    influences: tuple[Influence, ...]
    rivals: tuple[Rival, ...]
    cases: tuple[Case, ...]
    reasons_from: str
    reasons: tuple[Step, ...]
    confirmations: tuple[Confirmation, ...]
    exploration: Exploration = field(repr=False)

    def rival(self, name: str) -> Rival | None:
        """The accelerator whose name begins so, whatever the case."""
        return next((r for r in self.rivals if r.name.lower().startswith(name.lower())), None)

    def advantage(self, rival: Rival) -> float | None:
        """The chip's tokens/s per watt over a rival's, both at their best within the targets; None where the rival
        cannot meet them."""
        if rival.operation is None or not rival.operation.meets:
            return None
        return self.operation.tokens_per_joule / rival.operation.tokens_per_joule
