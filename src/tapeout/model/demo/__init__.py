"""The demo model: a gpt-oss of 2.2 million parameters with its weights, small enough to ship.

The folder is a checkpoint as published on Hugging Face, made by scripts/train_demo.py; metrics.json says how
and how good it is, held_out.txt holds chapters that it has not seen (separated by form feeds).
"""

from __future__ import annotations

from pathlib import Path

NAME = "demo"
END_OF_TEXT = 1  # the token between the chapters it was trained on
FOLDER = Path(__file__).parent


def held_out() -> list[str]:
    """The chapters that the model has not seen."""
    return (FOLDER / "held_out.txt").read_text(encoding="utf-8").split("\f\n")
