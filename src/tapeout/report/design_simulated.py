"""The chosen chip in the cycle simulator, in the terminal's line and in the report's section."""

from __future__ import annotations

from tapeout.report.markup import Markup, tag
from tapeout.report.numbers import figures, percent, si
from tapeout.report.page import Page, fold, table
from tapeout.search.confirm import Confirmation
from tapeout.search.result import DesignResult


def signed(difference: float) -> str:
    """A relative difference with its sign.

    >>> signed(0.0312), signed(-0.2)
    ('+3.1 %', '-20.0 %')
    """
    return f"{difference * 100:+.1f} %"


def line(c: Confirmation) -> str:
    """One step for the terminal."""
    if c.compared is None:
        return f"{c.step} of {c.work}: not simulated: {c.missing}"
    x = c.compared
    return (
        f"{c.step} of {c.work}: estimated {si(x.estimated_s, 's')}, simulated {si(x.simulated_s, 's')}"
        f" ({signed(x.difference)})"
    ).replace("\u202f", ",")


def simulated_section(page: Page, result: DesignResult) -> None:
    """Estimate and simulation of both steps, and of every operator of each."""
    steps = [c for c in result.confirmations if c.compared is not None]
    missing = [c for c in result.confirmations if c.compared is None]
    content: list[object] = []
    if steps:
        rows = []
        for c in steps:
            assert c.compared is not None
            x = c.compared
            rows.append(
                (
                    f"{c.step}: {c.work}", si(x.estimated_s, "s"), si(x.simulated_s, "s"), signed(x.difference),
                    percent(x.others_s / x.simulated_s), f"{x.cycles:,}", f"{x.instructions:,}",
                )
            )  # fmt: skip
        content.append(
            table(
                [
                    "step",
                    "estimated",
                    "simulated",
                    "difference",
                    "of it others",
                    "cycles run",
                    "instructions",
                ],
                rows,
                numeric=range(1, 7),
                caption="“Others” is what other cores and chips take: collectives, exchanges on the mesh of cores,"
                " copies of activations. It is not simulated but waited for, as long as the estimate says. A few layers"
                " are run; the rest take as long as those.",
            )
        )
    content += [fold(f"{c.step}, operator by operator", _operators(c)) for c in steps]
    content += [tag("p", f"{c.step} of {c.work}: not simulated: {c.missing}") for c in missing]
    page.section(
        "The cycle simulator's word",
        *content,
        lead="The busiest core's share of both steps, as a program of the instruction set, cycle by cycle: engines,"
        " scratchpad banks, queues and the core's part of the memory's bandwidth.",
        id="simulated",
    )


def _operators(c: Confirmation) -> Markup:
    assert c.compared is not None
    x = c.compared
    return table(
        ["operator", "estimated µs", "simulated µs", "difference, of the step"],
        [
            (name, figures(e * 1e6), figures(s * 1e6), signed((s - e) / x.estimated_s))
            for name, e, s in x.stages
            if max(e, s) > 0.002 * x.estimated_s
        ],
        numeric=[1, 2, 3],
        caption="Simulated cycles count for the operator whose instruction is the oldest not done, so a wait for"
        " weights or for other chips counts where it is felt.",
    )
