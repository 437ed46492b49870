"""Published totals from their inputs, within 15 %, and what a chip serves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tapeout.errors import DoesNotHold
from tapeout.fleet.published import Comparison, comparisons, systems, token_costs
from tapeout.fleet.service import SHARES, Load, solve

CHAT = Load("gpt-oss-120b", 3000, 0.6, 500, 0.015, 2.0)


@pytest.mark.parametrize("c", comparisons(), ids=lambda c: c.what)
def test_within_fifteen_per_cent(c: Comparison) -> None:
    assert abs(c.error) <= 0.15, f"{c.found:g} {c.unit}, published {c.published:g}"


def test_deepseek_on_h200_costs_no_more_than_the_published_bounds() -> None:
    for t in token_costs():
        if t.what.startswith("H200"):
            assert t.found is not None and 0.1 * t.bound < t.found <= t.bound


def test_every_layer_of_a_rack_adds_up() -> None:
    _, v = systems()
    for key in ("h100", "gb200", "mi355x", "tpu7x"):
        s = f"system.{key}"
        parts = sum(
            v[f"{s}.{k}"]
            for k in ("chip_price", "tray_price", "rack_price", "network_price", "storage_price")
        )
        np.testing.assert_allclose(v[f"{s}.it_price"], parts)
        watts = v[f"chip.{key}.power"] + v[f"{s}.other_power"]
        np.testing.assert_allclose(v[f"{s}.it_power"], watts)
        assert float(v[f"{s}.rack_power"][0, 0]) <= float(v[f"{s}.rack_limit"][0, 0])


@pytest.mark.parametrize("accelerator", ["flagship", "gb300"])
def test_faster_software_and_looser_targets_serve_more(accelerator: str) -> None:
    s = solve(accelerator, CHAT)
    assert len(s.rate) == len(SHARES) and np.all(np.diff(s.rate) >= 0)
    assert s.tpot_p90 <= CHAT.tpot * (1 + 1e-9) and s.ttft_p90 <= CHAT.ttft * (1 + 1e-6)
    assert np.all(solve(accelerator, replace(CHAT, tpot=0.03)).rate >= s.rate * (1 - 1e-9))
    assert np.all(solve(accelerator, replace(CHAT, output=1000)).rate <= s.rate)
    assert np.all(s.watts[s.rate > 0] > s.idle_watts * 0.9)


def test_what_cannot_be_served_is_said() -> None:
    with pytest.raises(DoesNotHold, match="cannot serve"):
        solve("h100", replace(CHAT, tpot=1e-5))
    with pytest.raises(DoesNotHold, match="does not fit"):
        solve("tiny", Load("deepseek-r1", 100, 0.0, 100, 1.0, 10.0))
