"""The files of a floorplan."""

from __future__ import annotations

import json
from typing import Any

from tapeout.physical.floorplan.checks import findings
from tapeout.physical.floorplan.die import Floorplan
from tapeout.physical.floorplan.gds import gds, lyp
from tapeout.physical.floorplan.package import package
from tapeout.physical.floorplan.picture import png, svg
from tapeout.physical.floorplan.shapes import Rectangle


def files(plan: Floorplan) -> dict[str, str | bytes]:
    """Name → contents (needs the `silicon` extra)."""
    return {
        "floorplan.gds": gds(plan),
        "floorplan.lyp": lyp(),
        "floorplan.svg": svg(plan),
        "floorplan.png": png(plan),
        "floorplan.json": json.dumps({**blocks(plan), **findings(plan)}, indent=1) + "\n",
    }


def blocks(plan: Floorplan) -> dict[str, Any]:
    """Every placed block as plain values, as a DEF would have it: lower left corner and size in micrometres, from
    the lower left of the die (of the core, for its parts; of the package, for dies and stacks)."""
    t, p = plan.tile, package(plan)
    return {
        "units": "um",
        "design": plan.spec.name,
        "diearea": [0, 0, _um(plan.width), _um(plan.height)],
        "blocks": [_block(b) for b in plan.blocks],
        "tiles": {
            "size": [_um(t.width), _um(t.height)],
            "origins": [[_um(x), _um(y)] for x, y in plan.origins],
            "router": _block(t.router),
            "core": _block(t.core),
        },
        "core_parts": [_block(r.moved(-t.core.x, -t.core.y)) for r in t.parts],
        "package_parts": [
            {"name": d.name, "x": _um(d.x), "y": _um(d.y), "width": _um(d.width), "height": _um(d.height),
             "orientation": "R180" if d.turned else "R0"}
            for d in (*p.dies, *p.stacks)
        ],
    }  # fmt: skip


def _block(r: Rectangle) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": r.name, "kind": r.kind, "x": _um(r.x), "y": _um(r.y), "width": _um(r.width), "height": _um(r.height),
    }  # fmt: skip
    if r.grid != (1, 1):
        found["grid"] = list(r.grid)
    return found


def _um(mm: float) -> float:
    return round(mm * 1000, 3)
