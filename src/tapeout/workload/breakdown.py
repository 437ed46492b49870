"""A workload as text: what a step reads and computes, by operator and by part of the model."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tapeout.workload.operators import Number, Operator, bytes_by_role, totals


def shares_by_role(operators: Iterable[Operator]) -> list[tuple[str, float, float]]:
    """(role, weight bytes read in the step, share of them), largest first; scalars only."""
    found = {role: float(np.asarray(b)) for role, b in bytes_by_role(operators).items()}
    whole = sum(found.values()) or 1.0
    return sorted(((r, b, b / whole) for r, b in found.items()), key=lambda x: -x[1])


def table(operators: Iterable[Operator]) -> str:
    """One line per operator and the sums below; scalars only. Bytes are per step: all repeats."""
    operators = tuple(operators)
    lines = [
        f"{'operator':27} {'times':>6} {'products × m × n × k':>32} {'weights':>10} {'KV':>10} {'GMAC':>9}"
    ]
    for o in operators:
        r = _scalar(o.repeats)
        shape = ""
        if o.macs is not None and np.any(np.asarray(o.macs) > 0):
            shape = " × ".join(f"{_scalar(x):.5g}" for x in (o.products, o.m, o.n, o.k))
        elif o.collective is not None:
            c = o.collective
            shape = f"{c.kind} of {_bytes(_scalar(c.payload_bytes))} over {_scalar(c.group):g}"
        kv = r * (_scalar(o.kv_read_bytes) + _scalar(o.kv_write_bytes))
        lines.append(
            f"{o.name:27} {r:6.4g} {shape:>32} {_bytes(r * _scalar(o.weight_bytes)):>10} "
            f"{_bytes(kv):>10} {r * _scalar(o.macs) / 1e9:9.4g}"
        )
    t = totals(operators)
    weights, kv = _scalar(t.weight_bytes), _scalar(t.kv_read_bytes) + _scalar(t.kv_write_bytes)
    macs = _scalar(t.macs) / 1e9
    lines.append(f"{'all':27} {'':6} {'':>32} {_bytes(weights):>10} {_bytes(kv):>10} {macs:9.4g}")
    lines.append(
        "weights read: " + ", ".join(f"{role} {share:.0%}" for role, _, share in shares_by_role(operators))
    )
    return "\n".join(lines)


def _scalar(x: Number) -> float:
    return float(np.asarray(x))


def _bytes(x: float) -> str:
    """Bytes in decimal units, four digits."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(x) < 999.5:
            return f"{x:.4g} {unit}"
        x /= 1000
    return f"{x:.4g} TB"
