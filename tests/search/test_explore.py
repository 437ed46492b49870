"""The search: the same result whatever interrupts it; nothing that breaks a limit is chosen."""

from pathlib import Path

import numpy as np
import pytest
from search_problems import TINY, small

from tapeout.chip.designs import Designs
from tapeout.errors import MissingDependency
from tapeout.estimate.chip_work import chip_formats
from tapeout.physical.limits import problems
from tapeout.search import explore as explore_module
from tapeout.search.explore import Exploration, explore, front_of, objectives
from tapeout.search.judge import Work, service_of
from tapeout.search.pareto import front_by_definition
from tapeout.search.scenario import Scenario
from tapeout.search.silicon import silicon_of
from tapeout.search.space import Space


def same(a: Exploration, b: Exploration) -> bool:
    columns = a.table.keys() == b.table.keys() and all(
        np.array_equal(a.table[k], b.table[k], equal_nan=a.table[k].dtype.kind == "f") for k in a.table
    )
    return columns and a.chosen == b.chosen and (a.indices == b.indices).all()


@pytest.fixture(scope="module")
def found() -> Exploration:
    return explore(small(), effort=TINY, workers=1)


def test_same_seed_same_result_whatever_the_workers(found: Exploration) -> None:
    assert same(found, explore(small(), effort=TINY, workers=3))


def test_another_seed_another_search(found: Exploration) -> None:
    assert not np.array_equal(found.indices[:50], explore(small(seed=1), effort=TINY).indices[:50])


class Stop(Exception):
    """Raised in place of a kill."""


@pytest.mark.parametrize("after", [1, 3, 5])
def test_stopped_and_resumed_is_the_same(
    found: Exploration, after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, done = explore_module.evaluate, 0

    def stopping(problem: object, indices: object) -> object:
        nonlocal done
        done += 1
        if done > after:
            raise Stop
        return real(problem, indices)  # type: ignore[arg-type]

    monkeypatch.setattr(explore_module, "evaluate", stopping)
    with pytest.raises(Stop):
        explore(small(), effort=TINY, folder=tmp_path, workers=1)
    monkeypatch.setattr(explore_module, "evaluate", real)
    again = explore(small(), effort=TINY, folder=tmp_path, workers=1)
    assert again.resumed == after
    assert same(found, again)
    whole = explore(small(), effort=TINY, folder=tmp_path, workers=1)
    assert whole.resumed == TINY.chunks and same(found, whole)


def test_a_changed_question_does_not_resume(tmp_path: Path) -> None:
    explore(small(), effort=TINY, folder=tmp_path)
    assert explore(small(max_watts=700.0), effort=TINY, folder=tmp_path).resumed == 0


def test_the_front_is_the_definition(found: Exploration) -> None:
    values = objectives(found.table)
    assert (front_of(found.table) == front_by_definition(values)).all()
    assert found.table["on_front"].any()
    assert found.chosen is not None and found.table["on_front"][found.chosen]


def test_what_meets_every_limit_does(found: Exploration) -> None:
    t, problem = found.table, small()
    good = np.flatnonzero(t["meets"])
    assert len(good) > 20
    for i in good[:: max(1, len(good) // 20)]:
        spec = problem.space.designs(found.indices[[i]]).spec(0)
        assert problems(spec, max_watts=problem.max_watts) == []
        assert t["tpot_ms"][i] <= 20.0 and t["ttft_ms"][i] <= 2000.0
    for i in np.flatnonzero(t["limit"] != "")[:20]:
        spec = problem.space.designs(found.indices[[i]]).spec(0)
        assert problems(spec, max_watts=problem.max_watts) != []
        assert not t["meets"][i] and np.isnan(t["tokens_per_s"][i])


def test_the_chosen_row_is_the_best_and_its_figures_recompute(found: Exploration) -> None:
    t, problem = found.table, small()
    i = found.chosen
    assert i is not None
    assert t["tokens_per_joule"][i] == np.nanmax(np.where(t["meets"], t["tokens_per_joule"], np.nan))
    spec = problem.space.designs(found.indices[[i]]).spec(0)
    s = silicon_of(Designs.from_specs([spec]), max_watts=problem.max_watts)
    work = Work.of(problem.model, problem.scenario, problem.points, chip_formats(problem.model, spec))
    service, _ = service_of(s.arrays, work, problem.scenario, dtype=np.float64)
    p = problem.points
    split = next(
        k
        for k in range(len(p.tp))
        if all(int(getattr(p, n)[k]) == t[n][i] for n in ("tp", "ep", "attention_dp"))
    )
    at = split * len(p.batches) + int(np.flatnonzero(p.batches == t["batch"][i])[0])
    assert float(service.tpot_s[0, at]) * 1e3 == pytest.approx(float(t["tpot_ms"][i]), rel=1e-4)
    assert 1 / float(service.joules_per_token[0, at]) == pytest.approx(
        float(t["tokens_per_joule"][i]), rel=1e-4
    )


def test_refinement_looks_where_good_designs_are(found: Exploration) -> None:
    sampled = TINY.chunk * TINY.sampled
    value = np.where(found.table["meets"], found.table["tokens_per_joule"], 0.0)
    assert np.median(value[sampled:]) > np.percentile(value[:sampled], 75)


def test_no_design_meets_the_impossible() -> None:
    e = explore(small(scenario=Scenario(tpot_ms=0.001)), effort=TINY)
    assert e.chosen is None and not e.table["on_front"].any()
    assert explore(small(max_watts=1.0), effort=TINY).chosen is None


@pytest.mark.parametrize("objective", ["tokens_per_dollar", "tokens_per_chip", "latency"])
def test_each_objective_chooses_its_best(objective: str) -> None:
    problem = small(objective=objective)
    e = explore(problem, effort=TINY)
    assert e.chosen is not None
    merit = problem.merit(e.table)
    assert merit[e.chosen] == merit.max()


def test_nodes_and_memories_are_those_allowed() -> None:
    space = Space(node=("N5",), stack=(("hbm3", 24),))
    t = explore(small(space=space), effort=TINY).table
    assert set(t["node"]) == {"N5"} and set(t["memory"]) == {"hbm3"}


def test_ray_says_what_it_needs() -> None:
    try:
        import ray  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependency, match="ray"):
            explore(small(), effort=TINY, ray="local")
    else:
        pytest.skip("Ray is installed; see the slow test")


@pytest.mark.slow
def test_ray_finds_the_same(found: Exploration) -> None:
    pytest.importorskip("ray")
    assert same(found, explore(small(), effort=TINY, ray="local"))
