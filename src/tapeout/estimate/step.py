"""Time and energy of one step on a machine: the equations every accelerator goes through.

An operator takes `overhead + max(compute, memory) + (1 - overlap) × min(compute, memory)`, a collective
`latency + bytes / bandwidth`; operators follow one another, and the host adds its part to each step. No
equation knows which model it serves.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tapeout.estimate.machine import Machine, Network, pick
from tapeout.workload.formats import bytes_of
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


def padded_macs(machine: Machine, o: Operator) -> Number:
    """Multiply-accumulates that the matrix units are busy with in one execution: tiles have a least height, so m rows
    take the time and the energy of m + half."""
    s = machine.sustained
    if o.kind in ("matmul", "expert_matmul"):
        half = s.expert_rows_half if o.kind == "expert_matmul" else s.rows_half
        return o.macs + half * np.asarray(o.products) * o.n * o.k * (np.asarray(o.m) > 0)
    if o.kind == "attention":
        return o.macs * (1.0 + s.attention_rows_half / np.maximum(o.m, 1e-9))
    return o.macs


def compute_seconds(machine: Machine, o: Operator) -> Number:
    """Seconds of arithmetic of one execution, at the sustained rates."""
    s = machine.sustained
    seconds: Number = 0.0
    if o.kind in ("matmul", "expert_matmul"):
        arithmetic = machine.arithmetic_of(o.weight_format)
        share = pick(s.expert_matrix if o.kind == "expert_matmul" else s.matrix, arithmetic)
        seconds = padded_macs(machine, o) / (machine.peak_macs[arithmetic] * share)
    elif o.kind == "attention":
        seconds = padded_macs(machine, o) / (machine.peak_of("bf16") * s.attention)
    vector = o.vector_operations / (machine.vector_rate * s.vector)
    if o.kind == "attention":
        return np.maximum(seconds, vector)  # softmax runs beside the matrix engine
    return seconds + vector


def memory_seconds(machine: Machine, o: Operator) -> Number:
    """Seconds of memory traffic of one execution, at the sustained rates."""
    s = machine.sustained
    share: Number = s.memory
    if o.kind == "expert_matmul":
        share = s.expert_memory
    elif o.kind == "attention":
        share = pick(s.cache_memory, "1" if bytes_of(o.activation_format) < 1.5 else "2")
    activations = o.output_bytes + (0.0 if o.kind == "gather" else o.input_bytes)
    spilled = np.maximum(activations - machine.on_chip_bytes, 0.0)
    local = activations / machine.on_chip_bandwidth
    return np.maximum((o.memory_bytes + spilled) / (machine.memory_bandwidth * share), local)


def collective_seconds(machine: Machine, c: Collective) -> Number:
    """Seconds of one collective: within the scale-up domain if its chips fit there, else hierarchical,
    the scale-out network carrying what leaves a domain. Of a machine's two kinds (built for latency, built for
    bandwidth) the faster is used."""
    group, span = np.asarray(c.group, dtype=float), np.asarray(c.span, dtype=float)
    s, v = machine.sustained, machine.overheads

    def over(net: Network, members: Number, bytes_sent: Number) -> Number:
        doublings = np.maximum(np.log2(np.maximum(members, 2.0)) - 1.0, 0.0)
        quick = net.latency_s + doublings * net.hop_s + bytes_sent / (net.bandwidth * s.network)
        if s.bulk_network is None:
            return quick
        bulk = v.bulk_s + doublings * v.bulk_hop_s + bytes_sent / (net.bandwidth * s.bulk_network)
        return np.minimum(quick, bulk)

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
    return np.where(group > 1, inside + v.collective_s, 0.0)


def overhead_seconds(machine: Machine, o: Operator) -> Number:
    """Seconds of one execution in which nothing is computed or moved; 0 where the operator is empty."""
    v = machine.overheads
    overhead: Number = v.kernel_s
    if o.kind == "matmul" and machine.quantises(o.weight_format):
        overhead = v.kernel_s + v.quantise_s
    elif o.kind == "attention":
        overhead = v.attention_s
    elif o.kind == "expert_matmul":
        overhead = pick(v.expert_s, machine.arithmetic_of(o.weight_format))
    elif o.kind in ("vector", "gather"):
        overhead = v.vector_s
    return np.where(present(o), overhead, 0.0)


def present(o: Operator) -> NDArray[np.bool_]:
    """Where the operator does anything at all."""
    if o.collective is not None:
        return np.asarray(o.collective.group) > 1
    return (np.asarray(o.macs) + o.vector_operations + o.memory_bytes + o.output_bytes) > 0


def operator_terms(machine: Machine, o: Operator) -> Terms:
    """Seconds of `o` on `machine`, all repeats."""
    r = o.repeats
    if o.collective is not None:
        seconds = r * collective_seconds(machine, o.collective)
        return Terms(o, 0.0, 0.0, seconds, 0.0, seconds)
    compute, memory = compute_seconds(machine, o), memory_seconds(machine, o)
    overhead = overhead_seconds(machine, o)
    overlap = machine.sustained.overlap if o.kind == "matmul" else 1.0
    busy = np.maximum(compute, memory) + (1.0 - overlap) * np.minimum(compute, memory)
    return Terms(o, r * compute, r * memory, 0.0, r * overhead, r * (busy + overhead))


def kernels(operators: Iterable[Operator]) -> Number:
    """Kernels launched in a step, collectives included."""
    return sum((o.repeats * present(o) for o in operators), start=np.float64(0.0))


def operator_joules(machine: Machine, o: Operator) -> Number:
    """Joules one chip spends on `o`, all repeats, beyond its idle and active power."""
    p = machine.power
    if o.collective is not None:
        return o.repeats * o.collective.wire_bytes * p.network_pj_per_byte * 1e-12
    picojoules = o.memory_bytes * p.memory_pj_per_byte + o.vector_operations * p.vector_pj
    if o.kind in ("matmul", "expert_matmul", "attention"):
        name = machine.arithmetic_of(o.weight_format or o.activation_format)
        picojoules = picojoules + padded_macs(machine, o) * p.mac_pj.get(name, 0.0)
    return o.repeats * o.share * picojoules * 1e-12


def estimate_step(
    machine: Machine, operators: Iterable[Operator], sequences: Number = 0.0, *, eager: bool = False
) -> StepEstimate:
    """Time and energy of one step of `operators` that decodes `sequences` sequences on this rank.

    `eager`: kernels are launched one by one, as in steps with prefill. Shapes: whatever the fields of the
    operators and of the machine broadcast to. Where the power limit would be exceeded the step is stretched
    until it holds.
    """
    operators = tuple(operators)
    terms = tuple(operator_terms(machine, o) for o in operators)
    v, p = machine.overheads, machine.power
    host = v.step_s + v.sequence_s * np.asarray(sequences)
    if eager:
        host = host + v.eager_s * kernels(operators)

    def total(name: str) -> Number:
        return sum((getattr(t, name) for t in terms), start=np.float64(0.0))

    dynamic = sum((operator_joules(machine, o) for o in operators), start=np.float64(0.0))
    constant = p.idle_w + p.active_w
    headroom = np.maximum(np.asarray(p.limit_w) - constant, 1e-9)
    time = np.maximum(total("time_s") + host, dynamic / headroom)
    return StepEstimate(
        time_s=time,
        energy_j=dynamic + constant * time,
        compute_s=total("compute_s"),
        memory_s=total("memory_s"),
        network_s=total("network_s"),
        overhead_s=total("overhead_s") + host,
        terms=terms,
    )
