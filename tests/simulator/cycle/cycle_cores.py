"""The cores that the cycle simulator and the RTL are compared on."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import Any

from tapeout.chip import load, spec


@lru_cache(maxsize=1)
def variants() -> dict[str, spec.Core]:
    """Cores that differ in what time depends on, and are cheap to build."""
    tiny = load("tiny").core

    def of(matrix: dict[str, Any], pad: dict[str, Any], **more: Any) -> spec.Core:
        return replace(
            tiny, matrix=replace(tiny.matrix, **matrix), scratchpad=replace(tiny.scratchpad, **pad), **more
        )

    return {
        "tiny": tiny,
        "narrow port": of({"rows": 1}, {"word_bytes": 64, "banks": 8}, port_bytes=32, outstanding=40),
        "few requests": of({"rows": 2}, {"banks": 2}, outstanding=12),
        "eight columns": of({"columns": 8, "rows": 2}, {"word_bytes": 256}, port_bytes=128),
        "more lanes": of({"rows": 3, "double_rate_fp4": False}, {"banks": 8}, vector_lanes=16),
        "sums in turn": of({"rows": 1}, {"word_bytes": 128, "banks": 8}, vector_lanes=32),
    }
