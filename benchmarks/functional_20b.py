"""Load time, decode and prefill rates and peak memory over a checkpoint folder: `python functional_20b.py FOLDER`.

Run it twice: the second time the file is in the page cache. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
from pathlib import Path

import numpy as np


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--threads", type=int, default=0)
    arguments.add_argument("--decode", type=int, default=24, help="tokens")
    arguments.add_argument("--prefill", type=int, default=128, help="tokens")
    arguments.add_argument("--formats", default="mxint8")
    options = arguments.parse_args()
    from tapeout.model import load
    from tapeout.model.checkpoint.folder import Checkpoint
    from tapeout.simulator.functional import Engine

    start = time.perf_counter()
    model = load(options.folder)
    checkpoint = Checkpoint.open(options.folder)
    engine = Engine(model, checkpoint, options.formats, options.threads)
    loaded = time.perf_counter() - start
    after_load = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tokens = np.random.default_rng(0).integers(0, model.vocabulary, options.prefill + options.decode)
    first, second = engine.sequence(), engine.sequence()
    start = time.perf_counter()
    engine.step([(first, tokens[: options.prefill])])
    prefill = time.perf_counter() - start
    engine.step([(second, tokens[:1])])
    times = []
    for token in tokens[options.prefill :]:
        start = time.perf_counter()
        engine.step([(first, [token])])
        times.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    size = sum(f.stat().st_size for f in options.folder.glob("*.safetensors"))
    print(
        json.dumps(
            {
                "threads": options.threads or os.cpu_count(),
                "load_s": round(loaded, 2),
                "peak_after_load_gib": round(after_load / 2**20, 2),
                "prefill_tokens_per_s": round(options.prefill / prefill, 1),
                "decode_tokens_per_s": round(1 / float(np.median(times)), 2),
                "decode_tokens_per_s_best": round(1 / min(times), 2),
                "peak_gib": round(peak / 2**30, 2),
                "peak_over_checkpoint": round(peak / size, 3),
                "load_average": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
