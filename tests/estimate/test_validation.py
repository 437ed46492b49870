"""Errors and protocols; with the published tables beside the repository, the targets themselves."""

from pathlib import Path

import numpy as np
import pytest

from tapeout.estimate.fitted import fitted
from tapeout.estimate.parameters import Parameters
from tapeout.estimate.published import Models, Row, read_rows
from tapeout.estimate.validation import (
    METRICS,
    TARGETS,
    Errors,
    configuration_of,
    cross_validate,
    predict_rows,
    serving_rows,
    summary,
)

DATA = Path(__file__).parents[3] / "shared" / "validation"
needs_data = pytest.mark.skipif(
    not (DATA / "gpu_serving.csv").exists(), reason="the published measurements are not beside the repository"
)


def published() -> list[Row]:
    models = Models()
    return read_rows(DATA / "gpu_serving.csv", models) + read_rows(DATA / "gpu_energy.csv", models)


def test_an_unpredicted_row_is_an_error_of_a_hundred_per_cent() -> None:
    e = Errors.of(np.array([1.1, np.nan, 0.5]), np.array([1.0, 1.0, np.nan]))
    assert (e.rows, e.unpredicted) == (2, 1)
    assert e.median == pytest.approx(0.55) and e.mean == pytest.approx(0.55)


def test_rows_without_a_point_are_kept() -> None:
    row = Row(2, "serving", {"model": "x"}, {"tpot_s": 0.01}, None, "model is not known")
    p = predict_rows([row], Parameters.priors())
    assert p.errors("tpot").unpredicted == 1 and p.errors("tpot").median == 1.0


@needs_data
def test_every_published_row_is_predicted_and_close() -> None:
    rows = published()
    assert len(rows) == 684 and all(r.point is not None for r in rows)
    p = predict_rows(rows, fitted())
    serving = serving_rows(rows)
    e = p.errors("tpot", serving)
    assert e.rows == 578 and e.unpredicted == 0
    assert e.median < 0.06 and e.mean < 0.09
    assert p.errors("joules").median < 0.13


@needs_data
def test_folds_keep_configurations_together() -> None:
    from tapeout.estimate.validation import PROTOCOLS

    fold: dict[str, str] = {}
    for r in published():
        assert fold.setdefault(configuration_of(r), PROTOCOLS["configuration"](r)) == PROTOCOLS[
            "configuration"
        ](r)
    assert len(set(fold.values())) == 5


@needs_data
@pytest.mark.slow
def test_held_out_errors_meet_their_targets() -> None:
    v = cross_validate(published())
    s = summary(v)
    table = {(e["metric"], e["protocol"]): e for e in s["table"]}
    missed = {("ttft", "configuration")}  # stated in docs/validation.md, with the reasons
    for key, (median, mean) in TARGETS.items():
        if key not in missed:
            assert table[key]["median"] <= median and table[key]["mean"] <= mean, key
    for protocol in ("configuration", "accelerator", "model"):
        assert table["tpot", protocol]["coverage"] == pytest.approx(0.8, abs=0.05)
    assert set(s["quantiles"]) == set(METRICS)
