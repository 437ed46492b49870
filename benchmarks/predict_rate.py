"""Serving-point predictions per second on one core, through the Python API.

python benchmarks/predict_rate.py
"""

from __future__ import annotations

import time
from itertools import product

from tapeout.estimate.accelerators import accelerator
from tapeout.estimate.prediction import predict_points
from tapeout.estimate.published import Point, formats_of
from tapeout.model.load import load

SECONDS = 3.0


def points() -> list[Point]:
    """Models × accelerators × sharding × lengths × concurrency, as a comparison table needs them."""
    found = []
    for name, precision in (("gpt-oss-120b", ""), ("llama-3.1-70b", "fp8"), ("deepseek-r1", "")):
        model = load(name)
        formats = formats_of(model, precision, "", "", [])
        for key in ("h100", "h200", "b200", "mi355x"):
            sheet = accelerator(key)
            for tp, prompt, output, concurrency in product(
                (1, 2, 4, 8), (128, 1024, 8192), (256, 1024, 8192), (1, 2, 4, 8, 16, 32, 64, 128, 256)
            ):
                found.append(Point(model, formats, sheet, "vllm", prompt, output, concurrency, tp=tp))
    return found


def main() -> None:
    """Print the rate."""
    table = points()
    predict_points(table)
    done, start = 0, time.process_time()
    while time.process_time() - start < SECONDS:
        predict_points(table)
        done += len(table)
    print(f"{done / (time.process_time() - start):,.0f} serving-point predictions per second on one core")


if __name__ == "__main__":
    main()
