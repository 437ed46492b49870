"""Evaluations (design × operating point) per second of the search, end to end but for files.

    python benchmarks/search_throughput.py [MODEL] [--workers 2] [--seconds 10]

What `tapeout design` does to each chunk: decode the knobs, size the silicon and hold it to its limits, estimate
decoding at every operating point and prefill at every split, add up the service, choose the best point. Designs
that cannot be built are rejected before the estimate and are not counted.
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tapeout.model import load
from tapeout.search.design import Options, problem_of
from tapeout.search.problem import evaluate

CHUNK = 2048


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", default="gpt-oss-120b")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    problem = problem_of(load(given.model), Options())
    each = len(problem.points) + len(problem.points.tp)

    def chunk(i: int) -> tuple[int, int]:
        rows = problem.space.sample(i * CHUNK, CHUNK, 0)
        table = evaluate(problem, rows[problem.space.structured(rows)])
        return len(table["limit"]), int((table["limit"] == "").sum())

    chunk(0)  # prepares the work of each set of formats
    designs = built = done = 0
    began, used = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(given.workers) as pool:
        while time.perf_counter() - began < given.seconds:
            for seen, kept in pool.map(chunk, range(done + 1, done + 1 + 4 * given.workers)):
                designs, built = designs + seen, built + kept
            done += 4 * given.workers
    seconds = time.perf_counter() - began
    busy = (time.process_time() - used) / seconds
    points = f"{len(problem.points)} points and {len(problem.points.tp)} prefills"
    print(
        f"{given.model}, {given.workers} workers, NumPy {np.__version__}: {designs:,} designs, {built:,} can be built"
    )
    print(f"{built * each:,} evaluations ({points} a design) in {seconds:.1f} s on {busy:.2f} cores")
    print(
        f"{built * each / seconds:,.0f} evaluations per second; {built * each / busy / seconds:,.0f} per core-second"
    )


if __name__ == "__main__":
    main()
