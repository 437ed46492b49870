"""Write a random checkpoint of gpt-oss-20b's exact shapes: `python functional_write_20b.py FOLDER [--layers N]`.

13 GiB in one safetensors file, written tensor by tensor; weights mean nothing, sizes and formats do. Delete it
afterwards. Fewer layers make a smaller file with the same layers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from tapeout.model import load
from tapeout.model.catalog import resolve


def main() -> None:
    """Write config.json and model.safetensors."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--layers", type=int, default=24)
    options = arguments.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(resolve("gpt-oss-20b").text())
    config["num_hidden_layers"] = options.layers
    config["layer_types"] = config["layer_types"][: options.layers]
    (options.folder / "config.json").write_text(json.dumps(config))
    model = load(options.folder)

    stored = [(t, s) for t in model.tensors for s in t.stored()]
    header, position = {}, 0
    for _, s in stored:
        header[s.name] = {"dtype": s.dtype, "shape": s.shape, "data_offsets": [position, position + s.bytes]}
        position += s.bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 64)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, 1 << 26, dtype=np.uint8)  # any code is a good MXFP4 element
    normal = (rng.standard_normal(1 << 25) * 0.02).astype(np.float32)
    normal_bits = (normal.view(np.uint32) >> 16).astype(np.uint16)
    with (options.folder / "model.safetensors").open("wb") as f:
        f.write(len(text).to_bytes(8, "little") + text)
        for t, s in stored:
            if s.dtype == "U8" and s.name.endswith("_scales"):
                source = np.full(s.bytes, 120, np.uint8).view(np.uint8)
            elif s.dtype == "U8":
                source = noise
            elif t.role == "norm":
                source = np.full(s.bytes // 2, 0x3F80, np.uint16).view(np.uint8)
            else:
                source = normal_bits.view(np.uint8)
            left = s.bytes
            while left:
                f.write(source[: min(left, len(source))].data)
                left -= min(left, len(source))
    size = (options.folder / "model.safetensors").stat().st_size
    print(f"{options.folder}: {size / 2**30:.2f} GiB, {model.parameters:,} parameters")


if __name__ == "__main__":
    main()
