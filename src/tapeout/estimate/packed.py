"""The step equations over many settings at once: what fitting needs, some hundred times faster.

`pack` lays the operators of many points out as flat arrays by kind; `seconds` evaluates them for a list of
machines, one for each setting. The definition is `tapeout.estimate.step`; a test holds the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.machine import ARITHMETIC, Machine, pick
from tapeout.estimate.step import present
from tapeout.workload.formats import bytes_of
from tapeout.workload.operators import Number, Operator

Array = NDArray[np.float64]
_GROUPS = ("matmul", "expert_matmul", "attention", "other", "collective")
_COLUMNS = {
    "matmul": ("macs", "fill", "vector", "bytes", "activations", "class", "quantised"),
    "expert_matmul": ("macs", "fill", "vector", "bytes", "activations", "class"),
    "attention": ("macs", "rows", "vector", "bytes", "activations", "narrow"),
    "other": ("vector", "bytes", "activations", "matrixlike"),
    "collective": ("wire", "doublings", "spills", "remote", "remote_doublings"),
}


@dataclass(frozen=True, eq=False)
class Packed:
    """Operators of `points` points by kind: columns of numbers, `point` and `setting` of each operator."""

    points: int
    groups: dict[str, dict[str, Array]]
    kernels: Array  # launched in each point's step

    @staticmethod
    def join(parts: Sequence[Packed]) -> Packed:
        """All of `parts`, which number their points alike."""
        groups: dict[str, dict[str, Array]] = {}
        for name in _GROUPS:
            blocks = [p.groups[name] for p in parts if name in p.groups]
            if blocks:
                groups[name] = {c: np.concatenate([b[c] for b in blocks]) for c in blocks[0]}
        return Packed(parts[0].points, groups, np.sum([p.kernels for p in parts], axis=0))


def pack(
    operators: Iterable[Operator], machine: Machine, setting: int, where: NDArray[np.intp], points: int
) -> Packed:
    """Operators whose fields broadcast over the points numbered `where`, all of one `setting`, for machines that
    differ from `machine` in calibrated parameters only."""
    count = len(where)
    rows: dict[str, list[dict[str, Array]]] = {}
    launched = np.zeros(points)

    def full(value: Any) -> Array:
        return np.broadcast_to(np.asarray(value, dtype=float), (count,))

    for o in operators:
        here = full(present(o))
        launched[where] += full(o.repeats) * here
        columns = {
            "point": where,
            "setting": np.full(count, setting),
            "repeats": full(o.repeats),
            "present": here,
        }
        if o.collective is not None:
            group = "collective"
            c = o.collective
            members, span = full(c.group), full(c.span)
            domain = float(np.max(machine.scale_up.domain))
            domains = np.maximum(span / domain, 1.0)
            remote = (
                (2.0 if c.kind == "all_reduce" else 1.0) * (domains - 1) / domains * full(c.payload_bytes)
            )
            if c.kind in ("all_reduce", "all_gather", "reduce_scatter"):
                remote = remote / np.maximum(members / domains, 1.0)
            values: dict[str, Number] = {
                "wire": c.wire_bytes,
                "doublings": np.maximum(np.log2(np.maximum(members, 2.0)) - 1.0, 0.0),
                "spills": span > domain,
                "remote": remote,
                "remote_doublings": np.maximum(np.log2(np.maximum(domains, 2.0)) - 1.0, 0.0),
            }
        else:
            group = o.kind if o.kind in _COLUMNS else "other"
            activations = o.output_bytes + (0.0 if o.kind == "gather" else o.input_bytes)
            values = {
                "macs": o.macs,
                "fill": np.asarray(o.products) * o.n * o.k * (np.asarray(o.m) > 0),
                "rows": np.maximum(o.m, 1e-9),
                "vector": o.vector_operations,
                "bytes": o.memory_bytes,
                "activations": np.maximum(activations - machine.on_chip_bytes, 0.0),
                "class": ARITHMETIC.index(machine.arithmetic_of(o.weight_format)) if o.weight_format else 0,
                "quantised": machine.quantises(o.weight_format) if o.weight_format else False,
                "narrow": bytes_of(o.activation_format) < 1.5,
                "matrixlike": o.kind not in ("vector", "gather"),
            }
        columns |= {name: full(values[name]) for name in _COLUMNS[group]}
        rows.setdefault(group, []).append(columns)
    groups = {g: {c: np.concatenate([b[c] for b in blocks]) for c in blocks[0]} for g, blocks in rows.items()}
    for block in groups.values():
        for name in ("point", "setting", "class"):
            if name in block:
                block[name] = block[name].astype(np.intp)
    return Packed(points, groups, launched)


def seconds(packed: Packed, machines: Sequence[Machine]) -> Array:
    """Seconds of each point's operators, without host costs; `machines` by setting. Shape (points,)."""
    total = np.zeros(packed.points)
    for name, b in packed.groups.items():
        at = b["setting"]

        def of(value: Any, at: Array = at) -> Array:
            return np.array([value(m) for m in machines], dtype=float)[at]

        def by_class(value: Any, b: dict[str, Array] = b, at: Array = at) -> Array:
            table = np.array([[value(m, c) for c in ARITHMETIC] for m in machines])
            return table[at, b["class"]]

        def rate(value: Any) -> Any:
            return lambda m, c: m.peak_macs[c] * pick(value(m), c) if c in m.peak_macs else 1.0

        if name == "collective":
            net = of(lambda m: m.scale_up.bandwidth * m.sustained.network)
            time = of(lambda m: m.scale_up.latency_s) + b["doublings"] * of(lambda m: m.scale_up.hop_s)
            time = time + b["wire"] / net
            time = np.minimum(time, _bulk(machines, of, b["doublings"], b["wire"], "scale_up"))
            if b["spills"].any():
                far = of(lambda m: m.scale_out.latency_s) + b["remote_doublings"] * of(
                    lambda m: m.scale_out.hop_s
                )
                far = far + b["remote"] / of(lambda m: m.scale_out.bandwidth * m.sustained.network)
                far = np.minimum(far, _bulk(machines, of, b["remote_doublings"], b["remote"], "scale_out"))
                time = time + b["spills"] * far
            time = time + of(lambda m: m.overheads.collective_s)
        else:
            vector = b["vector"] / of(lambda m: m.vector_rate * m.sustained.vector)
            moved = b["bytes"] + b["activations"]
            bandwidth = of(lambda m: m.memory_bandwidth)
            if name == "matmul":
                macs = b["macs"] + of(lambda m: m.sustained.rows_half) * b["fill"]
                compute = macs / by_class(rate(lambda m: m.sustained.matrix)) + vector
                memory = moved / (bandwidth * of(lambda m: m.sustained.memory))
                shown = 1.0 - of(lambda m: m.sustained.overlap)
                time = np.maximum(compute, memory) + shown * np.minimum(compute, memory)
                time = time + b["present"] * (
                    of(lambda m: m.overheads.kernel_s) + b["quantised"] * of(lambda m: m.overheads.quantise_s)
                )
            elif name == "expert_matmul":
                macs = b["macs"] + of(lambda m: m.sustained.expert_rows_half) * b["fill"]
                compute = macs / by_class(rate(lambda m: m.sustained.expert_matrix)) + vector
                memory = moved / (bandwidth * of(lambda m: m.sustained.expert_memory))
                time = np.maximum(compute, memory) + b["present"] * by_class(
                    lambda m, c: pick(m.overheads.expert_s, c)
                )
            elif name == "attention":
                macs = b["macs"] * (1.0 + of(lambda m: m.sustained.attention_rows_half) / b["rows"])
                compute = np.maximum(macs / of(lambda m: m.peak_of("bf16") * m.sustained.attention), vector)
                wide = of(lambda m: pick(m.sustained.cache_memory, "2"))
                narrow = of(lambda m: pick(m.sustained.cache_memory, "1"))
                memory = moved / (bandwidth * np.where(b["narrow"] > 0, narrow, wide))
                time = np.maximum(compute, memory) + b["present"] * of(lambda m: m.overheads.attention_s)
            else:
                memory = moved / (bandwidth * of(lambda m: m.sustained.memory))
                cost = np.where(
                    b["matrixlike"] > 0,
                    of(lambda m: m.overheads.kernel_s),
                    of(lambda m: m.overheads.vector_s),
                )
                time = np.maximum(vector, memory) + b["present"] * cost
        total += np.bincount(b["point"], b["repeats"] * time * b["present"], packed.points)
    return total


def _bulk(machines: Sequence[Machine], of: Any, doublings: Array, sent: Array, network: str) -> Array:
    if any(m.sustained.bulk_network is None for m in machines):
        return np.full(len(sent), np.inf)
    rate = of(lambda m: getattr(m, network).bandwidth * m.sustained.bulk_network)
    return of(lambda m: m.overheads.bulk_s) + doublings * of(lambda m: m.overheads.bulk_hop_s) + sent / rate
