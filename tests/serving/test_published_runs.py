"""The simulation agrees with published serving runs as well as the estimator that feeds it."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tapeout.estimate.published import Models, read_rows

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY.parent / "shared" / "validation" / "gpu_serving.csv"
sys.path.insert(0, str(REPOSITORY / "benchmarks"))

from serving_published import compare  # noqa: E402


@pytest.mark.skipif(not DATA.exists(), reason=f"the published serving runs are not at {DATA}")
@pytest.mark.parametrize("every", [24, pytest.param(2, marks=pytest.mark.slow)])
def test_median_errors_are_within_three_points_of_the_estimators(every: int) -> None:
    errors = {name: float(np.median(e)) for name, e in compare(read_rows(DATA, Models())[::every]).items()}
    assert errors["tpot"] < errors["estimator tpot"] + 0.03
    assert errors["throughput"] < errors["estimator throughput"] + 0.03
