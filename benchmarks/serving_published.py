"""The serving simulation against published runs: closed loops on H100, H200 and B200 under three engines.

    python benchmarks/serving_published.py gpu_serving.csv [--every N]

The CSV has the columns of `tapeout validate --data`. Each row is simulated as it was measured: so many clients, lengths
drawn uniformly from 0.8 to 1 times the nominal ones, five requests per client. Prints the error of the median time per
output token and of the throughput (concurrency over the mean end-to-end time), beside those of the
closed-form estimator on the same rows.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tapeout.errors import TapeoutError
from tapeout.estimate.prediction import predict_points
from tapeout.estimate.published import Models, Point, Row, read_rows
from tapeout.serving.cluster import Cluster, Deployment, Pool
from tapeout.serving.deploy import Target
from tapeout.serving.synthetic import ClosedLoop, Lengths
from tapeout.workload.parallelism import Parallelism


def simulated(row: Row, per_client: int = 5) -> tuple[float, float]:
    """(median seconds per output token, output tokens per second) of the row's deployment in simulation."""
    p = row.point
    assert p is not None
    split = Parallelism(tp=p.tp, ep=p.ep, pp=p.pp, attention_dp=p.attention_dp)
    target = Target.accelerator(p.model, p.accelerator, split, p.formats, p.engine)
    nominal = [float(row.labels[name]) for name in ("isl", "osl")]
    clients = max(int(p.concurrency * p.dp), 1)
    policy = target.policy(max_sequences=max(int(p.concurrency), 1), max_step_tokens=max(8192, 2 * clients))
    costs = target.costs(policy, int(sum(nominal)) + 1)
    lengths = [Lengths(n, "uniform", low=0.8, below=True) for n in nominal]
    deployment = Deployment((Pool(costs, policy, p.dp, target.chips),), entry_seconds=target.entry_seconds)
    loop = ClosedLoop(clients, per_client * clients, *lengths)
    found = Cluster(deployment, keep=False).run(loop).records
    return found.tpot.quantile(0.5), clients * (found.output_tokens / found.finished) / found.e2e.mean


def compare(rows: list[Row]) -> dict[str, np.ndarray]:
    """Absolute relative errors by name, [rows]; a row that cannot be simulated counts as 1."""
    points: list[Point] = [r.point for r in rows if r.point is not None]
    estimates = predict_points(points)
    errors = {
        name: np.ones(len(rows)) for name in ("tpot", "throughput", "estimator tpot", "estimator throughput")
    }
    number = 0
    for i, row in enumerate(rows):
        if row.point is None:
            continue
        tpot = row.measured["tpot_s"]
        output = 0.9 * float(row.labels["osl"])
        # what the clients saw, from the same two published figures
        throughput = (
            row.point.concurrency * row.point.dp * output / (row.measured["ttft_s"] + tpot * (output - 1))
        )
        errors["estimator tpot"][i] = abs(estimates.tpot_s[number] / tpot - 1)
        rate = estimates.output_tokens_per_s[number] * row.point.dp
        errors["estimator throughput"][i] = abs(rate / throughput - 1)
        number += 1
        try:
            mine, rate = simulated(row)
        except TapeoutError:
            continue
        errors["tpot"][i], errors["throughput"][i] = abs(mine / tpot - 1), abs(rate / throughput - 1)
    return errors


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every Nth row")
    arguments = parser.parse_args()
    rows = read_rows(arguments.data, Models())[:: arguments.every]
    errors = compare(rows)
    print(f"{len(rows)} rows")
    for name, e in errors.items():
        print(
            f"{name:22} median {np.median(e):6.1%}  mean {e.mean():6.1%}  not simulated {int((e == 1).sum())}"
        )


if __name__ == "__main__":
    main()
