"""What the tokens are timed on: step costs of the chip, its own clock, and each request's share of its energy.

The costs are those of `tapeout simulate` (`serving.costs`). Each step that the engine runs advances the clock by
what the chip would have taken for it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from tapeout.chip.spec import ChipSpec
from tapeout.errors import InputError
from tapeout.estimate.chip_work import chip_formats
from tapeout.model.architecture import Model
from tapeout.numerics.formats import FORMATS
from tapeout.numerics.plan import FormatPlan
from tapeout.serving.costs import StepCosts
from tapeout.serving.deploy import Target
from tapeout.serving.policy import EnginePolicy
from tapeout.serving.simulate import smallest
from tapeout.serving.targets import target_maker
from tapeout.workload.formats import Formats

HISTORY = 64  # steps that an arrival can be dated in; arrivals are dated within a step or two
WEIGHT_ROLES = ("lm_head", "attention", "router", "experts", "shared_expert", "dense")


@dataclass(frozen=True)
class Chip:
    """One replica: the target, its engine's policy (KV blocks, batch limits) and what a step costs."""

    target: Target
    policy: EnginePolicy
    costs: StepCosts


def chip_of(model: Model, name: str, plan: FormatPlan, sequences: int, tokens: int, prefixes: bool) -> Chip:
    """`model` on the fewest chips called `name` that hold it and leave a third of their memory to the cache, in
    steps of at most `sequences` and `tokens`, with prefix caching if `prefixes`.

    Raises InputError if there is no such chip, it does not hold the model, or lacks a format of the plan.
    """
    make = target_maker(model, name)
    parallelism = smallest(make)
    if isinstance(make.device, ChipSpec):
        target = Target.chip(model, make.device, parallelism, formats_of(model, make.device, plan))
    else:
        target = make(parallelism)
    policy = target.policy(sequences, tokens, prefix_caching=prefixes)
    return Chip(target, policy, target.costs(policy))


def formats_of(model: Model, chip: ChipSpec, plan: FormatPlan) -> Formats:
    """The formats of `plan` as the estimate names them: published MX weights as they are, BF16 for MXINT15."""
    stored, base = Formats.stored(model), chip_formats(model, chip)
    present = {t.role for t in model.tensors}
    engine = chip.core.matrix.formats

    def taken(name: str) -> str:
        found = "bf16" if name == "mxint15" else name
        if found not in engine:
            raise InputError(chip.name, f"core.matrix.formats for the plan {plan.name}", list(engine), found)
        return found

    changed = {
        role: taken(plan.weight(role).name)
        for role in WEIGHT_ROLES
        if role in present and getattr(stored, role) not in FORMATS
    }
    cache = "bf16" if plan.cache == "mxint15" else plan.cache
    return replace(base, **changed, activation=taken(plan.default.activation), cache=cache)


class Clock:
    """Chip seconds since the start.

    A request that arrives while a step runs arrives, in chip time, the same fraction into the step. Without a
    pace the clock stands still while nothing runs. With one it follows the wall, `pace` wall seconds to a
    chip second: `finish` waits until the chip would be done, and time lost when it was done long before
    is counted in `late_seconds` (of wall time) rather than made up for.
    """

    def __init__(
        self,
        pace: float | None = None,
        wall: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.pace, self._wall, self._sleep = pace, wall, sleep
        self.seconds = 0.0
        self.late_seconds = 0.0
        self._origin = wall()  # of paced time
        self._began = 0.0
        self._steps: deque[tuple[float, float, float, float]] = deque(
            maxlen=HISTORY
        )  # wall, wall, chip, chip

    def at(self, wall: float) -> float:
        """Chip time at a moment of wall time, not in the future."""
        for begin, end, first, last in reversed(self._steps):
            if wall > end:
                return last if self.pace is None else max(last, self._paced(wall))
            if wall >= begin:
                return first + (last - first) * (wall - begin) / max(end - begin, 1e-9)
        if self._steps:
            return self._steps[0][2]
        return 0.0 if self.pace is None else max(0.0, self._paced(wall))

    def _paced(self, wall: float) -> float:
        assert self.pace is not None
        return (wall - self._origin) / self.pace

    def begin(self, wall: float) -> None:
        """A step begins; time since the last one was idle."""
        self._began = wall
        if self.pace is not None:
            self.seconds = max(self.seconds, self._paced(self._began))

    def finish(self, seconds: float) -> None:
        """The step that began is computed; the chip takes `seconds` for it."""
        first = self.seconds
        self.seconds += seconds
        if self.pace is not None:
            early = self._origin + self.pace * self.seconds - self._wall()
            if early > 0:
                self._sleep(early)
            else:
                self._origin -= early
                self.late_seconds -= early
        self._steps.append((self._began, self._wall(), first, self.seconds))


@dataclass(slots=True)
class Ledger:
    """One sequence on the chip: moments in chip seconds, its share of the energy of its steps (by tokens
    computed, so that shares add up to what the steps took), and how many steps it was in."""

    arrival: float = 0.0
    start: float = -1.0
    first_token: float = -1.0
    finish: float = -1.0
    joules: float = 0.0
    steps: int = 0
