"""MLPerf Inference throughput beside the model's, as a sanity check: nothing is fitted on it.

    python benchmarks/predict_mlperf.py ../shared/validation/mlperf_v5.1.csv

MLPerf reports the best throughput of a tuned system, so the prediction is the best over sharding and batch. Offline
has no latency limit; Server and Interactive cost throughput for latency and are shown against the limit-free
prediction all the same. Lengths are the means of MLPerf's data sets.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path

import numpy as np

from tapeout.errors import TapeoutError
from tapeout.estimate.accelerators import accelerator
from tapeout.estimate.engines import generation
from tapeout.estimate.prediction import predict

# Mean tokens in and out: Open Orca for Llama-2-70B, CNN/DailyMail for Llama-3.1-8B, Open Orca with GSM8K and
# MBXP for Mixtral.
LENGTHS = {"llama2-70b-99": (294, 294), "llama3.1-8b": (778, 73), "mixtral-8x7b": (296, 145)}
MODELS = {"llama2-70b-99": "llama-2-70b", "llama3.1-8b": "llama-3.1-8b", "mixtral-8x7b": "mixtral-8x7b"}
CONCURRENCY = np.array([64.0, 128, 256, 512, 1024, 2048])


def best(model: str, system: str, precision: str, backend: str, lengths: tuple[int, int]) -> float:
    """Output tokens per second and accelerator, best over tensor parallelism and concurrency."""
    found = 0.0
    for tp in (1, 2, 4):
        p = predict(
            model,
            system,
            prompt_tokens=float(lengths[0]),
            output_tokens=float(lengths[1]),
            concurrency=CONCURRENCY,
            tp=tp,
            precision=precision,
            backend=backend,
        )
        rate = np.where(p.fits, p.output_tokens_per_s / tp, 0.0)
        found = max(found, float(rate.max()))
    return found


def main() -> None:
    """Print a line for each result."""
    ratios: dict[str, list[float]] = {}
    with Path(sys.argv[1]).open(encoding="utf-8") as f:
        for row in csv.DictReader(f):
            if row["model"] not in LENGTHS or row["units"] != "Tokens/s":
                continue
            software = row["software"].lower()
            backend = "vllm" if "vllm" in software else "trtllm"
            name = row["accelerator"].lower()
            try:
                key = accelerator(name).key
            except TapeoutError:
                print(f"{row['id']}: {name} is not in the catalog")
                continue
            value = best(
                MODELS[row["model"]], key, row["precision"], generation(backend, None), LENGTHS[row["model"]]
            )
            measured = float(row["per_accel"])
            ratios.setdefault(row["scenario"], []).append(value / measured)
            print(
                f"{row['id']:9s} {row['submitter']:8s} {row['model']:14s} {row['scenario']:12s} {key:7s}"
                f" measured {measured:6.0f} predicted {value:6.0f} tokens/s, ratio {value / measured:.2f}"
            )
    for scenario, values in ratios.items():
        print(f"{scenario}: {len(values)} results, median predicted / measured {np.median(values):.2f}")


if __name__ == "__main__":
    main()
