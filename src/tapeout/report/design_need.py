"""Report of a design run: what the model needs, whatever runs it."""

from __future__ import annotations

from typing import Any

import numpy as np

from tapeout.report.charts import stacked_bars
from tapeout.report.markup import Markup
from tapeout.report.numbers import figures, percent, si
from tapeout.report.page import Page, Tile, chart_figure, table, tiles
from tapeout.search.result import DesignResult
from tapeout.workload.build import operators
from tapeout.workload.formats import Formats
from tapeout.workload.operators import Step, bytes_by_role, totals

ROLES = {
    "experts": "experts",
    "attention": "attention weights",
    "lm_head": "LM head",
    "dense": "dense layers",
    "shared_expert": "shared experts",
    "router": "router",
    "norm": "norms",
    "embedding": "embedding",
    "cache": "KV cache",
}
BATCHES = (1, 8, 64, 256, 1024)


def needs(result: DesignResult, formats: Formats, batch: int) -> dict[str, float]:
    """Bytes read and written per output token at `batch`, by role, cache included; `ops`: operations per token."""
    work = operators(
        result.model,
        Step.decode(float(batch), result.scenario.decode_context),
        formats=formats,
        skew=result.scenario.zipf,
    )
    t = totals(work)
    found = {role: float(np.asarray(b)) / batch for role, b in bytes_by_role(work).items()}
    found["embedding"] = float(np.asarray(t.gather_bytes)) / batch
    found["cache"] = float(np.asarray(t.kv_read_bytes + t.kv_write_bytes)) / batch
    found["ops"] = 2 * float(np.asarray(t.macs)) / batch
    return found


def need_section(page: Page, result: DesignResult) -> None:
    """Bytes per token by role and format, operations, arithmetic intensity."""
    model = result.model
    published = Formats.stored(model)
    at = {b: needs(result, published, b) for b in BATCHES}
    ours = {b: needs(result, result.formats, b) for b in BATCHES}
    one = at[1]
    weights = sum(v for k, v in one.items() if k not in ("ops", "cache"))
    context = result.scenario.decode_context
    active = f"{model.active_parameters / 1e9:,.2f} B per token"
    cache = model.cache_bytes(int(context), "bf16") / 2**20
    shown = [r for r in ROLES if r in one and max(a[r] for a in at.values()) > 0.002 * weights]

    def option(data: dict[int, dict[str, float]]) -> dict[str, Any]:
        return stacked_bars(
            [f"batch {b}" for b in BATCHES],
            {ROLES[r]: [data[b].get(r, 0.0) for b in BATCHES] for r in shown},
            unit="B",
            name="bytes per output token",
        )

    intensity = [
        (
            f"{b:,}",
            si(sum(v for k, v in at[b].items() if k != "ops"), "B"),
            si(sum(v for k, v in ours[b].items() if k != "ops"), "B"),
            si(at[b]["ops"], "op"),
            figures(at[b]["ops"] / sum(v for k, v in at[b].items() if k != "ops"), 3),
            figures(ours[b]["ops"] / sum(v for k, v in ours[b].items() if k != "ops"), 3),
        )
        for b in BATCHES
    ]
    page.section(
        "What the model needs",
        tiles(
            [
                Tile("parameters", f"{model.parameters / 1e9:,.1f}", "B", active),
                Tile("checkpoint", f"{model.bytes / 2**30:,.1f}", "GiB", "as published"),
                Tile("weights read, batch 1", f"{weights / 1e9:.2f}", "GB/token", _shares(one, weights)),
                Tile("KV cache", f"{cache:,.0f}", "MiB", f"of {context:,.0f} tokens in BF16"),
                Tile("operations", si(one["ops"], "").strip(), "op/token", f"decoding at {context:,.0f} tokens"),
            ]
        ),
        chart_figure(
            "bytes",
            [("formats as published", option(at)), ("formats on the chip", option(ours))],
            label="weights in",
            caption=Markup(
                "<b>Bytes that cross the memory interface for one output token</b>, by what they are. At"
                " batch 1 every"
                " token pays for all weights it meets; as sequences share a step the weights divide among"
                " them, experts"
                " more slowly than the rest, because more tokens wake more experts; the cache of each"
                " sequence stays."
            ),
        ),
        table(
            [
                "sequences", "bytes per token, as published", "on the chip", "operations per token",
                "operations per byte, as published", "on the chip",
            ],
            intensity,
            numeric=range(6),
            caption=f"Arithmetic intensity of decoding at a context of {context:,.0f} tokens, on one chip.",
        ),
        table(
            ["part", "format in the checkpoint", "format on the chip", "share of bytes, batch 1"],
            [
                (
                    ROLES[r],
                    getattr(published, "cache" if r == "cache" else r if r != "norm" else "vector").upper(),
                    getattr(result.formats, "cache" if r == "cache" else r if r != "norm" else "vector").upper(),
                    percent(one[r] / (weights + one["cache"]), 1),
                )
                for r in ROLES
                if one.get(r)
            ],
            numeric=[3],
        ),
        lead="Before any chip: what one token costs in bytes and in operations. This is what shapes the chip.",
        id="model",
    )  # fmt: skip


def _shares(one: dict[str, float], weights: float) -> str:
    parts = sorted(((k, v) for k, v in one.items() if k in ROLES and k != "cache"), key=lambda x: -x[1])
    return ", ".join(f"{v / weights:.0%} {ROLES[k]}" for k, v in parts[:3])
