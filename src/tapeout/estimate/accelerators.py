"""Off-the-shelf accelerators: datasheet entries, and the machine that the calibrated parameters make of one.

A new accelerator is one TOML file in `catalog/` (or anywhere: `read_accelerator`), with its dense peaks by
arithmetic class, memory, networks, power and, where known, cost and published sustained fractions.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from tapeout.errors import InputError, Phrase
from tapeout.estimate.engines import Engine
from tapeout.estimate.machine import ARITHMETIC, Machine, Network, Overheads, Power, Sustained
from tapeout.estimate.parameters import Parameters
from tapeout.fields import Fields
from tapeout.files import read_toml
from tapeout.physical.quantity import Quantity, read_quantities

_NEEDED = {
    "peak.bf16": "TFLOP/s",
    "memory.capacity": "GB",
    "memory.bandwidth": "GB/s",
    "network.scale_up": "GB/s",
    "network.scale_up_domain": "count",
    "network.scale_out": "GB/s",
    "power.tdp": "W",
}


@dataclass(frozen=True)
class Accelerator:
    """One datasheet. `quantities` by dotted name, each with unit, source and confidence."""

    key: str
    name: str
    vendor: str
    node: str
    aliases: tuple[str, ...]
    quantities: Mapping[str, Quantity]

    def value(self, name: str, unit: str) -> float | None:
        """A quantity in `unit`, or None where the datasheet has none."""
        q = self.quantities.get(name)
        return None if q is None else q.to(unit)

    def need(self, name: str, unit: str) -> float:
        """A quantity in `unit` that every entry has."""
        return self.quantities[name].to(unit)

    @property
    def memory_gigabytes(self) -> float:
        """Capacity of its memory, 10^9 bytes."""
        return self.need("memory.capacity", "GB")

    @property
    def tdp_watts(self) -> float:
        """Power the vendor designs cooling for, of the accelerator alone."""
        return self.need("power.tdp", "W")

    @property
    def peaks(self) -> dict[str, float]:
        """Dense multiply-accumulates per second by arithmetic class."""
        found = {}
        for c in ARITHMETIC:
            flops = self.value(f"peak.{'fp32' if c == 'f32' else c}", "TFLOP/s")
            if flops is not None and c != "f32":
                found[c] = flops * 1e12 / 2
        return found


def names() -> tuple[str, ...]:
    """The keys of the shipped accelerators, sorted."""
    found = files("tapeout.estimate.catalog").iterdir()
    return tuple(sorted(p.name.removesuffix(".toml") for p in found if p.name.endswith(".toml")))


@lru_cache(maxsize=1)
def catalog() -> dict[str, Accelerator]:
    """Every shipped accelerator by key."""
    folder = files("tapeout.estimate.catalog")
    return {
        name: parse_accelerator(
            tomllib.loads(folder.joinpath(f"{name}.toml").read_text(encoding="utf-8")), f"{name}.toml", name
        )
        for name in names()
    }


def accelerator(source: str | Path) -> Accelerator:
    """The accelerator of `source`: a key, name or alias of a shipped one (case aside), or a TOML file.

    Raises InputError with the nearest names if there is none such.
    """
    if str(source).endswith(".toml"):
        path = Path(source)
        return parse_accelerator(read_toml(path), path, path.stem)
    wanted = str(source).strip().lower()
    for tried in (wanted, _bare(wanted)):
        for entry in catalog().values():
            if tried in (entry.key, entry.name.lower(), *entry.aliases):
                return entry
    near = get_close_matches(wanted, names(), 3, 0.4)
    raise InputError("accelerator", "", str(source), f"one of {', '.join(near or names())}, or a TOML file")


def _bare(name: str) -> str:
    """A name without vendor, form factor and memory size: "NVIDIA H100-SXM5-80GB" is "h100"."""
    words = re.split(r"[\s_\-/()]+", name)
    extra = re.compile(
        r"nvidia|amd|google|aws|instinct|tensor|core|gpu|sxm\d?|oam|hgx|dgx|nvl\d*|hbm\d?e?|\d+gb|x\d+"
    )
    return "-".join(w for w in words if w and not extra.fullmatch(w))


def parse_accelerator(table: dict[str, object], where: object, key: str) -> Accelerator:
    """The accelerator of a parsed TOML table. Raises InputError naming the field that is wrong."""
    fields = Fields(table, where)
    name, vendor = fields.text("name"), fields.text("vendor", "")
    node = fields.text("node", "")
    aliases = tuple(str(a).lower() for a in fields.array("aliases", []))
    sections = {k: v for k, v in table.items() if k not in ("name", "vendor", "node", "aliases")}
    quantities = read_quantities(sections, where)
    for need, unit in _NEEDED.items():
        if need not in quantities:
            raise InputError(where, need, Phrase("nothing"), f"a quantity in {unit}")
        try:
            low = quantities[need].low * quantities[need].factor(unit)
        except ValueError:
            raise InputError(where, f"{need}.unit", quantities[need].unit, unit) from None
        if low <= 0:
            raise InputError(where, need, low, "a number above 0")
    return Accelerator(key, name, vendor, node, aliases, quantities)


def machine(sheet: Accelerator, parameters: Parameters, engine: Engine | None = None) -> Machine:
    """The machine of a datasheet under the calibrated `parameters`, run by `engine` (None: no host costs).

    The sustained fractions are those fitted over all measured accelerators; where the entry has published
    ones of its own (`sustained.*`, from other people's measurements of that very chip) the fraction is
    scaled by theirs over the one measured on H100.
    """
    p = parameters.values
    peaks = sheet.peaks
    scale = {c: (own / REFERENCE[c] if (own := sheet.value(f"sustained.{c}", "1")) else 1.0) for c in peaks}
    streamed = (sheet.value("sustained.memory", "1") or _REFERENCE_MEMORY) / _REFERENCE_MEMORY
    matrix = {c: p[f"matrix.{_class(c)}"] * scale[c] for c in peaks}
    expert = {c: p[f"expert_matrix.{_class(c)}"] * scale[c] for c in peaks}
    factor = engine.kernel_factor if engine else 1.0
    network = engine.network_factor if engine else 1.0
    up, domain = sheet.need("network.scale_up", "GB/s") * 1e9, sheet.need("network.scale_up_domain", "count")
    out = sheet.need("network.scale_out", "GB/s") * 1e9
    fp32, cache = sheet.value("peak.fp32", "TFLOP/s"), sheet.value("memory.on_chip", "MB")
    return Machine(
        name=sheet.name,
        peak_macs=peaks,
        memory_bandwidth=sheet.need("memory.bandwidth", "GB/s") * 1e9,
        memory_capacity=sheet.memory_gigabytes * 1e9,
        scale_up=Network(up, p["collective_s"] * factor, domain, p["collective_hop_s"]),
        scale_out=Network(out, p["scale_out_s"], float("inf"), p["scale_out_s"]),
        vector_rate=fp32 * 1e12 / 2 if fp32 else float("inf"),
        on_chip_bytes=cache * 1e6 if cache else 0.0,
        sustained=Sustained(
            matrix=matrix,
            expert_matrix=expert,
            attention=p["attention"] * scale.get("bf16", 1.0),
            memory=p["memory"] * streamed,
            expert_memory=p["expert_memory"] * streamed,
            cache_memory={
                "1": p["cache_memory.fp8"] * streamed,
                "2": p["cache_memory.bf16"] * streamed,
            },
            network=p["network"] / network,
            bulk_network=p["bulk_network"],
            vector=p["vector"],
            overlap=p["overlap"],
            rows_half=p["rows_half"],
            expert_rows_half=p["expert_rows_half"],
            attention_rows_half=p["attention_rows_half"],
            routing_skew=p["routing_skew"],
        ),
        overheads=Overheads(
            kernel_s=p["kernel_s"] * factor,
            quantise_s=p["quantise_s"] * factor,
            vector_s=p["vector_s"] * factor,
            attention_s=p["attention_s"] * factor,
            expert_s={c: p["expert_s.fp4" if c == "fp4" else "expert_s"] * factor for c in peaks},
            bulk_s=p["bulk_s"],
            bulk_hop_s=p["bulk_hop_s"],
            step_s=engine.step_s if engine else 0.0,
            sequence_s=engine.sequence_s if engine else 0.0,
            eager_s=engine.eager_s if engine else 0.0,
        ),
        power=power(sheet, parameters),
    )


def power(sheet: Accelerator, parameters: Parameters) -> Power:
    """Idle power and energies of `sheet`: those fitted on H100, scaled by its power limit where no
    measurement of it exists (idle and active power), and by node (energy per operation). A multiply-accumulate
    takes no more than leaves a dense product at the sustained rate within the power limit: such products run
    under it, at whatever clock it allows."""
    p = parameters.values
    node = _NODE_ENERGY.get(sheet.node, 1.0)
    ratio = sheet.tdp_watts / REFERENCE_TDP
    idle, active = p["power.idle"] * ratio, p["power.active"] * ratio
    left = max(sheet.tdp_watts - idle - active, 0.05 * sheet.tdp_watts)
    mac_pj = {}
    for c, peak in sheet.peaks.items():
        rate = (
            peak
            * p[f"matrix.{_class(c)}"]
            * (sheet.value(f"sustained.{c}", "1") or REFERENCE[c])
            / REFERENCE[c]
        )
        mac_pj[c] = min(p["power.mac_pj"] * MAC_COST[c] * node, left / rate * 1e12)
    return Power(
        idle_w=idle,
        active_w=active,
        memory_pj_per_byte=p["power.memory_pj_per_byte"],
        network_pj_per_byte=p["power.network_pj_per_byte"],
        mac_pj=mac_pj,
        vector_pj=p["power.vector_pj"] * node,
        # No limit: the fitted rates were measured under it.
        cap_w=sheet.tdp_watts,
    )


def dense_watts(p: Mapping[str, float], arithmetic: str) -> float:
    """Watts of an H100 in a large dense product at the rate of `REFERENCE_RATE`, by the power parameters `p`: at most
    its 700 W, whatever it is fitted to."""
    macs = REFERENCE_RATE[arithmetic] / 2 * p["power.mac_pj"] * MAC_COST[arithmetic]
    return p["power.idle"] + p["power.active"] + (macs + _DENSE_BYTES * p["power.memory_pj_per_byte"]) * 1e-12


# GEMM on H100 in the source of the `sustained` entries (SemiAnalysis, December 2024): 720 of 989 TFLOP/s in BF16,
# 1280 of 1979 in FP8, under its 700 W.
REFERENCE = {"bf16": 0.728, "fp8": 0.647, "int8": 0.647, "fp4": 0.5}
REFERENCE_RATE = {"bf16": 720e12, "fp8": 1280e12}  # operations per second
REFERENCE_TDP = 700.0  # W, NVIDIA's datasheet
_DENSE_BYTES = 0.3e12  # bytes/s of a product of 8192 × 8192 × 8192 at that rate, each operand once
# Share of its bandwidth that streaming reaches on H100: 3.0 of 3.35 TB/s (BabelStream).
_REFERENCE_MEMORY = 0.90
# Energy of a multiply-accumulate against BF16 (multiplier area goes with the square of the significand; the
# accumulator and operand delivery do not): Horowitz, ISSCC 2014, and Jouppi et al., ISCA 2021, table 2.
MAC_COST = {"bf16": 1.0, "fp8": 0.5, "int8": 0.45, "fp4": 0.3, "f32": 4.0}
# Energy per operation against N5 (TSMC, power at equal speed: N7 to N5 -30 %, N5 to N3E -32 %).
_NODE_ENERGY = {"N7": 1.43, "N5": 1.0, "N4": 0.95, "N3E": 0.68, "14 nm": 2.6}


def _class(arithmetic: str) -> str:
    return {"int8": "fp8", "f32": "bf16"}.get(arithmetic, arithmetic)
