"""A core in Verilator with a memory and a host: programs run on it as they do on the executable ISA.

The memory is a C++ model behind the AXI4 port: in order for each ID, with a random latency and random back-pressure on
every channel. The host is this module, through AXI4-Lite.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tapeout.chip.isa.assembler import binary
from tapeout.chip.isa.definition import Engine
from tapeout.chip.rtl.block import Verilog, ports_of, verilog
from tapeout.chip.rtl.core import Core
from tapeout.chip.rtl.counters import COUNTERS
from tapeout.chip.rtl.host import csr_map
from tapeout.chip.rtl.parity import PATHS
from tapeout.chip.rtl.sequencer_dispatch import ENGINES
from tapeout.errors import DoesNotHold, InputError
from tapeout.files import write_atomic
from tapeout.simulator.rtl import build
from tapeout.simulator.rtl.simulation import Simulation, simulate
from tapeout.simulator.rtl.waveform import Waveform

# What the memory's C++ reads of the core besides its ports: when each engine is done with an instruction.
VISIBLE = (("core", "sequencer__done"), ("core", "sequencer__running"))
MEMORY = r"""
#include "VT___024root.h"
#include <deque>
#include <random>
#include <vector>
struct Extension {
  bool recording = false;
  int64_t begun = -1;                     // the first cycle of the program
  std::vector<int64_t> done[4];           // cycles of the program until each engine's instructions were done
  uint8_t* memory = nullptr;
  uint64_t size = 0, latency = 1, spread = 0, stall = 0;   // cycles; stall: probability of 2^32
  uint64_t state = 88172645463325252ULL;
  struct Read { uint64_t address; int64_t ready; };
  std::deque<Read> reads[2];
  std::deque<uint64_t> addresses;
  struct Data { uint8_t bytes[%(port)d]; uint64_t strobe[(%(port)d + 63) / 64]; };
  std::deque<Data> data;
  std::deque<std::pair<int64_t, int>> answers;
  bool r_on = false, b_on = false;
  int r_id = 0;
  uint32_t random() { state ^= state << 13; state ^= state >> 7; state ^= state << 17; return uint32_t(state >> 16); }
  bool go() { return !stall || random() >= stall; }
  int64_t when(int64_t cycle) { return cycle + latency + (spread ? random() %% (spread + 1) : 0); }
  void drive(VT& top, int64_t cycle) {
    top.axi_arready = go(); top.axi_awready = go(); top.axi_wready = go();
    if (!r_on) {
      int first = random() & 1;
      for (int i = 0; i < 2 && !r_on; i++) {
        int id = first ^ i;
        if (!reads[id].empty() && reads[id].front().ready <= cycle && go()) { r_on = true; r_id = id; }
      }
      if (r_on) {
        uint64_t a = reads[r_id].front().address;
        bool good = a + %(port)d <= size;
        if (good) memcpy(&top.axi_rdata, memory + a, %(port)d); else memset(&top.axi_rdata, 0xEE, %(port)d);
        top.axi_rresp = good ? 0 : 2; top.axi_rid = r_id; top.axi_rlast = 1;
      }
    }
    top.axi_rvalid = r_on;
    if (!b_on && !answers.empty() && answers.front().first <= cycle && go()) {
      b_on = true; top.axi_bresp = answers.front().second; top.axi_bid = 0;
    }
    top.axi_bvalid = b_on;
  }
  void sample(VT& top, int64_t cycle) {
    if (recording) {
      if (begun < 0 && top.rootp->core__DOT__sequencer___05Frunning) begun = cycle;
      for (int k = 0; k < 4; k++)
        if (top.rootp->core__DOT__sequencer___05Fdone >> k & 1) done[k].push_back(cycle - begun);
    }
    if (top.axi_arvalid && top.axi_arready) reads[top.axi_arid].push_back({top.axi_araddr, when(cycle)});
    if (r_on && top.axi_rready) { reads[r_id].pop_front(); r_on = false; }
    if (b_on && top.axi_bready) { answers.pop_front(); b_on = false; }
    if (top.axi_awvalid && top.axi_awready) addresses.push_back(top.axi_awaddr);
    if (top.axi_wvalid && top.axi_wready) {
      Data d; memcpy(d.bytes, &top.axi_wdata, %(port)d); memset(d.strobe, 0, sizeof d.strobe);
      memcpy(d.strobe, &top.axi_wstrb, (%(port)d + 7) / 8);
      data.push_back(d);
    }
    while (!addresses.empty() && !data.empty()) {
      uint64_t a = addresses.front();
      bool good = a + %(port)d <= size;
      if (good) for (int i = 0; i < %(port)d; i++)
        if (data.front().strobe[i / 64] >> (i %% 64) & 1) memory[a + i] = data.front().bytes[i];
      answers.push_back({when(cycle), good ? 0 : 2});
      addresses.pop_front(); data.pop_front();
    }
  }
};
extern "C" void memory_attach(Extension* e, uint8_t* memory, uint64_t size, uint64_t latency, uint64_t spread,
                              uint64_t stall, uint64_t seed) {
  e->memory = memory; e->size = size; e->latency = latency; e->spread = spread; e->stall = stall;
  e->state = seed * 0x9E3779B97F4A7C15ULL + 88172645463325252ULL;
}
extern "C" void memory_record(Extension* e) {
  e->recording = true; e->begun = -1;
  for (auto& one : e->done) one.clear();
}
extern "C" int64_t memory_begun(Extension* e) { return e->begun; }
extern "C" int64_t memory_recorded(Extension* e, int engine, int64_t* to) {
  if (to) memcpy(to, e->done[engine].data(), 8 * e->done[engine].size());
  return int64_t(e->done[engine].size());
}
"""


@dataclass
class Outcome:
    """How a program ended: `cause` is None if it halted; `at` is the instruction the sequencer was at. `fault`: the
    path (a key of `parity.PATHS`) on which a wrong word was found, also if it came too late to trap; `fault_at`: its
    byte address in the scratchpad, where the path is there."""

    codes: list[int]
    cause: int | None
    at: int
    cycles: int
    counters: dict[str, int]
    fault: str | None = None
    fault_at: int = 0


@lru_cache(maxsize=1)
def sources() -> str:
    """A digest of all that the Verilog of a core depends on besides its ChipSpec: our sources and the tools."""
    from importlib.metadata import version

    import tapeout

    root = Path(tapeout.__file__).parent
    files = sorted(p for part in ("chip", "numerics") for p in (root / part).rglob("*.py"))
    return build.digest(version("amaranth"), version("pyosys"), *(p.read_text() for p in files))


@lru_cache(maxsize=4)
def text_of(core: Core, silicon: bool = False) -> Verilog:
    """The core's Verilog, in the form that simulates faster or in that of `silicon`; elaborated once, then taken from
    the cache of builds."""
    name = f"core-{build.digest(sources(), repr(core.core), repr(core.engines), str(silicon))}.v"
    path = build.cache_folder() / name
    if path.exists():
        return Verilog(core.module_name, ports_of(core), path.read_text(), True)
    made = verilog(core, simulation=not silicon)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, made.text)
    return made


class CoreSimulation:
    """A core with `memory` (uint8, kept by reference). `latency`: cycles of an access, plus up to `spread` at random;
    `stall`: probability per cycle that a channel of the memory is not ready. `waveform`: what to write, by a build of
    its own. `progress` is told what a build is at, which takes minutes the first time. `silicon`: the text that is
    synthesised is simulated, several times slower, instead of its form for simulators."""

    def __init__(
        self,
        core: Core,
        memory: NDArray[np.uint8],
        latency: int = 20,
        spread: int = 0,
        stall: float = 0.0,
        seed: int = 1,
        waveform: Waveform | None = None,
        progress: Callable[[str], None] = lambda text: None,
        silicon: bool = False,
    ) -> None:
        self.memory, self.core, self.waveform = memory, core, waveform
        self.start: int | None = None  # cycle of the first doorbell
        self.edges = [] if waveform is None else [waveform.first, waveform.stop]
        progress("core to Verilog")
        self.sim: Simulation = simulate(
            text_of(core, silicon), extension=MEMORY % {"port": core.core.port_bytes}, optimise="-O2",
            trace=waveform is not None, progress=progress, visible=VISIBLE,
        )  # fmt: skip
        self.registers = {r.name: r.address for r in csr_map()}
        self.sim.foreign.memory_attach(
            ctypes.c_void_p(self.sim.extension), ctypes.c_void_p(memory.ctypes.data), ctypes.c_uint64(len(memory)),
            ctypes.c_uint64(latency), ctypes.c_uint64(spread), ctypes.c_uint64(int(stall * 2**32)),
            ctypes.c_uint64(seed),
        )  # fmt: skip

    def write(self, name: str, value: int) -> None:
        """Write a host register."""
        s = self.sim
        for port, v in (("s_awaddr", self.registers[name]), ("s_wdata", value), ("s_wstrb", 15)):
            s.poke(port, v)
        for port in ("s_awvalid", "s_wvalid", "s_bready"):
            s.poke(port, 1)
        s.step()
        s.poke("s_awvalid", 0)
        s.poke("s_wvalid", 0)
        s.step()
        s.poke("s_bready", 0)

    def read(self, name: str) -> int:
        """Read a host register."""
        s = self.sim
        s.poke("s_araddr", self.registers[name])
        s.poke("s_arvalid", 1)
        s.step()
        s.poke("s_arvalid", 0)
        s.eval()
        value = s.peek("s_rdata")
        s.poke("s_rready", 1)
        s.step()
        s.poke("s_rready", 0)
        return value

    def count(self, name: str) -> int:
        """A performance counter."""
        low = self.read(f"{name}_low")
        return low | self.read(f"{name}_high") << 32

    def run(
        self,
        program: Sequence[int],
        base: int,
        arguments: Sequence[int] = (),
        limit: int = 1_000_000,
        chunk: int = 200,
    ) -> Outcome:
        """Place the program at byte `base`, ring the doorbell, and serve interrupts until it halts or traps.

        Raises DoesNotHold after `limit` cycles.
        """
        code = np.frombuffer(binary(program), np.uint8)
        self.memory[base : base + len(code)] = code
        self.write("program_low", base & 0xFFFFFFFF)
        self.write("program_high", base >> 32)
        for i, value in enumerate(arguments):
            self.write(f"argument{i}_low", value & 0xFFFFFFFF)
            self.write(f"argument{i}_high", value >> 32 & 0xFFFF)
        self.write("enable", 1)
        self.write("doorbell", 1)
        start, codes = self.sim.cycle, []
        self.start = start if self.start is None else self.start
        while True:
            self.step(chunk)
            if self.sim.peek("irq"):
                status = self.read("status")
                trapped = status >> 2 & 1
                if not trapped:
                    codes.append(self.read("code"))
                if not status & 1:
                    self.write("acknowledge", 1)
                    break
                self.write("acknowledge", 1)
            if self.sim.cycle - start > limit:
                raise DoesNotHold(
                    f"core: {limit} cycles without an end, at instruction {self.read('at')}, "
                    f"status {self.read('status')}"
                )
        return Outcome(
            codes, self.read("cause") if trapped else None, self.read("at"), self.count("cycles"),
            {name: self.count(name) for name in COUNTERS},
            [None, *PATHS][self.read("fault")], self.read("fault_at"),
        )  # fmt: skip

    def step(self, cycles: int) -> None:
        """Go on, with the waveform's file opened and closed where its window begins and ends."""
        end = self.sim.cycle + cycles
        while self.edges and (self.start or 0) + self.edges[0] <= end:
            self.sim.step(max((self.start or 0) + self.edges.pop(0) - self.sim.cycle, 0))
            self._write(bool(self.edges))
        self.sim.step(end - self.sim.cycle)

    def _write(self, on: bool) -> None:
        assert self.waveform is not None
        part = self.waveform.path.with_name(self.waveform.path.name + ".part")  # until it is complete
        self.sim.waveform(part if on else None, self.start or 0)
        if not on:
            part.replace(self.waveform.path)

    def record(self) -> None:
        """Note from the next doorbell on when each engine is done with its instructions."""
        self.sim.foreign.memory_record(ctypes.c_void_p(self.sim.extension))

    @property
    def begun(self) -> int:
        """The cycle of the simulation in which the program that is recorded began."""
        get = self.sim.foreign.memory_begun
        get.restype = ctypes.c_int64
        return int(get(ctypes.c_void_p(self.sim.extension)))

    def recorded(self) -> dict[Engine, NDArray[np.int64]]:
        """Of each engine, for its instructions in their order, the cycle of the program in which it was done."""
        found: dict[Engine, NDArray[np.int64]] = {}
        extension = ctypes.c_void_p(self.sim.extension)
        for k, engine in enumerate(ENGINES):
            get = self.sim.foreign.memory_recorded
            get.restype = ctypes.c_int64
            cycles = np.zeros(get(extension, k, None), np.int64)
            get(extension, k, ctypes.c_void_p(cycles.ctypes.data))
            found[engine] = cycles + 1  # at the end of the cycle that says so
        return found

    def finish(self) -> int:
        """Close a waveform whose window is not over; cycles since the first doorbell. Raises InputError if the window
        had not begun."""
        ran = self.sim.cycle - (self.sim.cycle if self.start is None else self.start)
        if self.waveform is not None and ran <= self.waveform.first:
            w = self.waveform
            raise InputError(
                "--window", "", f"{w.first}:{w.stop}", f"a window that begins before cycle {ran}"
            )
        if len(self.edges) == 1:
            self.edges.clear()
            self._write(False)
        return ran
