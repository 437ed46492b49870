"""Blocks of the core meet the period that the clock is planned with: the ones that synthesise in seconds."""

from __future__ import annotations

import pytest
from libraries_for_tests import kit

from tapeout.chip.rtl.block import Block
from tapeout.chip.rtl.counters import Counters
from tapeout.chip.rtl.greatest import Greatest
from tapeout.chip.rtl.head_fifo import HeadFifo
from tapeout.chip.rtl.host import Host
from tapeout.chip.rtl.memory_port import MemoryPort
from tapeout.chip.rtl.vector_elements import VectorTake
from tapeout.physical.synthesis.flow import synthesise

PERIOD_NS = 0.8  # register to register without wires: 1 GHz with a margin for them
BLOCKS = (
    HeadFifo(64, 8), MemoryPort(64), Host(), Counters(), Greatest(8), VectorTake(8, 131072, 128)
)  # fmt: skip


@pytest.mark.parametrize("block", BLOCKS, ids=lambda b: b.module_name)
def test_a_cycle_is_long_enough(block: Block) -> None:
    assert synthesise(block, kit("asap7"), target_ns=PERIOD_NS).critical_path_ns <= PERIOD_NS
