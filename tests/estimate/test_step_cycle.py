"""Whole steps: the estimate against the busiest core's share in the cycle simulator."""

from __future__ import annotations

import numpy as np
import pytest
from step_cases import cases

from tapeout.chip import load as load_chip
from tapeout.errors import TapeoutError
from tapeout.estimate.chip_work import ChipWork, chip_formats
from tapeout.estimate.core_share import compare
from tapeout.model import load
from tapeout.simulator.cycle import native
from tapeout.workload.operators import Step

# What the estimate promises; benchmarks/steps_vs_cycle.py has it over 200 steps.
MEDIAN, P95 = 0.05, 0.15


def test_steps_take_as_long_as_the_cycle_simulator_says() -> None:
    errors = np.array([abs(1 / (1 + found.difference) - 1) for _, found in cases(12, seed=3, batch=8)])
    assert np.median(errors) <= MEDIAN
    assert np.percentile(errors, 95) <= P95


def decode(name: str, layers_of: str = "gpt-oss-20b") -> tuple[object, ChipWork]:
    chip, model = load_chip(name), load(layers_of)
    return chip, ChipWork.of(model, Step.decode(4.0, 900.0), formats=chip_formats(model, chip))


def test_layers_that_are_not_run_take_as_long_as_those_that_are() -> None:
    chip, work = decode("flagship")
    some, whole = compare(chip, work), compare(chip, work, whole=True)  # type: ignore[arg-type]
    assert whole.cycles > 2 * some.cycles
    assert some.simulated_s == pytest.approx(whole.simulated_s, rel=0.01)
    assert some.others_s == pytest.approx(whole.others_s, rel=0.01)


def test_operators_add_up_to_the_step() -> None:
    chip, work = decode("edge")
    found = compare(chip, work)  # type: ignore[arg-type]
    assert sum(s for _, _, s in found.stages) == pytest.approx(found.simulated_s, rel=0.01)
    assert 0 < found.others_s < found.simulated_s


def test_without_the_native_library_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise TapeoutError("the cycle simulator is native code that was not built")

    monkeypatch.setattr(native, "library", missing)
    chip, work = decode("edge")
    with pytest.raises(TapeoutError, match="not built"):
        compare(chip, work)  # type: ignore[arg-type]
