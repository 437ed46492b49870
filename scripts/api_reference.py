"""Write the API reference: one HTML page per module, from the docstrings.

pip install -e '.[test]' && python scripts/api_reference.py [FOLDER]     # default: build/api
"""

from __future__ import annotations

import pkgutil
import sys
import warnings
from pathlib import Path

import tapeout


def modules() -> list[str]:
    """The package and what is directly in it, but the commands, which `tapeout VERB --help` documents."""
    found = [m.name for m in pkgutil.iter_modules(tapeout.__path__, "tapeout.")]
    return ["tapeout", *(name for name in found if name != "tapeout.cli")]


def write(folder: Path) -> Path:
    """Write the pages into `folder`; returns the page to begin with."""
    import pdoc

    with warnings.catch_warnings():
        # the top-level names are loaded on first use, which pdoc takes for absent submodules; names that
        # dataclasses borrow from other modules it cannot link
        warnings.filterwarnings(
            "ignore", message=r"Found '\w+' in tapeout.__all__|Error parsing type annotation"
        )
        pdoc.pdoc(*modules(), output_directory=folder)
    return folder / "tapeout.html"


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "build/api")
    print(write(target))
