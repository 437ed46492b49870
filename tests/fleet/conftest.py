"""One small plan, built once: the shipped scenario over the shipped chip."""

from __future__ import annotations

import pytest

pytest.importorskip("highspy", reason="planning needs the `plan` extra")

from tapeout.fleet.plan import Plan, build
from tapeout.fleet.scenario import load_scenario


@pytest.fixture(scope="session")
def plan() -> Plan:
    """The plan of ten-gigawatts at the nominal inputs."""
    return build(load_scenario("ten-gigawatts"))
