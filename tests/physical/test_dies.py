"""The area model on published dies: each predicted by a factor that the others give."""

from __future__ import annotations

import numpy as np
import pytest

from tapeout.physical import shipped
from tapeout.physical.dies import MISSED, UNLIKE, compare, dies


def test_published_dies_within_a_quarter() -> None:
    found = compare()
    held = [c for c in found if c.die.key not in MISSED]
    assert len(held) >= 9 and {"gh100", "ga100", "tpu4", "gc200", "d1"} <= {c.die.key for c in held}
    for c in held:
        assert abs(c.error) < 0.25, f"{c.die.name}: {c.error:+.0%}"
    assert np.median([abs(c.error) for c in found]) < 0.15


def test_one_factor_serves_all() -> None:
    """No die has a factor of its own: what the others give differs by little from one left-out die to the next."""
    factors = [c.factor for c in compare() if c.die.key not in UNLIKE]
    assert max(factors) / min(factors) < 1.15


def test_a_die_takes_no_part_in_its_own_prediction() -> None:
    view = shipped().nominal()
    before = {c.die.key: c.modelled for c in compare(view)}
    assert all(c.die.source and c.die.mm2 > 0 for c in compare(view))
    parts = {c.die.key: c.arithmetic + c.control + c.sram + c.phys + c.top for c in compare(view)}
    assert parts == pytest.approx(before)
    assert len({d.key for d in dies()}) == len(dies())
