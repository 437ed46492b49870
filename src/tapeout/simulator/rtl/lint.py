"""Verilator's opinion of a block's Verilog, every warning on except those that generated text cannot avoid."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from tapeout.chip.rtl.block import Verilog
from tapeout.simulator.rtl.build import verilator_root

WAIVED = {
    "WIDTHEXPAND": "operands of different widths are extended, which is what Amaranth means by them",
    "CASEINCOMPLETE": "a default is assigned before every case; what is not becomes LATCH, which is on",
    "DECLFILENAME": "all modules are in one file",
    "UNUSEDSIGNAL": "upper bits of sums whose range is known, and aliases of ports, are left to synthesis",
    "CMPCONST": "a comparison with the end of its range, where parameters make it so: masks of a word's last granule",
    "PINCONNECTEMPTY": "outputs of placed blocks that this parent does not need",
}
# `!vector` is how Yosys writes a comparison with zero, and means that.
LOGICAL_NOT = "Logical operator LOGNOT expects 1 bit"


def lint(design: Verilog) -> list[str]:
    """The warnings and errors, one line each; empty if clean."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "design.v")
        path.write_text(design.text)
        command = [str(verilator_root() / "bin" / "verilator_bin"), "--lint-only", "-Wall", "--no-timing"]
        command += [f"-Wno-{name}" for name in WAIVED] + ["--top-module", design.top, str(path)]
        done = subprocess.run(
            command, capture_output=True, text=True, env={"VERILATOR_ROOT": str(verilator_root())}
        )
        lines = [x.replace(str(path), "design.v") for x in done.stderr.splitlines() if x.startswith("%")]
        return [x for x in lines if not x.startswith("%Error: Exiting") and LOGICAL_NOT not in x]
