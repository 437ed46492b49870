"""Which cycles of a run to write as a waveform, and where."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from tapeout.errors import InputError


@dataclass(frozen=True)
class Waveform:
    """A VCD file of every signal in the cycles from `first` up to `stop`, counted from the first doorbell. A cycle is a
    nanosecond there, the doorbell at 0. Raises InputError for a file or cycles that cannot be."""

    path: Path
    first: int = 0
    stop: int = 2000

    def __post_init__(self) -> None:
        if self.path.suffix != ".vcd":
            raise InputError("--waveform", "", str(self.path), "a file that ends in .vcd")
        if not self.path.parent.is_dir():
            raise InputError("--waveform", "", str(self.path), "a file in a folder that is there")
        if not 0 <= self.first < self.stop:
            raise InputError("--window", "", f"{self.first}:{self.stop}", "FROM:TO with FROM below TO")

    @staticmethod
    def of(path: Path, window: str) -> Waveform:
        """From a command's words; `window` as FROM:TO."""
        found = re.fullmatch(r"(\d{1,15}):(\d{1,15})", window)
        if not found:
            raise InputError("--window", "", window, "FROM:TO, two numbers of cycles")
        return Waveform(path, int(found[1]), int(found[2]))
