"""What a plan leaves behind: JSON of its results, Parquet of its months, samples and schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.fleet.plan import Plan
from tapeout.fleet.risk import Samples
from tapeout.fleet.supply import STAGES, VENDORS
from tapeout.fleet.units import unit
from tapeout.fleet.versus import NEVER
from tapeout.search.store import to_parquet


def plain(value: Any) -> Any:
    """`value` for JSON: numbers that JSON has no word for become null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float):
        return float(f"{value:.8g}") if np.isfinite(value) else None
    return value


def in_unit(plan: Plan, name: str) -> NDArray[np.float64]:
    """The nominal values of a node in its own unit, [1, months or 1]."""
    return plan.nominal[name] / unit(plan.graph.nodes[name].unit).factor


def years(plan: Plan, name: str) -> dict[int, float]:
    """By calendar year: a flow's sum, a stock's end, in the node's unit."""
    first, last = plan.graph.first.year, plan.graph.first.plus(plan.graph.months - 1).year
    factor = unit(plan.graph.nodes[name].unit).factor
    return {y: float(plan.year(name, y)[0]) / factor for y in range(first, last + 1)}


def months_table(plan: Plan) -> bytes:
    """Every series of the plan by month, as Parquet: month, then a column for each quantity, its unit in the name."""
    columns: dict[str, Any] = {"month": [str(plan.graph.first.plus(t)) for t in range(plan.graph.months)]}
    for node in plan.graph.nodes.values():
        if node.kind != "scalar" and node.name not in ("time", "gpu_buying"):
            wide = np.broadcast_to(in_unit(plan, node.name), (1, plan.graph.months))[0]
            columns[f"{node.name} [{node.unit}]"] = np.ascontiguousarray(wide)
    return parquet(columns)


def samples_table(samples: Samples, plan: Plan) -> bytes:
    """Every sample: its inputs and its headline, each in its unit, as Parquet."""
    from tapeout.fleet.risk import values_of

    columns: dict[str, Any] = {}
    for name, values in values_of(plan, samples.names, samples.inputs).items():
        columns[f"{name} [{plan.graph.nodes[name].unit}]"] = values
    for name, values in samples.scalars.items():
        columns[f"{name} [{plan.graph.nodes[name].unit}]"] = values / unit(plan.graph.nodes[name].unit).factor
    return parquet(columns)


def parquet(columns: Mapping[str, Any]) -> bytes:
    """Columns of floats or strings as a Parquet file."""
    return to_parquet(
        {k: np.asarray(v, None if isinstance(v, list) else np.float64) for k, v in columns.items()}
    )


def schedule(plan: Plan) -> list[dict[str, Any]]:
    """The supply schedule by quarter: chips deployed, short, in stock, and what binds."""
    s, limits = plan.supply.nominal, plan.supply.limits
    assert s is not None and limits is not None
    watts = float(plan.nominal["system.own.provisioned"][0, 0])
    found = []
    cumulative = np.cumsum(s.deployed)
    for q in range(plan.supply.quarters):
        month = plan.graph.first.plus(3 * q)
        found.append(
            {
                "quarter": f"{month.year} Q{(month.month - 1) // 3 + 1}",
                "deployed_chips": float(s.deployed[q]),
                "in_service_gw": float(cumulative[q] * watts / 1e9),
                "target_gw": float(limits.target[q] * watts / 1e9),
                "short_chips": float(s.short[q]),
                "stock_dies": float(s.stock_dies[q]),
                "stock_memory": float(s.stock_hbm[q]),
                "stock_chips": float(s.stock_chips[q]),
                "hbm": {v: float(s.hbm[i, q]) for i, v in enumerate(VENDORS)},
                "binds": s.binding(q),
                "worth": {k: float(s.price[i, q]) for i, k in enumerate(STAGES)},
                "limits": {
                    "wafers": float(limits.dies[q]),
                    "HBM": float(limits.hbm[:, q].sum()),
                    "CoWoS": float(limits.packages[q]),
                    "substrates": float(limits.substrates[q]),
                    "racks": float(limits.racked[q]),
                    "power": float(limits.powered[q]),
                },
            }
        )
    return found


def month_word(plan: Plan, months: float) -> str:
    """A number of months from the start as a calendar month; "never" where there is none."""
    if not np.isfinite(months) or months >= NEVER / 2:
        return "never"
    return str(plan.graph.first.plus(max(int(months) - 1, 0)))


def result(plan: Plan, extra: Mapping[str, Any]) -> dict[str, Any]:
    """The plan's results as one object; `extra`: risk, stress and so on, already plain."""
    s = plan.scenario
    scalars = ("npv", "irr", "funding", "demand.peak", "availability", "own.die_yield")
    by_year = (
        "users",
        "tokens",
        "fleet.own",
        *(f"fleet.{a}" for a in s.gpus),
        "served",
        "capex",
        "capex.own",
        "capex.gpus",
        "opex",
        "opex.own",
        "nre",
        "revenue",
        "cash",
        "equity_cash",
        "energy.own",
        "energy.price",
        "carbon.own",
    )

    def scalar(name: str) -> dict[str, Any]:
        return {"value": float(in_unit(plan, name)[0, 0]), "unit": plan.graph.nodes[name].unit}

    return {
        "scenario": s.name,
        "title": s.title,
        "chip": plan.chip.name,
        "start": str(s.start),
        "months": s.months,
        "headline": {k: scalar(k) for k in scalars},
        "per_chip": {
            a: {
                k: scalar(f"system.{a}.{k}")
                for k in (
                    "chip_price",
                    "it_price",
                    "all_in",
                    "it_power",
                    "provisioned",
                    "hourly",
                    "chips_per_rack",
                )
            }
            for a in s.accelerators
        },
        "service": {
            a: {
                c: {
                    "requests_per_s_per_chip": float(in_unit(plan, f"service.{a}.{c}.rate")[0, 0]),
                    "usd_per_million_output_tokens": float(in_unit(plan, f"token_cost.{a}.{c}")[0, 0]),
                    "watts": float(in_unit(plan, f"service.{a}.{c}.watts")[0, 0]),
                    "split": plan.services[a, c].split,
                    "chips_per_replica": plan.services[a, c].chips,
                }
                for c in s.classes
            }
            for a in s.accelerators
        },
        "versus": {
            a: {k: scalar(f"versus.{a}.{k}") for k in ("npv", "per_chip", "volume")}
            | {"break_even": month_word(plan, float(in_unit(plan, f"versus.{a}.date")[0, 0]))}
            for a in s.gpus
        },
        "years": {
            k: {"unit": plan.graph.nodes[k].unit, **{str(y): v for y, v in years(plan, k).items()}}
            for k in by_year
        },
        "schedule": schedule(plan),
        "power": {
            f"{site} {year}": {
                "capacity_mw": dict(p.capacity),
                "energy_mwh": dict(p.energy),
                "curtailed_mwh": p.curtailed,
                "shed_mwh": p.shed,
                "shifted_mwh": p.shifted,
                "usd_per_mwh": p.per_mwh,
                "grid_peak_mw": p.grid_peak,
            }
            for (site, year), p in plan.energy.plans.items()
        },
        "shortfall": plan.shortfall(),
        **extra,
    }


def as_plain(items: list[Any]) -> list[dict[str, Any]]:
    """Dataclasses as dictionaries."""
    return [asdict(x) for x in items]
