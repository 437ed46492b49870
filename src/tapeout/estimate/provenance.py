"""Where fitted parameters come from: the tables, their hashes, and what was measured in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tapeout.errors import InputError, Phrase
from tapeout.estimate.calibration import calibrate
from tapeout.estimate.parameters import Parameters
from tapeout.estimate.prediction import architecture
from tapeout.estimate.published import Row

# What the columns tell a table to be; the licences are those of the public sources.
SOURCES = {
    "serving": "silicon_sample.csv of ai-dynamo/aiconfigurator (Apache-2.0), largely InferenceX runs, cleaned",
    "energy": "ML.ENERGY leaderboard, ml-energy/leaderboard",
}


def calibrated(rows: Sequence[Row]) -> Parameters:
    """`calibrate`, with an error for the user where no row can be used."""
    try:
        return calibrate(rows)
    except ValueError as e:
        raise InputError("calibration", "rows", Phrase("nothing"), f"rows that can be used ({e})") from None


def with_provenance(parameters: Parameters, tables: Mapping[Path, Sequence[Row]]) -> Parameters:
    """`parameters` with the tables they were fitted to: name, SHA-256, rows, and what was measured there."""
    data: dict[str, object] = {}
    points = []
    for path, rows in tables.items():
        points += [r.point for r in rows if r.point is not None]
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        kind = rows[0].kind
        data[path.name] = f"{len(rows)} {kind} rows, sha256 {digest}; as published: {SOURCES[kind]}"
    seen: dict[str, object] = {
        "accelerators": sorted({p.accelerator.key for p in points}),
        "architectures": sorted({architecture(p.model) for p in points}),
        "pairs": sorted({f"{p.accelerator.key} {architecture(p.model)}" for p in points}),
    }
    return replace(parameters, provenance={"data": data, "measured": seen})
