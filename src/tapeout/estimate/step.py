"""Time and energy of one step on a machine: the equations every accelerator goes through.

An operator takes `overhead + max(compute, memory) + (1 - overlap) × min(compute, memory)`, a collective
`latency + bytes / bandwidth`; operators follow one another. No equation knows which model it serves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tapeout.estimate.machine import Machine, Network
from tapeout.workload.operators import Collective, Number, Operator


@dataclass(frozen=True, eq=False)
class Terms:
    """Seconds of one operator, all its repeats: what compute and memory would take alone, what the network
    and the overheads take, and the time that passes."""

    operator: Operator
    compute_s: Number
    memory_s: Number
    network_s: Number
    overhead_s: Number
    time_s: Number


@dataclass(frozen=True, eq=False)
class StepEstimate:
    """One step: seconds, and joules of one chip (the mean chip of the group)."""

    time_s: Number
    energy_j: Number
    compute_s: Number
    memory_s: Number
    network_s: Number
    overhead_s: Number
    terms: tuple[Terms, ...]

    @property
    def power_w(self) -> Number:
        """Mean power of one chip during the step."""
        return self.energy_j / self.time_s


def compute_seconds(machine: Machine, o: Operator) -> Number:
    """Seconds of arithmetic of one execution, at the sustained rates."""
    s = machine.sustained
    seconds: Number = 0.0
    if o.kind in ("matmul", "expert_matmul"):
        rate = machine.peak_of(o.weight_format) * s.by_format.get(o.weight_format, 1.0)
        expert = o.kind == "expert_matmul"
        half = s.expert_rows_half if expert else s.rows_half
        # m / (m + half) of the sustained rate: m rows take the time of m + half.
        macs = o.macs + half * np.asarray(o.products) * o.n * o.k * (np.asarray(o.m) > 0)
        seconds = macs / (rate * (s.expert_matrix if expert else s.matrix))
    elif o.kind == "attention":
        seconds = o.macs / (machine.peak_of(o.activation_format) * s.attention)
    vector = o.vector_operations / (machine.vector_rate * s.vector)
    if o.kind == "attention":
        return np.maximum(seconds, vector)  # softmax runs beside the matrix engine
    return seconds + vector


def memory_seconds(machine: Machine, o: Operator) -> Number:
    """Seconds of memory traffic of one execution, at the sustained rates."""
    s = machine.sustained
    share = {"expert_matmul": s.expert_memory, "attention": s.cache_memory}.get(o.kind, s.memory)
    activations = o.output_bytes + (0.0 if o.kind == "gather" else o.input_bytes)
    spilled = np.maximum(activations - machine.on_chip_bytes, 0.0)
    local = activations / machine.on_chip_bandwidth
    return np.maximum((o.memory_bytes + spilled) / (machine.memory_bandwidth * share), local)


def collective_seconds(machine: Machine, c: Collective) -> Number:
    """Seconds of one collective: within the scale-up domain if its chips fit there, else hierarchical,
    the scale-out network carrying what leaves a domain."""
    group, span = np.asarray(c.group, dtype=float), np.asarray(c.span, dtype=float)

    def over(net: Network, members: Number, bytes_sent: Number) -> Number:
        steps = np.maximum(np.log2(np.maximum(members, 2.0)) - 1.0, 0.0)
        return net.latency_s + steps * net.hop_s + bytes_sent / (net.bandwidth * machine.sustained.network)

    up, out = machine.scale_up, machine.scale_out
    inside = over(up, group, c.wire_bytes)
    spills = span > up.domain
    if np.any(spills):
        domains = np.maximum(span / up.domain, 1.0)
        local = np.maximum(group / domains, 1.0)
        # An all-reduce is reduced inside a domain first, so the slow network carries 1/local of it.
        factor = 2.0 if c.kind == "all_reduce" else 1.0
        remote = factor * (domains - 1) / domains * c.payload_bytes
        remote = remote / local if c.kind in ("all_reduce", "all_gather", "reduce_scatter") else remote
        inside = inside + np.where(spills, over(out, domains, remote), 0.0)
    return np.where(group > 1, inside + machine.overheads.collective_s, 0.0)


def operator_terms(machine: Machine, o: Operator) -> Terms:
    """Seconds of `o` on `machine`, all repeats."""
    r, v = o.repeats, machine.overheads
    if o.collective is not None:
        seconds = r * collective_seconds(machine, o.collective)
        return Terms(o, 0.0, 0.0, seconds, 0.0, seconds)
    compute, memory = compute_seconds(machine, o), memory_seconds(machine, o)
    overhead: Number = {
        "attention": v.attention_s,
        "expert_matmul": v.expert_s,
        "vector": v.vector_s,
        "gather": v.vector_s,
    }.get(o.kind, v.kernel_s)
    present = (np.asarray(o.macs) + o.vector_operations + o.memory_bytes + o.output_bytes) > 0
    overhead = np.where(present, overhead, 0.0)
    hidden = machine.sustained.overlap * np.minimum(compute, memory)
    busy = compute + memory - hidden
    return Terms(o, r * compute, r * memory, 0.0, r * overhead, r * (busy + overhead))


def operator_joules(machine: Machine, o: Operator) -> Number:
    """Joules one chip spends on `o`, all repeats, beyond its idle and active power."""
    p = machine.power
    if o.collective is not None:
        return o.repeats * o.collective.wire_bytes * p.network_pj_per_byte * 1e-12
    picojoules = o.memory_bytes * p.memory_pj_per_byte + o.vector_operations * p.vector_pj
    if o.kind in ("matmul", "expert_matmul", "attention"):
        name = machine.arithmetic_of(o.weight_format or o.activation_format)
        picojoules = picojoules + o.macs * p.mac_pj.get(name, 0.0)
    return o.repeats * o.share * picojoules * 1e-12


def estimate_step(machine: Machine, operators: Iterable[Operator], sequences: Number = 0.0) -> StepEstimate:
    """Time and energy of one step of `operators`, which serves `sequences` sequences on this rank.

    Shapes: whatever the fields of the operators and of the machine broadcast to. Where the vendor's power
    limit would be exceeded the step is stretched until it holds.
    """
    terms = tuple(operator_terms(machine, o) for o in operators)
    host = machine.overheads.step_s + machine.overheads.sequence_s * sequences

    def total(name: str) -> Number:
        return sum((getattr(t, name) for t in terms), start=np.float64(0.0))

    p = machine.power
    time = total("time_s") + host
    dynamic = sum((operator_joules(machine, t.operator) for t in terms), start=np.float64(0.0))
    constant = p.idle_w + p.active_w
    headroom = np.maximum(np.asarray(p.limit_w) - constant, 1e-9)
    time = np.maximum(time, dynamic / headroom)
    return StepEstimate(
        time_s=time,
        energy_j=dynamic + constant * time,
        compute_s=total("compute_s"),
        memory_s=total("memory_s"),
        network_s=total("network_s"),
        overhead_s=total("overhead_s") + host,
        terms=terms,
    )
