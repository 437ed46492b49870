"""The cycle simulator by itself: every cycle is accounted for, memory's parameters do what they say, errors told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tapeout.chip import load
from tapeout.chip.isa.assembler import assemble
from tapeout.chip.isa.definition import Engine
from tapeout.errors import DoesNotHold, InputError
from tapeout.simulator.cycle import Memory, Values, native, simulate
from tapeout.simulator.cycle.memory import hbm

CORE = load("tiny").core
STREAM = """
    add rd=r1 imm=1
    add rd=r2 imm=16384
    add rd=r3 imm=16
    loop count=r3 end=done
      load pad=r0 memory=r5 bytes=r2 n0=r1 n1=r1
      add rd=r5 a=r5 b=r2
    done: halt
"""


def cycles(text: str, **keywords: object) -> int:
    return simulate(CORE, assemble(text), **keywords).cycles  # type: ignore[arg-type]


def test_every_cycle_of_every_engine_is_accounted_for() -> None:
    t = simulate(CORE, assemble(STREAM), origin=[0, 0, 0, 0, 1, 1, 1], operators=2, records=2, window=64)
    for e in t.engines.values():
        assert e.active + e.fill + e.memory + e.bank + sum(e.tokens.values()) + e.queue == t.cycles
    assert t.operator_cycles.sum() == t.cycles and (t.operator_cycles[:2] > 0).all()
    assert t.words_loaded == 16 * 16384 // CORE.port_bytes == t.column("words_loaded").sum()
    assert t.samples[:, native.SAMPLES.index("load")].sum() == t.words_loaded
    loads = t.records[t.records["engine"] == Engine.LOAD]
    assert len(loads) == 16 and (loads["done"] > loads["start"]).all() and (loads["amount"] == 16384).all()
    assert (np.diff(loads["done"]) > 0).all()


def test_memory_of_fixed_latency_is_bound_by_the_port_or_by_its_share() -> None:
    words = 16 * 16384 // CORE.port_bytes
    assert words < cycles(STREAM) < words + 300
    half = cycles(STREAM, memory=Memory(bytes_per_cycle=CORE.port_bytes / 2))
    assert 2 * words < half < 2.05 * words + 300
    few = replace(CORE, outstanding=10)
    slow = simulate(few, assemble(STREAM), memory=Memory(latency=100)).cycles
    assert 0.9 * words * 10 < slow < 1.15 * words * 10  # ten requests in a little more than a hundred cycles


def test_hbm_streams_near_its_pins_and_pays_for_rows() -> None:
    words = 16 * 16384 // CORE.port_bytes
    share = CORE.port_bytes / 4
    stream = cycles(STREAM, memory=Memory(latency=60, bytes_per_cycle=share, clock_ghz=1.0))
    refresh = hbm()["refresh"] / hbm()["refresh_interval"]
    assert 4 * words < stream < 4 * words * (1 + refresh) * 1.05 + 500
    # a word of every row of one bank: each waits for the row before it to close
    channels, banks = CORE.port_bytes // 32, int(hbm()["banks"])
    apart = channels * int(hbm()["row"]) * banks * (banks + 1)
    rows = f"""
        add rd=r1 imm=1
        add rd=r2 imm=64
        add rd=r4 imm=32
        add rd=r6 imm={apart}
        load pad=r0 memory=r0 bytes=r2 n0=r4 n1=r1 s0=r6 pitch=r2
        halt
    """
    spread = cycles(rows, memory=Memory(latency=60, bytes_per_cycle=share, clock_ghz=1.0))
    together = cycles(
        rows.replace(str(apart), "64"), memory=Memory(latency=60, bytes_per_cycle=share, clock_ghz=1.0)
    )
    assert spread > together + 20


def test_values_steer_the_program() -> None:
    text = "read rd=r1 imm=64\nloop count=r1 end=e\nadd rd=r2 imm=1\nadd rd=r2 imm=1\ne: halt"
    few, many = (cycles(text, values=Values(reads=np.array([n], np.uint64))) for n in (1, 101))
    assert many - few == 100 * 4
    assert cycles("add rd=r1 imm=101\nwrite a=r1 imm=64\n" + text) > many  # what the sequencer wrote is read


def test_what_does_not_end_is_told() -> None:
    with pytest.raises(DoesNotHold, match="nothing can go on"):
        cycles("sync wait=1\nhalt")
    with pytest.raises(DoesNotHold, match=r"traps at instruction \d+ \(opcode\)"):
        cycles("sync")
    with pytest.raises(DoesNotHold, match="1000 cycles without a halt"):
        cycles("a: branch target=a", limit=1000)
    with pytest.raises(DoesNotHold, match="loop"):
        cycles("add rd=r1 imm=1\nloop count=r1 end=1\nhalt")
    with pytest.raises(InputError):
        simulate(CORE, [])
    with pytest.raises(InputError):
        cycles("halt", memory=Memory(latency=0))
    with pytest.raises(InputError):
        cycles("halt", memory=Memory(clock_ghz=1.0))


def test_the_ports_are_those_of_the_rtl() -> None:
    pytest.importorskip("amaranth")
    from tapeout.chip.rtl.core import Core
    from tapeout.chip.rtl.sequencer_fetch import SequencerFetch
    from tapeout.simulator.cycle.ports import ports

    for name in ("tiny", "edge"):
        core = load(name).core
        declared = Core(core).ports
        mine = ports(core)
        assert [(e, p.words, p.urgent) for e, p in declared] == [
            (p.engine.name.lower(), p.words, p.urgent) for p in mine
        ]
        assert [p.queue for _, p in declared if p.reads] == [
            m.answers for (_, p), m in zip(declared, mine, strict=True) if p.reads
        ]
    assert SequencerFetch(64).window == native.WINDOW


@pytest.mark.parametrize("preset", ["tiny", "edge", "flagship"])
def test_elements_of_many_rows_over_words(preset: str) -> None:
    """Rows of one index each, whose pass of lanes would reach into the next word of the scratchpad."""
    rows = 200
    text = f"""
        add rd=r1 imm=1
        add rd=r2 imm={rows}
        add rd=r3 imm=32
        add rd=r4 imm=8192
        add rd=r5 imm=32768
        vtake a=r0 out=r4 n=r1 rows=r2 so=r3 b=r5 sb=r3
        halt
    """
    assert rows < simulate(load(preset).core, assemble(text), limit=10_000).cycles < 3 * rows + 100
