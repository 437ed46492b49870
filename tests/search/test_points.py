"""Operating points: every split possible, none twice, and none that a model of its kind would want missing."""

import numpy as np
import pytest

from tapeout.model import load
from tapeout.model.catalog import names
from tapeout.search.points import points


@pytest.mark.parametrize("name", names())
def test_every_split_is_possible_and_there_once(name: str) -> None:
    model = load(name)
    p = points(model, largest=64, pipeline=(1, 2))
    splits = list(zip(p.tp.tolist(), p.ep.tolist(), p.pp.tolist(), p.attention_dp.tolist(), strict=True))
    assert len(set(splits)) == len(splits) > 0
    assert np.all(p.splits().valid(model))
    assert (1, 1, 1, 1) in splits
    assert (p.tp * p.pp * p.attention_dp).max() <= 64


def test_the_grid_runs_batches_fastest() -> None:
    p = points(load("gpt-oss-20b"), largest=4, batches=(8, 1, 2, 2))
    grid, batch = p.grid()
    assert batch[:3].tolist() == [1, 2, 8] and len(batch) == len(p) == len(p.tp) * 3
    for i in range(len(p)):
        split, b = divmod(i, 3)
        assert p.describe(split)["tp"] == np.asarray(grid.tp)[i] and p.batches[b] == batch[i]


def test_mixtures_may_keep_attention_apart_and_dense_models_do_not() -> None:
    assert (points(load("deepseek-v3")).attention_dp > 1).any()
    assert (points(load("llama-3.1-70b")).attention_dp == 1).all()
    assert (points(load("llama-3.1-70b")).ep == 1).all()
