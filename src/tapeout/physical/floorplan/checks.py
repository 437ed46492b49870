"""What a floorplan is judged by: edges, reticle, utilisation, package, wires; and what cannot be laid out at all."""

from __future__ import annotations

from typing import Any

from tapeout.chip.spec import ChipSpec
from tapeout.errors import InputError, Phrase
from tapeout.physical.floorplan.budget import own
from tapeout.physical.floorplan.die import SLENDER, Floorplan
from tapeout.physical.floorplan.mesh import mesh
from tapeout.physical.floorplan.package import package
from tapeout.physical.floorplan.shapes import overlapping
from tapeout.physical.limits import limits
from tapeout.physical.views import shipped

# Which field a broken limit is about, and what would be right.
FIELDS = {
    "reticle": (
        "cores", "a die of {needs:,.0f} mm²", "at most {has:,.0f} mm², the field of a reticle (26 × 33 mm)"),
    "edge": ("dies", "a die {needs:.1f} mm long", "at most {has:.0f} mm, as a reticle is"),
    "memory_beachfront": (
        "memory.stacks", "memory PHYs that need {needs:.1f} mm of a die's edge", "at most {has:.1f} mm, which it has"),
    "link_beachfront": (
        "links", "lanes that need {needs:.1f} mm of a die's edge", "at most {has:.1f} mm, which memory leaves"),
    "interposer": ("package", "dies and stacks of {needs:,.0f} mm²", "at most {has:,.0f} mm²"),
}  # fmt: skip


def refuse(spec: ChipSpec, where: object, plan: Floorplan | None = None) -> None:
    """Raise InputError, naming the field, if the chip cannot be laid out: over the reticle or the interposer, or with
    more on its edges than they hold."""
    found = limits(spec)
    for name, (field, words, expected) in FIELDS.items():
        limit = found[name]
        if bool(limit.broken.any() if hasattr(limit.broken, "any") else limit.broken):
            n = {"needs": _one(limit.needs), "has": _one(limit.has)}
            raise InputError(where, field, Phrase(words.format(**n)), expected.format(**n))
    if plan is None:
        return
    least = own("edge.squeeze", "1")
    memory = edges(plan)["memory_phy"]
    if memory["share"] < least:
        raise InputError(
            where,
            "memory.stacks",
            Phrase(f"{plan.budget.phys} PHYs a die with {memory['each_mm']:.2f} mm of edge for each"),
            f"at least {least * plan.budget.phy_edge:.2f} mm for each: fewer of them, or a larger die",
        )


def edges(plan: Floorplan) -> dict[str, dict[str, float]]:
    """By kind of block on the edge: mm it needs, mm it has, and the share of what it needs."""
    b = plan.budget
    # Blocks are drawn without the margin around them; the edge is theirs with it.
    stretch = (b.total / b.used) ** 0.5
    on: dict[str, list[float]] = {}
    for r in plan.blocks:
        if r.kind in ("memory_phy", "serdes", "die_to_die"):
            beside = min(r.x, plan.width - r.x - r.width) < min(r.y, plan.height - r.y - r.height)
            if r.kind == "memory_phy":  # two may fill the die's width
                beside = "left" in r.name or "right" in r.name
            bare = min(r.x, plan.width - r.x - r.width) < 1e-9
            on.setdefault(r.kind, []).append((r.height if beside else r.width) * (1 if bare else stretch))
    found: dict[str, dict[str, float]] = {}
    needs = {
        "memory_phy": b.phys * b.phy_edge,
        "serdes": b.serdes_edge,
        "die_to_die": b.link_count * b.link_edge,
    }
    for kind, lengths in on.items():
        has, each = sum(lengths), min(lengths)
        share = each / b.phy_edge if kind == "memory_phy" else has / needs[kind] if needs[kind] else 1.0
        if kind == "memory_phy" and b.stacked:  # bodies may reach past the die's corners
            share = (each + 2 * b.overhang * stretch / max(len(lengths) / 2, 1)) / b.phy_edge
        found[kind] = {"needs_mm": needs[kind], "has_mm": has, "each_mm": each, "share": share}
    return found


def findings(plan: Floorplan) -> dict[str, Any]:
    """Everything, as plain values: what `tapeout floorplan --json` prints."""
    spec, m, p = plan.spec, mesh(plan), package(plan)
    view = shipped().nominal()
    long, short = view.get("packaging.die.reticle_long", "mm"), view.get("packaging.die.reticle_short", "mm")
    seal = own("edge.seal_ring", "mm")
    w, h = sorted((plan.width, plan.height))
    fits = max(int(long // a) * int(short // c) for a, c in ((h, w), (w, h)))
    interposer = limits(spec)["interposer"]
    warnings = []
    for kind, e in edges(plan).items():
        if e["share"] < 1 - 1e-6:
            warnings.append(
                f"{kind.replace('_', ' ')}: {e['has_mm']:.1f} mm of edge, {e['needs_mm']:.1f} is usual"
            )
    if plan.tile.aspect > SLENDER:
        warnings.append(f"a core is {plan.tile.aspect:.1f} times as long as wide")
    if m.registers:
        warnings.append(
            f"the longest hop of the network takes {m.registers} pipeline registers at {spec.clock_ghz:g} GHz"
        )
    if w + 2 * seal > short or h + 2 * seal > long:
        warnings.append("with its seal ring the die is beyond the reticle's field")
    blocks = (*plan.blocks, *plan.tiles)
    return {
        "chip": spec.name,
        "die": {
            "width_mm": plan.width, "height_mm": plan.height, "area_mm2": plan.width * plan.height,
            "utilisation": plan.utilisation, "dies": spec.dies,
        },
        "reticle": {"long_mm": long, "short_mm": short, "dies_per_field": fits},
        "package": {
            "kind": spec.package, "width_mm": p.width, "height_mm": p.height, "stacks": len(p.stacks),
            "interposer_mm2": _one(interposer.needs), "interposer_limit_mm2": _one(interposer.has),
        },
        "areas_mm2": dict(plan.areas()),
        "array": {
            "cores": len(plan.origins), "columns": plan.grid[0], "rows": plan.grid[1],
            "pitch_mm": list(plan.pitch), "core_mm": [plan.tile.core.width, plan.tile.core.height],
        },
        "edges": edges(plan),
        "network": {
            "links": len(m.links), "memory_entries": len(m.entries), "wires_per_link": m.wires,
            "link_mm": m.link_mm, "wire_m": m.wire_mm / 1000, "longest_hop_mm": m.longest_mm,
            "longest_hop_ps": m.delay_ps, "wire_budget_ps": m.budget_ps, "pipeline_registers": m.registers,
            "repeaters": m.repeaters, "bundle_mm": m.bundle_mm,
        },
        "overlaps": overlapping(blocks) if len(blocks) <= 3000 else [],
        "warnings": warnings,
    }  # fmt: skip


def _one(value: Any) -> float:
    return float(value.ravel()[0]) if hasattr(value, "ravel") else float(value)
