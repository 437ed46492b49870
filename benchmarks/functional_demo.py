"""Decode and prefill of the demo model, side by side with transformers: `python functional_demo.py [--threads 1]`.

Same checkpoint, same tokens, same threads; transformers in FP32 and in BF16 with its KV cache, eager and as
fast as `model(...)` goes (no sampling on either side). Rounds alternate, and the best of each is compared, so that a
busy machine hurts both alike. Prints one JSON object; rates in tokens/s.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from tapeout.model import demo, load
from tapeout.model.checkpoint.folder import Checkpoint
from tapeout.simulator.functional import Engine


def reference(dtype: str, threads: int) -> tuple[Callable[[np.ndarray], Any], Callable[[Any, int], Any]]:
    """(prefill, decode one token) of transformers."""
    import torch
    import transformers

    torch.set_num_threads(threads)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        demo.FOLDER,
        dtype=getattr(torch, dtype),
        quantization_config=transformers.Mxfp4Config(dequantize=True),
    ).eval()

    def prefill(tokens: np.ndarray) -> Any:
        with torch.inference_mode():
            return model(torch.tensor(tokens[None]), use_cache=True, logits_to_keep=1).past_key_values

    def decode(cache: Any, token: int) -> Any:
        with torch.inference_mode():
            return model(torch.tensor([[token]]), past_key_values=cache, use_cache=True).past_key_values

    return prefill, decode


def ours(formats: str, threads: int) -> tuple[Callable[[np.ndarray], Any], Callable[[Any, int], Any]]:
    """(prefill, decode one token) of the functional simulator."""
    engine = Engine(load("demo"), Checkpoint.open(demo.FOLDER), formats, threads)

    def prefill(tokens: np.ndarray) -> Any:
        sequence = engine.sequence()
        engine.step([(sequence, tokens)])
        return sequence

    def decode(sequence: Any, token: int) -> Any:
        engine.step([(sequence, [token])])
        return sequence

    return prefill, decode


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    arguments.add_argument("--prompt", type=int, default=512, help="tokens")
    arguments.add_argument("--decode", type=int, default=48, help="tokens")
    arguments.add_argument("--rounds", type=int, default=5)
    o = arguments.parse_args()
    runs = {
        "mxint8": ours("mxint8", o.threads),
        "transformers float32": reference("float32", o.threads),
        "transformers bfloat16": reference("bfloat16", o.threads),
    }
    tokens = np.random.default_rng(0).integers(3, 1000, o.prompt)
    best = {name: {"prefill": 0.0, "decode": 0.0} for name in runs}
    for _ in range(o.rounds):
        for name, (prefill, decode) in runs.items():
            start = time.perf_counter()
            prefill(tokens)
            rate = o.prompt / (time.perf_counter() - start)
            cache = prefill(tokens[:64])
            start = time.perf_counter()
            for token in tokens[: o.decode]:
                cache = decode(cache, int(token))
            best[name]["prefill"] = max(best[name]["prefill"], rate)
            best[name]["decode"] = max(best[name]["decode"], o.decode / (time.perf_counter() - start))
    ratio = {
        k: best["mxint8"][k] / max(v[k] for name, v in best.items() if name != "mxint8")
        for k in ("prefill", "decode")
    }
    rounded = {name: {k: round(v) for k, v in rates.items()} for name, rates in best.items()}
    ratios = {k: round(v, 2) for k, v in ratio.items()}
    print(
        json.dumps(
            {
                "threads": o.threads,
                **rounded,
                "times_transformers": ratios,
                "load_average": os.getloadavg()[0],
            }
        )
    )


if __name__ == "__main__":
    main()
