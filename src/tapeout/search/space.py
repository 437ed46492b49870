"""The space of designs: every knob of a ChipSpec with its steps, sampled evenly and then refined.

A design is a row of indices, one per knob. Sampling is an additive recurrence with the generalised golden
ratio (Roberts, 2018): low discrepancy in any number of dimensions, the same rows for the same seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.designs import Designs, format_mask
from tapeout.chip.spec import MEMORY_KINDS, NODES, PACKAGES, ChipSpec, Core

Indices = NDArray[np.int16]  # [designs, knobs]

# Formats an engine may take. Every one takes MXFP4, at the rate `double_rate_fp4` says.
FORMATS: tuple[tuple[str, ...], ...] = (
    ("mxfp4", "mxint8"),
    ("mxfp4", "mxfp8"),
    ("mxfp4", "mxint8", "mxfp8"),
    ("mxfp4", "mxint8", "bf16"),
)
# (kind, GiB of a stack): what is sold or in the standards. Stack heights of 8, 12 and 16.
STACKS: tuple[tuple[str, int], ...] = (
    ("hbm2e", 16), ("hbm3", 16), ("hbm3", 24), ("hbm3e", 24), ("hbm3e", 36), ("hbm4", 36), ("hbm4", 48),
    ("hbm4", 64),
)  # fmt: skip
# Requests in flight, one of a port's width each, that cover the latency of HBM at 1.46 GHz; beyond that the port waits.
BASE = ChipSpec(core=Core(outstanding=512))
DEFAULT_NODES = ("N3E",)
DEFAULT_MEMORY = ("hbm3e", "hbm4")


@dataclass(frozen=True)
class Space:
    """The steps of each knob, in the order of `KNOBS`. Numeric steps ascend, so that neighbours are near."""

    node: tuple[str, ...] = DEFAULT_NODES
    clock_ghz: tuple[float, ...] = (0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6, 1.8, 2.0)
    cores: tuple[int, ...] = (16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256)
    rows: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    columns: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    formats: tuple[tuple[str, ...], ...] = FORMATS
    double_rate_fp4: tuple[bool, ...] = (False, True)
    vector_lanes: tuple[int, ...] = (8, 16, 32, 64, 128)
    scratchpad_kibibytes: tuple[int, ...] = (128, 256, 512, 768, 1024, 1536, 2048, 3072, 4096)
    scratchpad_banks: tuple[int, ...] = (8, 16, 32, 64)
    scratchpad_word_bytes: tuple[int, ...] = (32, 64, 128)
    port_bytes: tuple[int, ...] = (32, 64, 128, 256)
    noc_bytes_per_cycle: tuple[int, ...] = (32, 64, 128, 256)
    stack: tuple[tuple[str, int], ...] = tuple(s for s in STACKS if s[0] in DEFAULT_MEMORY)
    stacks: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 8, 10, 12)
    scale_up_lanes: tuple[int, ...] = (8, 16, 32, 48, 64, 72, 96, 128)
    gigabits_per_lane: tuple[int, ...] = (112, 224)
    package: tuple[str, ...] = ("cowos-s",)
    dies: tuple[int, ...] = (1, 2)
    base: ChipSpec = BASE  # what the space does not vary

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Steps of each knob."""
        return np.array([len(getattr(self, k)) for k in KNOBS])

    @property
    def count(self) -> int:
        """Designs in the space."""
        return int(np.prod([float(s) for s in self.sizes]))

    def sample(self, start: int, count: int, seed: int) -> Indices:
        """Rows `start` to `start + count` of the endless even sequence of `seed`."""
        d = len(KNOBS)
        ratio = golden(d)
        step = (1.0 / ratio) ** np.arange(1, d + 1)
        shift = np.random.default_rng(np.random.SeedSequence([seed, 0x5EED])).random(d)
        n = np.arange(start + 1, start + count + 1)[:, None]
        unit = (shift + n * step) % 1.0
        return np.minimum((unit * self.sizes).astype(np.int16), (self.sizes - 1).astype(np.int16))

    def neighbours(self, parents: Indices, count: int, random: np.random.Generator) -> Indices:
        """`count` rows near `parents`: one to four knobs moved, mostly by one step."""
        if not len(parents):
            return parents
        rows = parents[random.integers(len(parents), size=count)].astype(np.int64)
        d = len(KNOBS)
        moved = 1 + np.minimum(random.geometric(0.5, size=count) - 1, 3)
        # The `moved` knobs of each row with the least random keys, among those that have steps to move to.
        keys = np.where(self.sizes > 1, random.random((count, d)), 2.0)
        change = np.argsort(np.argsort(keys, axis=1), axis=1) < moved[:, None]
        size = np.where(random.random((count, d)) < 0.8, 1, 2)
        sign = np.where(random.random((count, d)) < 0.5, -1, 1)
        target = rows + size * sign
        # Beyond an end is back to the other side of where it started.
        target = np.where((target < 0) | (target >= self.sizes), rows - size * sign, target)
        return np.where(change, np.clip(target, 0, self.sizes - 1), rows).astype(np.int16)

    def structured(self, indices: Indices) -> NDArray[np.bool_]:
        """Which rows name a chip at all: cores and stacks go evenly over the dies."""
        v = self.values(indices)
        return (v["cores"] % v["dies"] == 0) & (v["stacks"] % v["dies"] == 0)

    def values(self, indices: Indices) -> dict[str, NDArray[Any]]:
        """The value of each field of `Designs` that the space varies, arrays [designs]."""
        found: dict[str, NDArray[Any]] = {}
        for j, knob in enumerate(KNOBS):
            steps: Sequence[Any] = getattr(self, knob)
            if knob == "stack":
                found["memory_kind"] = np.array([MEMORY_KINDS.index(k) for k, _ in steps])[indices[:, j]]
                found["gibibytes_per_stack"] = np.array([size for _, size in steps])[indices[:, j]]
                continue
            coded = {
                "formats": lambda x: format_mask(x),
                "node": lambda x: NODES.index(x),
                "package": lambda x: PACKAGES.index(x),
            }.get(knob, lambda x: x)
            found[knob] = np.array([coded(x) for x in steps])[indices[:, j]]
        return found

    def designs(self, indices: Indices) -> Designs:
        """The chips of rows of indices."""
        return Designs.of(self.base, **self.values(indices))


KNOBS: tuple[str, ...] = tuple(name for name in Space.__dataclass_fields__ if name != "base")


def golden(d: int) -> float:
    """The root above 1 of x^(d+1) = x + 1."""
    x = 2.0
    for _ in range(64):
        x = (1 + x) ** (1 / (d + 1))
    return x
