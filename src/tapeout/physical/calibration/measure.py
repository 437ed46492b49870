"""Configurations through synthesis, with results kept by a hash of what went in."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tapeout.chip.rtl.block import Verilog, verilog
from tapeout.errors import DoesNotHold
from tapeout.physical.calibration.configurations import Configuration
from tapeout.physical.synthesis import quick


@dataclass(frozen=True)
class Measured:
    """One configuration in one library. Area in µm² of cells, register-to-register delay in ns, without wires."""

    library: str
    block: str
    parameters: str  # name=value, joined by spaces
    area_um2: float
    cells: int
    flip_flops: int
    period_ns: float
    target_ns: float
    rtl: str  # first digits of the Verilog's SHA-256

    @property
    def values(self) -> dict[str, float]:
        """The parameters by name."""
        return {k: float(v) for k, v in (x.split("=") for x in self.parameters.split())}


def measure(
    configurations: Iterable[Configuration],
    liberty: Path,
    library: str,
    cache: Path,
    progress: Callable[[str], None] | None = None,
    fresh: bool = True,
) -> list[Measured]:
    """Area and delay of each configuration mapped to `liberty`. What is in `cache` (a folder) is not done again;
    without `fresh` nothing else is done either, and configurations that are not there are left out.

    Raises InputError for a bad library.
    """
    cache.mkdir(parents=True, exist_ok=True)
    cells = hashlib.sha256(quick.liberty_text(liberty).encode()).hexdigest()
    flow = f"{version('pyosys')} {quick.STRATEGIES}"
    found = []
    for c in configurations:
        design = verilog(c.build())
        rtl = hashlib.sha256(design.text.encode()).hexdigest()
        key = hashlib.sha256(f"{rtl}{cells}{flow}{c.boxes}{c.target_ns}".encode()).hexdigest()[:24]
        kept = cache / f"{key}.json"
        if kept.exists():
            table = json.loads(kept.read_text())
        elif not fresh:
            continue
        else:
            one = _apart(design, liberty, c)
            table = {
                "area_um2": one.area_um2,
                "cells": one.cells,
                "flip_flops": one.flip_flops,
                "period_ns": one.period_ns,
            }
            kept.write_text(json.dumps(table))
        m = Measured(library, c.block, c.fields, target_ns=c.target_ns, rtl=rtl[:12], **table)
        found.append(m)
        if progress is not None:
            progress(f"{library} {m.block} {m.parameters}: {m.area_um2:.0f} um2, {m.period_ns:.3f} ns")
    return found


def _apart(design: Verilog, liberty: Path, c: Configuration) -> quick.Result:
    """Synthesis in a process of its own: Yosys ends the process it runs in where ABC fails, as its restructuring does
    on some large blocks. Then the first mapping is taken, which restructures least."""
    for target in (c.target_ns, float("inf")):
        context = multiprocessing.get_context("fork")
        here, there = context.Pipe(duplex=False)

        def run(target: float = target, there: Any = there) -> None:
            there.send(quick.synthesise(design, liberty, target_ns=target, boxes=c.boxes))

        child = context.Process(target=run)
        child.start()
        there.close()
        try:
            return here.recv()
        except EOFError:
            continue
        finally:
            child.join()
    raise DoesNotHold(f"{c.block} {c.fields}: synthesis failed")
