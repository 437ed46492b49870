"""The folded Clos in closed form."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tapeout.fleet.network import clos


@pytest.mark.parametrize(
    ("endpoints", "radix", "tiers", "ports"),
    [(64, 64, 1, 1), (2048, 64, 2, 3), (65536, 64, 3, 5), (65537, 64, 4, 7)],
)
def test_tiers_of_a_fat_tree(endpoints: int, radix: int, tiers: int, ports: int) -> None:
    f = clos(endpoints, radix, 1.0)
    assert (float(f.tiers), float(f.ports)) == (tiers, ports)
    assert float(f.transceivers) == 2 * tiers  # two ends of the link up to each tier, the leaf's included


def test_switches_of_a_full_three_tier_fat_tree() -> None:
    """5 r² / 4 switches for r³ / 4 hosts (Al-Fares et al., 2008)."""
    r = 48
    hosts = r**3 // 4
    assert float(clos(hosts, r, 1.0).ports) * hosts / r == pytest.approx(5 * r**2 / 4)


@given(st.integers(2, 10**6), st.sampled_from([32, 64, 128, 256]), st.floats(1, 8))
def test_oversubscription_never_costs_more(endpoints: int, radix: int, over: float) -> None:
    assert clos(endpoints, radix, over).ports <= clos(endpoints, radix, 1.0).ports + 1e-9


def test_copper_to_the_leaf_saves_two_modules() -> None:
    assert clos(4096, 64, 1.0).transceivers - clos(4096, 64, 1.0, optical_leaf=False).transceivers == 2
