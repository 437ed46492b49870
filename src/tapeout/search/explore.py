"""The search itself: an even sample of the space, then rounds of refinement around the front found so far.

Everything is computed in chunks. A chunk is a function of the problem and of the chunks before it, and of
nothing else, so any number of workers, and any interruption, lead to the same result.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tapeout.parallel import ray_session
from tapeout.search.pareto import front
from tapeout.search.problem import OBJECTIVE_COLUMNS, Problem, evaluate
from tapeout.search.space import Indices
from tapeout.search.store import Store, Table, concatenate


@dataclass(frozen=True)
class Effort:
    """How much to search: `sampled` chunks, then `rounds` of `refined` chunks, each of `chunk` designs."""

    chunk: int = 2048
    sampled: int = 16
    rounds: int = 6
    refined: int = 4

    @property
    def chunks(self) -> int:
        """Chunks in all."""
        return self.sampled + self.rounds * self.refined


EFFORTS = {
    "quick": Effort(1024, 4, 4, 2),
    "normal": Effort(2048, 16, 8, 4),
    "thorough": Effort(4096, 64, 16, 8),
}


@dataclass(frozen=True, eq=False)
class Exploration:
    """All designs evaluated. `table`: one row each, columns as in `results.parquet`; `indices`: the rows of the
    space; `chosen`: the best row, None if no design meets every limit."""

    table: Table
    indices: Indices
    chosen: int | None
    evaluations: int  # designs × operating points
    resumed: int  # chunks found from an earlier run
    fingerprint: str = ""  # of the question, where its chunks are kept


class Progress(Protocol):
    """Told as chunks finish."""

    def __call__(self, done: int, total: int, designs: int, evaluations: int) -> None:
        """`done` of `total` chunks; the designs and evaluations so far."""
        ...


Map = Callable[[Callable[..., Table], list[tuple[Any, ...]]], Iterator[Table]]


@contextmanager
def local_workers(count: int) -> Iterator[Map]:
    """Threads of this process: NumPy lets go of the interpreter in its loops, and Ctrl-C reaches them all."""
    pool = ThreadPoolExecutor(count)
    try:
        yield lambda function, jobs: pool.map(lambda job: function(*job), jobs)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def ray_workers(address: str) -> Iterator[Map]:
    """Tasks on a Ray cluster; `address` as for ray.init ("local" starts one here)."""
    with ray_session(address) as ray:
        task = ray.remote(evaluate)

        def run(function: Callable[..., Table], jobs: list[tuple[Any, ...]]) -> Iterator[Table]:
            assert function is evaluate
            problems: dict[int, Any] = {}
            for problem, _ in jobs:
                if id(problem) not in problems:
                    problems[id(problem)] = ray.put(problem)
            waiting = [task.remote(problems[id(problem)], indices) for problem, indices in jobs]
            yield from (ray.get(reference) for reference in waiting)

        yield run


def explore(
    problem: Problem,
    *,
    effort: Effort = EFFORTS["normal"],
    folder: Path | None = None,
    workers: int = 2,
    ray: str | None = None,
    progress: Progress | None = None,
) -> Exploration:
    """Search `problem`. Finished chunks are kept in `folder` and found again by a later call; the result does not
    depend on `workers`, on `ray` or on interruptions."""
    store = Store(folder, problem.question() | {"effort": vars(effort)}) if folder is not None else None
    tables: list[Table] = []
    rows: list[Indices] = []
    seen: set[bytes] = set()
    resumed = 0
    starting = ray_workers(ray) if ray is not None else local_workers(workers)
    with starting as run:

        def phase(chunks: list[Indices]) -> None:
            nonlocal resumed
            first = len(tables)
            known = [store.get(first + i, len(c)) if store else None for i, c in enumerate(chunks)]
            missing = [(problem, c) for c, k in zip(chunks, known, strict=True) if k is None]
            computed = run(evaluate, missing)
            for i, (chunk, table) in enumerate(zip(chunks, known, strict=True)):
                if table is None:
                    table = next(computed)
                    if store:
                        store.put(first + i, table)
                else:
                    resumed += 1
                tables.append(table)
                rows.append(chunk)
                if progress:
                    designs = sum(map(len, rows))
                    progress(len(tables), effort.chunks, designs, problem.evaluations(designs))

        def fresh(indices: Indices) -> Indices:
            """Those that name a chip and have not been evaluated, in order."""
            keep = []
            for i in np.flatnonzero(problem.space.structured(indices)):
                key = indices[i].tobytes()
                if key not in seen:
                    seen.add(key)
                    keep.append(i)
            return indices[keep]

        if problem.seeds is not None:
            phase([fresh(problem.seeds)])
        size = effort.chunk
        phase([fresh(problem.space.sample(i * size, size, problem.seed)) for i in range(effort.sampled)])
        for r in range(effort.rounds):
            parents = best_rows(problem, concatenate(tables), np.concatenate(rows))
            if not len(parents):
                break
            chunks = []
            for j in range(effort.refined):
                random = np.random.default_rng(np.random.SeedSequence([problem.seed, 1 + r, j]))
                chunks.append(fresh(problem.space.neighbours(parents, size, random)))
            phase([c for c in chunks if len(c)])
    table, indices = concatenate(tables), np.concatenate(rows)
    table["on_front"] = front_of(table)
    return Exploration(
        table,
        indices,
        choose(problem, table),
        problem.evaluations(len(indices)),
        resumed,
        store.fingerprint if store else "",
    )


def objectives(table: Table) -> NDArray[np.float64]:
    """The objectives of each row, all to be maximised; NaN where a limit or a target is not met."""
    good = table["meets"]
    values = np.stack(
        [np.asarray(table[name], dtype=float) * sign for name, sign in OBJECTIVE_COLUMNS], axis=1
    )
    return np.where(good[:, None], values, np.nan)


def front_of(table: Table) -> NDArray[np.bool_]:
    """Which rows are on the Pareto front of all objectives."""
    return front(objectives(table))


def best_rows(problem: Problem, table: Table, indices: Indices, most: int = 512) -> Indices:
    """Where to look next: the front, and the best by the chosen objective; while nothing meets every limit, the
    designs that come nearest."""
    merit = problem.merit(table)
    order = np.lexsort((np.arange(len(merit)), -merit))
    best = order[np.isfinite(merit[order])][: most // 4]
    if not len(best):
        nearest = np.lexsort((np.arange(len(merit)), table["excess"]))
        return indices[nearest[: most // 8]]
    on = np.flatnonzero(front_of(table))
    on = on[np.lexsort((on, -merit[on]))][: most - len(best)]
    # The best rows count twice: half of the children are theirs, however long the front.
    weight = max(1, len(on) // max(len(best), 1))
    return indices[np.concatenate([np.tile(best, weight), on])]


def choose(problem: Problem, table: Table) -> int | None:
    """The row with the most of the objective; among equals the smaller die, then the earlier row."""
    merit = problem.merit(table)
    if not np.isfinite(merit).any():
        return None
    return int(np.lexsort((np.arange(len(merit)), table["die_mm2"], -merit))[0])
