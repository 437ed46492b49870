"""The closed form against the cycle simulator: the level that benchmarks/estimate_vs_cycle.py reached."""

from __future__ import annotations

import numpy as np
from cycle_cases import KINDS, samples

MEDIAN = {"decode product": 0.02, "batch product": 0.05, "norm": 0.10, "attention": 0.10}
P95 = {"decode product": 0.08, "batch product": 0.3, "norm": 0.25, "attention": 0.22}


def test_single_operators_take_as_long_as_the_cycle_simulator_says() -> None:
    errors: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for one, cycles in samples(60, seed=7):
        errors[one.kind].append(abs(one.estimated() / cycles - 1))
    for kind, found in errors.items():
        assert np.median(found) <= MEDIAN[kind], kind
        assert np.percentile(found, 95) <= P95[kind], kind
    everything = np.concatenate(list(errors.values()))
    assert np.median(everything) <= 0.05
