"""The report of a design run: one page."""

from __future__ import annotations

from tapeout.report.page import Page
from tapeout.search.result import DesignResult


def design_page(result: DesignResult) -> str:
    """The whole page."""
    page = Page(f"A chip for {result.model.name}")
    page.section("Chip", repr(result.chip))
    return page.render()
