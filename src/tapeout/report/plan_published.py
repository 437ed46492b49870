"""The plan's page on how its formulas do on published totals."""

from __future__ import annotations

from tapeout.fleet.published import TOKENS, comparisons, token_costs
from tapeout.report.markup import Markup, tag
from tapeout.report.numbers import figures
from tapeout.report.page import table


def checks() -> list[Markup]:
    """Totals of the same formulas from the parts of known systems, beside the published ones."""
    rows = [
        [c.what, figures(c.published), figures(c.found), c.unit, f"{100 * c.error:+.1f} %", c.source]
        for c in comparisons()
    ]
    bounds = [
        [t.what, t.published, "out of reach" if t.found is None else figures(t.found), t.verdict]
        for t in token_costs()
    ]
    return [
        tag(
            "p",
            "The formulas that build the own chip's racks, sites and hours build these too, from the "
            "price and power of "
            "their parts. The parts of the GB200 site are from the same note as its totals, and the "
            "price of the GB300 was "
            "inferred from its published hour, so those lines prove the adding up and no more; the "
            "others are predictions.",
        ),
        table(["", "published", "here", "unit", "error", "source"], rows, numeric=(1, 2, 4)),
        table([f"{TOKENS}, $ a million tokens", "published", "here", ""], bounds, numeric=(2,)),
    ]
