"""A pytest plugin: `pytest -p seed_bug --bug NAME tests/chip/rtl/…` runs tests against a seeded bug."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bug", help="name of the mutation of tapeout.chip.verification.mutants")


def pytest_configure(config: pytest.Config) -> None:
    from tapeout.chip.verification.mutants import MUTANTS
    from tapeout.chip.verification.mutation import install

    (chosen,) = [x for x in MUTANTS if x.name == config.getoption("--bug")]
    install(chosen)
