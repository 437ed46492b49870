"""The closed form against the cycle simulator, on operators that no constant of it was fitted to."""

from __future__ import annotations

import numpy as np
from cycle_cases import KINDS, samples

# What the estimate promises of any kind of operator; benchmarks/estimate_vs_cycle.py has it over more of them.
MEDIAN, P95 = 0.05, 0.15
# A dozen and a half of a kind: one of them beyond the 95th percentile is a matter of chance.
LARGEST = 0.3


def test_single_operators_take_as_long_as_the_cycle_simulator_says() -> None:
    errors: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for one, cycles in samples(72, seed=7):
        errors[one.kind].append(abs(one.estimated() / cycles - 1))
    for kind, found in errors.items():
        assert np.median(found) <= MEDIAN, kind
        assert np.percentile(found, 90) <= P95 and max(found) <= LARGEST, kind
    everything = np.concatenate(list(errors.values()))
    assert np.median(everything) <= MEDIAN and np.percentile(everything, 95) <= P95
