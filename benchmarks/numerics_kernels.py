"""GMAC/s of the matrix kernels on one thread, by weights, instruction set and rows: `python numerics_kernels.py`.

K = N = 2880, MXINT8 activations; beside them a float32 BLAS product of the same shape, which is not the same
arithmetic. Best of several rounds, and the load of the machine. Prints one JSON object.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from tapeout.numerics import fast, library
from tapeout.numerics.formats import FORMATS

K = N = 2880
ROWS = (1, 4, 16, 64)


def rate(run: Callable[[], object], macs: int) -> float:
    """GMAC/s of the fastest of some rounds."""
    best = np.inf
    start = time.perf_counter()
    while time.perf_counter() - start < 0.7:
        t = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - t)
    return round(macs / best / 1e9, 1)


def main() -> None:
    """Measure and print."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, K)).astype(np.float32)
    weights = {
        "mxfp4 as published": fast.as_weights(fast.quantise(x, FORMATS["mxfp4"])),
        "mxint8 packed": fast.prepare(x, FORMATS["mxint8"]),
        "mxint8 rows": fast.as_weights(fast.quantise(x, FORMATS["mxint8"])),
        "mxfp8": fast.as_weights(fast.quantise(x, FORMATS["mxfp8"])),
    }
    library.set_threads(1)
    results: dict[str, dict[int, float]] = {"float32 BLAS": {}}
    for m in ROWS:
        a32 = rng.standard_normal((m, K)).astype(np.float32)
        a = fast.quantise(a32, FORMATS["mxint8"])
        results["float32 BLAS"][m] = rate(lambda a32=a32: a32 @ x.T, m * N * K)
        for level in library.LEVELS:
            if library.set_level(level) != level:
                continue
            for name, w in weights.items():
                row = results.setdefault(f"{name}, {level}", {})
                row[m] = rate(lambda a=a, w=w: fast.matmul(a, w), m * N * K)
    print(json.dumps({"GMAC/s by rows": results, "load_average": os.getloadavg()[0]}, indent=1))


if __name__ == "__main__":
    main()
