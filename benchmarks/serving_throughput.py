"""Simulated requests per CPU-second of the serving simulation, and its memory over millions of requests.

    python benchmarks/serving_throughput.py [TRACE.csv] [--millions N]

TRACE.csv: for instance the Azure 2023 conversation trace (github.com/Azure/AzurePublicDataset); a Poisson load of
the same means stands in for it where it is not given. Peers on the same kind of machine, requests per
CPU-second: splitwise-sim 1,280; Vidur 470; DistServe 284-431; BLIS 144-274; Frontier 30.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path

from tapeout.chip.toml import load as load_chip
from tapeout.model import load
from tapeout.serving import traces
from tapeout.serving.cluster import Cluster, Deployment, Pool
from tapeout.serving.deploy import Target
from tapeout.serving.synthetic import Lengths, poisson, stream

PROMPT, OUTPUT = Lengths(1155, "lognormal", 1.1), Lengths(211, "lognormal", 0.8)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("trace", type=Path, nargs="?")
    parser.add_argument("--millions", type=float, default=0.0)
    arguments = parser.parse_args()
    target = Target.chip(load("gpt-oss-120b"), load_chip("flagship"))
    policy = target.policy()
    costs = target.costs(policy)
    requests = traces.read(arguments.trace) if arguments.trace else poisson(19_366, 5.53, PROMPT, OUTPUT)
    print(f"{len(requests)} requests: {requests.source}")
    print(f"{'replicas':>8} {'times the rate':>14} {'requests per CPU-second':>24}")
    for replicas, scale in ((1, 1), (1, 4), (4, 1), (4, 16), (16, 64)):
        cluster = Cluster(Deployment((Pool(costs, policy, replicas),)))
        before = time.process_time()
        cluster.run(requests.scaled(scale))
        spent = time.process_time() - before
        print(f"{replicas:8} {scale:14} {len(requests) / spent:24,.0f}")
    count = int(arguments.millions * 1e6)
    for size in (count // 10, count) if count else ():
        before = time.process_time()
        Cluster(Deployment((Pool(costs, policy, 8),)), keep=False).run(stream(size, 60.0, PROMPT, OUTPUT))
        spent = time.process_time() - before
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{size:,} requests: {size / spent:,.0f} per CPU-second, peak memory {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
