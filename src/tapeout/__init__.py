"""tapeout: from a language model to its own inference chip, and from the chip to the fleet.

The public API is what this module names; it is imported on first use, so `import tapeout` is quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# public name → module that defines it
_API: dict[str, str] = {
    "compile": "tapeout.compiler.pipeline",
    "design": "tapeout.report.design",
    "floorplan": "tapeout.physical.floorplan",
    "handoff": "tapeout.physical.handoff",
    "plan": "tapeout.fleet.plan",
    "predict": "tapeout.estimate.prediction",
    "run": "tapeout.report.run",
    "serve": "tapeout.serving.endpoint.server",
    "simulate": "tapeout.serving.simulate",
    "synthesise": "tapeout.physical.synthesis.flow",
    "verify": "tapeout.simulator.reference.verify",
}

__all__ = ["__version__", *_API]


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(import_module(_API[name]), name)
    raise AttributeError(f"module 'tapeout' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
