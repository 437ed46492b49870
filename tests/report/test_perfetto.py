"""Traces by the rules of the Chrome trace event format: what Perfetto needs of every event."""

from __future__ import annotations

import json
from collections import defaultdict
from itertools import pairwise

import numpy as np

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.compiler.program import Operator
from tapeout.report import perfetto
from tapeout.simulator.cycle import simulate

TEXT = """
    add rd=r1 imm=1
    add rd=r2 imm=4096
    add rd=r3 imm=6
    add rd=r6 imm=65536
    sync signal=1
    loop count=r3 end=done
      load pad=r0 memory=r5 bytes=r2 n0=r1 n1=r1 wait=1 signal=0
      store pad=r0 memory=r6 bytes=r2 n0=r1 n1=r1 wait=0 signal=1
      add rd=r5 a=r5 b=r2
    done: halt
"""
ORIGIN = [0, 0, 0, 0, 0, 1, 1, 1, 1, 0]
OPERATORS = (Operator(None, "start"), Operator(3, "copy"))


def trace() -> list[dict]:
    program = assemble(TEXT)
    timeline = simulate(load("tiny").core, program, origin=ORIGIN, operators=2, records=2, window=64)
    found = perfetto.events(timeline, OPERATORS, ORIGIN)
    return json.loads(json.dumps(found))


def test_every_event_has_what_the_format_asks() -> None:
    found = trace()
    threads = {(e["pid"], e["tid"]) for e in found if e["name"] == "thread_name"}
    assert {e["ph"] for e in found} == {"M", "X", "C"}
    for e in found:
        assert {"ph", "pid", "tid", "ts", "name"} <= set(e) and isinstance(e["name"], str) and e["name"]
        assert all(isinstance(e[k], int) and e[k] >= 0 for k in ("pid", "tid", "ts"))
        if e["ph"] == "X":
            assert isinstance(e["dur"], int) and e["dur"] >= 0 and e["cat"]
            assert (e["pid"], e["tid"]) in threads
        elif e["ph"] == "C":
            assert e["args"] and all(isinstance(v, int | float) for v in e["args"].values())
        else:
            assert e["name"] in ("process_name", "thread_name", "thread_sort_index")


def test_slices_of_a_thread_follow_one_another() -> None:
    by_thread = defaultdict(list)
    for e in trace():
        if e["ph"] == "X":
            by_thread[e["tid"]].append((e["ts"], e["ts"] + e["dur"]))
    assert len(by_thread) >= 3
    for slices in by_thread.values():
        assert all(end <= begin for (_, end), (begin, _) in pairwise(slices))


def test_slices_are_named_by_layer_and_operator_and_stalls_are_shown() -> None:
    found = [e for e in trace() if e["ph"] == "X"]
    moves = [e for e in found if e["cat"] in ("load", "store")]
    assert len(moves) == 12
    assert {e["name"] for e in moves} == {"3: copy"}
    assert all(e["args"]["bytes"] == 4096 and e["args"]["layer"] == 3 for e in moves)
    stalls = {e["name"] for e in found if e["cat"] == "stall"}
    assert stalls == {"waits for load", "waits for store"}


def test_the_memory_port_s_counters_add_up() -> None:
    program = assemble(TEXT)
    timeline = simulate(load("tiny").core, program, records=1, window=64)
    shares = [e["args"] for e in perfetto.events(timeline) if e["ph"] == "C" and e["pid"] == perfetto.PORT]
    words = sum(s["load"] for s in shares) * 64 / 100
    assert np.isclose(words, timeline.words_loaded, atol=0.01 * 64 * len(shares))
