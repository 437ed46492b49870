"""The figures of a design run as plain values: `summary.json`."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Any

from tapeout import __version__
from tapeout.chip.toml import to_table
from tapeout.search.confirm import Confirmation
from tapeout.search.operation import Operation
from tapeout.search.result import DesignResult


def summary(result: DesignResult) -> dict[str, Any]:
    """Everything the report tabulates, for programs. Units are in the names; figures that do not exist are null."""
    e = result.exploration
    whole: dict[str, Any] = {
        "tapeout": __version__,
        "model": {
            "name": result.model.name,
            "parameters": result.model.parameters,
            "active_parameters": result.model.active_parameters,
            "checkpoint_bytes": result.model.bytes,
            "approximations": list(result.model.approximations),
        },
        "scenario": result.scenario.as_dict(),
        "objective": result.objective,
        "max_watts": result.max_watts,
        "seed": result.seed,
        "chip": to_table(result.chip),
        "formats": {f.name: getattr(result.formats, f.name) for f in fields(result.formats)},
        "operation": _operation(result.operation),
        "simulated": {c.step: _confirmation(c) for c in result.confirmations},
        "ranges": {k: asdict(v) for k, v in result.ranges.items()},
        "silicon": {
            "die_mm2": result.silicon.die_mm2.value,
            "die_width_mm": result.silicon.die_width_mm,
            "die_height_mm": result.silicon.die_height_mm,
            "area_mm2": dict(result.silicon.area),
            "design_watts": result.silicon.design_watts.value,
            "design_power_watts": dict(result.silicon.design_power),
            "unit_dollars": result.silicon.unit_dollars.value,
            "cost_dollars": dict(result.silicon.cost),
            "die_yield": result.silicon.die_yield,
            "limits": {
                k: {"needs": needs, "has": has, "unit": unit}
                for k, (needs, has, unit) in result.silicon.limits.items()
            },
        },
        "accelerators": [
            {
                "key": r.key,
                "name": r.name,
                "node": r.node,
                "formats": r.formats,
                "operation": _operation(r.operation),
                "chip_tokens_per_joule_over_its": result.advantage(r),
            }
            for r in result.rivals
        ],
        "reasons": {"from": result.reasons_from, "steps": [asdict(s) for s in result.reasons]},
        "cases": [
            {
                "context": c.context,
                "batch": c.batch,
                "operations": {name: _operation(o) for name, o in c.operations.items()},
            }
            for c in result.cases
        ],
        "search": {
            "designs": len(e.indices),
            "evaluations": e.evaluations,
            "meet_every_limit": int(e.table["meets"].sum()),
            "on_front": int(e.table["on_front"].sum()),
        },
    }
    plain: dict[str, Any] = _finite(whole)
    return plain


def _confirmation(c: Confirmation) -> dict[str, Any]:
    if c.compared is None:
        return {"work": c.work, "missing": c.missing}
    x = c.compared
    return {
        "work": c.work,
        "estimated_s": x.estimated_s,
        "simulated_s": x.simulated_s,
        "difference": x.difference,
        "others_s": x.others_s,
        "cycles_run": x.cycles,
        "instructions_run": x.instructions,
        "operators": [{"name": n, "estimated_s": e, "simulated_s": s} for n, e, s in x.stages],
    }


def _operation(o: Operation | None) -> dict[str, Any] | None:
    return None if o is None else asdict(o)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
