"""Where the time of a step on one of our chips goes, operator by operator, and what each waits for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tapeout.estimate.chip import ChipEstimate, StageTime, estimate_chips
from tapeout.estimate.chip_design import DesignArrays
from tapeout.estimate.chip_work import ChipWork
from tapeout.workload.operators import Number


@dataclass(frozen=True)
class Line:
    """One stage of a step, all repeats. Shares are of the chip's peaks over the time it takes."""

    name: str
    seconds: float
    share: float  # of the step
    bound: str  # matrix, memory, vector, network or latency
    matrix_share: float
    memory_share: float
    gigabytes: float
    joules: float


def bound_by(t: StageTime) -> str:
    """What the stage waits for most."""
    waits = {
        "matrix": _one(t.matrix_s),
        "memory": _one(t.load_s) - _one(t.hidden_s),
        "vector": _one(t.vector_s) if t.stage.kind != "barrier" else 0.0,
        "network": _one(t.network_s),
        "latency": _one(t.overhead_s),
    }
    if t.stage.kind == "barrier":
        waits["vector"] = _one(t.time_s) - _one(t.overhead_s)
    return max(waits, key=lambda name: waits[name])


def breakdown(design: DesignArrays, work: ChipWork) -> tuple[ChipEstimate, list[Line]]:
    """The step on one design (scalar fields) at one operating point, and its lines in order."""
    e = estimate_chips(design, work, breakdown=True, dtype=np.float64)
    whole = _one(e.seconds)
    lines = []
    for t in e.stage_times:
        seconds = _one(t.time_s)
        peak = _one(design.peak_macs(t.stage.format)) if t.stage.format in design.rate else 0.0
        macs = _one(t.stage.macs) * _one(t.stage.repeats)
        bytes_ = _one(t.traffic_bytes)
        loading = seconds + _one(t.hidden_s)  # some of it went on beside earlier operators
        lines.append(
            Line(
                name=t.stage.name,
                seconds=seconds,
                share=seconds / whole,
                bound=bound_by(t),
                matrix_share=macs / (peak * seconds) if peak and seconds else 0.0,
                memory_share=bytes_ / (_one(design.memory_bandwidth) * loading) if loading else 0.0,
                gigabytes=bytes_ / 1e9,
                joules=_one(t.joules),
            )
        )
    return e, lines


def table(design: DesignArrays, work: ChipWork) -> str:
    """The breakdown as text for a terminal."""
    e, lines = breakdown(design, work)
    text = [
        f"{'operator':28} {'µs':>9} {'share':>6}  {'bound by':8} {'of matrix':>9} {'of memory':>9} "
        f"{'GB':>8} {'mJ':>8}"
    ]
    text += [
        f"{x.name:28} {x.seconds * 1e6:9.2f} {x.share:6.1%}  {x.bound:8} {x.matrix_share:9.1%} "
        f"{x.memory_share:9.1%} {x.gigabytes:8.4f} {x.joules * 1e3:8.3f}"
        for x in lines
    ]
    seconds, gigabytes = _one(e.seconds), sum(x.gigabytes for x in lines)
    used = gigabytes * 1e9 / (_one(design.memory_bandwidth) * seconds)
    text.append(
        f"{'step':28} {seconds * 1e6:9.2f} {'':6}  {'':8} {'':9} {used:9.1%} {gigabytes:8.4f} "
        f"{_one(e.joules) * 1e3:8.3f}"
    )
    text.append(f"mean power {_one(e.watts):.0f} W" + ("" if e.fits else "; does not fit this chip"))
    return "\n".join(text)


def _one(x: Number) -> float:
    return float(np.asarray(x))
