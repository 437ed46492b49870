"""A timeline as Chrome trace events, which Perfetto and chrome://tracing open.

One process is the core, with a thread for the sequencer and each engine: a slice for every instruction from its start
to its end, named by operator, with a slice before it where it waited for another engine's token. Commands of an engine
overlap (one drains while the next is fetched), so each engine has as many threads as that takes. The other process is
the memory port: words of each kind in windows of time, as counters. A cycle is shown as a microsecond.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tapeout.chip.isa.definition import Engine
from tapeout.chip.isa.registry import decode
from tapeout.compiler.program import Operator, Program
from tapeout.files import write_atomic
from tapeout.simulator.cycle import native
from tapeout.simulator.cycle.timeline import Timeline

CORE, PORT = 1, 2
LANES = 8  # threads of an engine


def events(
    timeline: Timeline, operators: Sequence[Operator] = (), origin: Sequence[int] = ()
) -> list[dict[str, Any]]:
    """Every event, in the order of time on each thread. The timeline has `records` and a `window`."""
    found = [_meta("process_name", CORE, 0, "core"), _meta("process_name", PORT, 0, "memory port")]
    names = [decode(low | high << 64).instruction.name for low, high in timeline.code.tolist()]
    ends: dict[tuple[Engine, int], int] = {}
    slices = []
    for r in timeline.records.tolist():
        record = dict(zip(native.RECORD.names or (), r, strict=True))
        if record["done"] < 0:
            continue
        engine, pc = Engine(record["engine"]), record["pc"]
        number = origin[pc] if len(origin) else -1
        operator = operators[number] if 0 <= number < len(operators) else None
        begin = record["start"]
        waited = record["giver"] >= 0 and record["taken"] > record["head"] + 1
        lane = next(
            (k for k in range(LANES) if ends.get((engine, k), 0) <= (record["head"] if waited else begin)), LANES - 1
        )  # fmt: skip
        tid = thread(engine, lane)
        args = {
            "instruction": names[pc], "pc": pc, "cycles": record["done"] - begin,
            "waited for tokens": record["taken"] - record["head"], "active": record["active"],
            "waited for memory": record["memory"], "waited for a bank": record["bank"],
        }  # fmt: skip
        if operator is not None:
            args |= {"operator": operator.name}
            if operator.layer is not None:
                args |= {"layer": operator.layer}
        if engine == Engine.MATRIX:
            args["steps"] = record["amount"]
        elif engine in (Engine.LOAD, Engine.STORE):
            args["bytes"] = record["amount"]
        if waited:
            low = max(record["head"], ends.get((engine, lane), 0))
            if low < record["taken"]:
                giver = Engine(record["giver"]).name.lower()
                slices.append(_slice(tid, low, record["taken"], f"waits for {giver}", "stall", {"pc": pc}))
                begin = max(begin, record["taken"])
        begin = max(begin, ends.get((engine, lane), 0)) if lane == LANES - 1 else begin
        slices.append(
            _slice(tid, begin, record["done"], _label(names[pc], operator), engine.name.lower(), args)
        )
        ends[(engine, lane)] = record["done"]
    for engine, lane in sorted(ends):
        label = engine.name.lower() if not lane else f"{engine.name.lower()} ({lane + 1})"
        found.append(_meta("thread_name", CORE, thread(engine, lane), label))
        found.append(
            _meta("thread_sort_index", CORE, thread(engine, lane), thread(engine, lane), "sort_index")
        )
    slices.sort(key=lambda e: (e["tid"], e["ts"], -e["dur"]))
    return [*found, *slices, *_counters(timeline)]


def thread(engine: Engine, lane: int = 0) -> int:
    """The thread of an engine's lane."""
    return 1 + int(engine) * LANES + lane


def trace(program: Program, timeline: Timeline) -> dict[str, Any]:
    """The whole trace of a step of a program."""
    return {
        "traceEvents": events(timeline, program.operators, program.origin.tolist()),
        "displayTimeUnit": "ms",
        "otherData": {
            "model": program.model, "chip": program.chip.name, "cycles": timeline.cycles,
            "unit": "a microsecond of the trace is a cycle",
        },
    }  # fmt: skip


def write(path: str | Path, program: Program, timeline: Timeline) -> int:
    """Write a trace; how many events it has."""
    found = trace(program, timeline)
    write_atomic(Path(path), json.dumps(found, separators=(",", ":"), allow_nan=False) + "\n")
    return len(found["traceEvents"])


def _label(instruction: str, operator: Operator | None) -> str:
    if operator is None:
        return instruction
    return operator.name if operator.layer is None else f"{operator.layer}: {operator.name}"


def _slice(tid: int, begin: int, end: int, name: str, category: str, args: dict[str, Any]) -> dict[str, Any]:
    return {
        "ph": "X", "pid": CORE, "tid": tid, "ts": begin, "dur": max(end - begin, 0), "name": name, "cat": category,
        "args": args,
    }  # fmt: skip


def _meta(name: str, pid: int, tid: int, value: Any, key: str = "name") -> dict[str, Any]:
    return {"ph": "M", "pid": pid, "tid": tid, "ts": 0, "name": name, "args": {key: value}}


def _counters(timeline: Timeline) -> Iterator[dict[str, Any]]:
    for i, row in enumerate(timeline.samples.tolist()):
        share = {k: round(100 * n / timeline.window, 2) for k, n in zip(native.SAMPLES, row, strict=True)}
        matrix = share.pop("matrix")
        at = {"ph": "C", "pid": PORT, "tid": 0, "ts": i * timeline.window}
        yield {**at, "name": "words, % of cycles", "args": share}
        yield {**at, "pid": CORE, "name": "matrix beats, % of cycles", "args": {"matrix": matrix}}
