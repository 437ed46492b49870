"""Where the tests find cell libraries: TAPEOUT_PDK, or the folder of trimmed copies beside the checkout."""

import os
from pathlib import Path

import pytest

from tapeout.errors import InputError
from tapeout.physical.synthesis import pdk

BESIDE = Path(__file__).parents[4] / "shared" / "pdk"


def kit(name: str) -> pdk.Kit:
    """The library, or a skip."""
    if not os.environ.get(pdk.VARIABLE) and BESIDE.is_dir():
        os.environ[pdk.VARIABLE] = str(BESIDE)
    try:
        return pdk.find(name)
    except InputError as e:
        pytest.skip(f"no {name}: {e}")
