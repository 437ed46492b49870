"""Run Yosys passes in a process of its own, with a bound on memory: `python yosys_job.py PASSES MEBIBYTES`.

A process, because Yosys ends the process it is in on an error and keeps what it allocated; nothing of the package is
imported here.
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path


def main(passes: Path, mebibytes: int) -> None:
    """Run each line of the file as a pass."""
    resource.setrlimit(resource.RLIMIT_AS, (mebibytes * 2**20,) * 2)
    from pyosys import libyosys

    design = libyosys.Design()
    for line in passes.read_text().splitlines():
        design.run_pass(line)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
