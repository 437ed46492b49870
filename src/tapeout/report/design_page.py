"""The report of a design run: one page, assembled."""

from __future__ import annotations

from tapeout import __version__
from tapeout.report.design_chip import chip_section, step_section
from tapeout.report.design_compare import cases_section, compare_section, reasons_section, times2
from tapeout.report.design_need import need_section
from tapeout.report.design_search import certainty_section, search_section, sources_section
from tapeout.report.design_simulated import simulated_section
from tapeout.report.numbers import figures
from tapeout.report.page import Page, Tile, tiles
from tapeout.search.result import DesignResult

REFERENCE = "h200"


def design_page(result: DesignResult) -> str:
    """The whole page."""
    page = Page(
        f"A chip for {result.model.name}",
        lead=result.scenario.describe(),
        verdict=verdict(result),
        footer=f"tapeout {__version__}; seed {result.seed}. This file holds all it shows and opens without a"
        " network.",
    )
    page.section("In short", headline(result), id="short")
    need_section(page, result)
    chip_section(page, result)
    step_section(page, result)
    simulated_section(page, result)
    compare_section(page, result)
    reasons_section(page, result)
    cases_section(page, result)
    search_section(page, result)
    certainty_section(page, result)
    sources_section(page, result)
    return page.render()


def verdict(result: DesignResult) -> str:
    """One or two sentences: what the chip is and whether it beats what one can buy."""
    c, s = result.chip, result.silicon
    die = f"{c.dies} dies" if c.dies > 1 else "one die"
    what = (
        f"{die} of {s.die_mm2.value:.0f} mm² in {c.node} with {c.memory.stacks} stacks of"
        f" {c.memory.kind.upper()},"
        f" {s.design_watts.value:.0f} W."
    )
    meeting = [r for r in result.rivals if r.operation is not None and r.operation.meets]
    if not meeting:
        return f"{what} No accelerator of the catalog does this work within the targets."
    best = max(meeting, key=lambda r: r.operation.tokens_per_joule if r.operation else 0.0)
    gain = result.advantage(best)
    reference = next((r for r in meeting if r.key == REFERENCE), None)
    of = f"{best.name}, the best of {len(meeting)} accelerators"
    told = f"{times2(gain or 0)} the tokens per joule of {of}"
    if reference is not None and reference is not best:
        told += f", and {times2(result.advantage(reference) or 0)} those of {reference.name}"
    losing = (gain or 0) < 1
    told = f"{what} {'Only ' if losing else ''}{told}, at the same work within the same targets."
    kinds: dict[str, float] = {}
    for step in result.reasons[1:]:
        kinds[step.family] = kinds.get(step.family, 1.0) * step.factor
    top = sorted(kinds.items(), key=lambda x: -x[1])[:4]
    if top:
        told += f" What makes the difference to {result.reasons_from}: {', '.join(f'{k} {times2(v)}' for k, v in top)}."
    ranged = result.ranges["tokens_per_joule"]
    if ranged.median:
        less = times2(ranged.median / result.operation.tokens_per_joule)
        told += (
            f" Inputs disagree: drawn together they give {figures(ranged.median)} tokens/s per watt in the median"
            f" ({figures(ranged.low)} to {figures(ranged.high)}), {less} the figure at their values."
        )
    return f"{told} The chip is estimated, not yet built; the accelerators are models calibrated on measurements."


def headline(result: DesignResult) -> object:
    """The figures one looks for first."""
    o, r = result.operation, result.ranges
    reference = next((x for x in result.rivals if x.key == REFERENCE), None)
    other = reference.operation if reference and reference.operation and reference.operation.meets else None

    def against(ours: float, theirs: float | None) -> tuple[str | None, str]:
        if theirs is None or not theirs > 0 or reference is None:
            return None, ""
        return f"{times2(ours / theirs)} {reference.name}", "good" if ours >= theirs else "bad"

    def tile(label: str, value: str, unit: str, ours: float, theirs: float | None) -> Tile:
        note, tone = against(ours, theirs)
        return Tile(label, value, unit, note, tone)

    per_watt, made = r["tokens_per_joule"], result.silicon.unit_dollars
    return [
        tiles(
            [
                tile("tokens/s per watt", figures(o.tokens_per_joule), "", o.tokens_per_joule,
                     other.tokens_per_joule if other else None),
                tile("tokens/s per chip", figures(o.tokens_per_s), "", o.tokens_per_s,
                     other.tokens_per_s if other else None),
                tile("a million tokens", f"{o.dollars_per_million:.3f}", "$", o.tokens_per_dollar,
                     other.tokens_per_dollar if other else None),
                Tile("time per output token", figures(o.tpot_ms), "ms",
                     f"{1e3 / o.tpot_ms:.0f} tokens/s for each user"),
                Tile("time to first token", figures(o.ttft_ms), "ms",
                     f"prompt of {result.scenario.prompt_tokens:,.0f}"),
                Tile("replica", f"{o.chips}", "chips" if o.chips > 1 else "chip", f"{o.split}, batch {o.batch:,}"),
                Tile("tokens/s per watt, range", f"{figures(per_watt.low)} – {figures(per_watt.high)}", "",
                     f"nine in ten draws of the inputs, median {figures(per_watt.median or per_watt.value)}"),
                Tile("a package", f"{result.silicon.unit_dollars.value:,.0f}", "$",
                     f"{figures(made.low)} – {figures(made.high)} to make"),
            ]
        ),
    ]  # fmt: skip
